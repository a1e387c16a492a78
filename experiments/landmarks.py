"""Landmarks: 68 face points by a small network of our own, trained on HELEN.

Paper: the loss is that of Feng et al., "Wing Loss for Robust Facial Landmark Localisation with Convolutional Neural Networks", 2018;
the network and its recipe are ours (docs/alignment.md).
Command: jaxface train landmarks --workdir runs/landmarks
Expected: a mean error of 4.57 % of the inter-ocular distance on HELEN's test photos, see docs/alignment.md.
"""

from jaxface.alignment import LandmarkExperiment

EXPERIMENT = LandmarkExperiment(steps=5000, licence="research only", origin="HELEN (Le et al., 2012), iBUG")

# A check of the pipeline in about a minute.
SMALL = LandmarkExperiment(
  name="landmarks_small", steps=60, batch_size=16, checkpoint_every=30, widths=(8, 16, 32), licence="research only",
  origin="HELEN (Le et al., 2012), iBUG",
)
