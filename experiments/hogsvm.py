"""HOG and a linear SVM: windows of 36 pixels against windows of photos without a face, with rounds of hard negatives.

Paper: Dalal, Triggs, "Histograms of Oriented Gradients for Human Detection", 2005 (nine directions, blocks of 2 × 2 cells, L2-Hys, C = 0.01).
Command: jaxface train hogsvm --workdir runs/hogsvm
Expected: an average precision of 0.67 on CMU+MIT at an intersection over union of 0.5, see docs/detection.md.
"""

from jaxface.detection import HogSvmExperiment

EXPERIMENT = HogSvmExperiment(licence="research only", origin="Caltech Web Faces (36 × 36 crops); photos without a face")

# A check of the pipeline in about half a minute.
SMALL = HogSvmExperiment(
  name="hogsvm_small", cell=9, smallest=36, windows=1000, rounds=1, hardest=20, licence="research only",
  origin="Caltech Web Faces (36 × 36 crops); photos without a face",
)
