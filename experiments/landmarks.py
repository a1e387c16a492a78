"""Landmarks: 68 face points by a small network of our own, trained on HELEN.

Paper: the loss is that of Feng et al., "Wing Loss for Robust Facial Landmark Localisation with Convolutional Neural Networks", 2018;
the network and its recipe are ours (docs/alignment.md).
Command: jaxface train landmarks --workdir runs/landmarks
Expected: see docs/alignment.md, which gives the errors of the 68 points on HELEN's test photos.
"""

from jaxface.alignment import LandmarkExperiment

EXPERIMENT = LandmarkExperiment(steps=1600, licence="research only", origin="HELEN (Le et al., 2012), iBUG")

# A check of the pipeline in about a minute.
SMALL = LandmarkExperiment(
  name="landmarks_small", steps=60, batch_size=16, checkpoint_every=30, widths=(8, 16, 32), licence="research only",
  origin="HELEN (Le et al., 2012), iBUG",
)
