"""DDFD, scaled down: a small AlexNet on windows of 48 pixels, those that overlap a face by more than half against the rest.

Paper: Farfade, Saberian, Li, "Multi-view Face Detection Using Deep Convolutional Neural Networks", 2015 (AlexNet fine-tuned on windows of 227
pixels of AFLW's 21,000 photos, batches of 32 windows with and 96 without a face).
Command: jaxface train ddfd --workdir runs/ddfd
Expected: an average precision of 0.595 on CMU+MIT at an intersection over union of 0.5, see docs/detection.md.
"""

from dataclasses import replace

from jaxface.detection import DdfdExperiment
from jaxface.detection.photo_sets import PhotoSets
from jaxface.detection.window_sampling import WindowSampling
from jaxface.training.config import load_any_experiment

MTCNN, _ = load_any_experiment("mtcnn")
assert isinstance(MTCNN, PhotoSets)
EXPERIMENT = DdfdExperiment(**MTCNN.sets())

# A check of the pipeline in about a minute; it finds hardly a face.
SMALL = replace(
  EXPERIMENT, name="ddfd_small", width=0.05, dense=32, steps=60, batch_size=32, sampling=WindowSampling(around=3, near=2, anywhere=6),
)
