"""Faceness, scaled down: five part networks rank the windows, a small AlexNet judges the best ones and corrects their boxes.

Paper: Yang, Luo, Loy, Tang, "From Facial Parts Responses to Face Detection: A Deep Learning Approach", 2015 (part networks learned from
attributes of CelebA's people, proposals of generic methods, AlexNet fine-tuned on faces of AFLW).
Command: jaxface train faceness --workdir runs/faceness
Expected: an average precision of 0.599 on CMU+MIT at an intersection over union of 0.5, see docs/detection.md.
"""

from dataclasses import replace

from jaxface.detection import FacenessExperiment
from jaxface.detection.crop_sampling import Sampling
from jaxface.detection.faceness_training import PartTraining
from jaxface.detection.mtcnn_training import StageTraining
from jaxface.detection.part_sampling import PatchSampling
from jaxface.detection.photo_sets import PhotoSets
from jaxface.training.config import load_any_experiment

MTCNN, _ = load_any_experiment("mtcnn")
assert isinstance(MTCNN, PhotoSets)
EXPERIMENT = FacenessExperiment(**MTCNN.sets())

# A check of the pipeline in some minutes; it finds hardly a face.
SMALL = replace(
  EXPERIMENT, name="faceness_small", width=0.05, dense=32, patches=PatchSampling(each=2, beside=4, anywhere=4), parts=PartTraining(steps=100),
  sampling=Sampling(around=3, near=1, anywhere=3, with_points=0, mined=5), judge=StageTraining(steps=60, batch_size=32, shares=(3, 1, 1, 0)),
)
