"""MTCNN: P-Net, R-Net and O-Net in turn, with hard samples of the stages before.

Paper: Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", 2016 (loss weights 1/0.5/0.5
and 1/0.5/1, the hardest 70 % of the scores, overlaps below 0.3, from 0.4 and from 0.65; WIDER FACE and CelebA).
Command: jaxface train mtcnn --workdir runs/mtcnn
Expected: AP 0.75, 0.75 and 0.47 on the easy, medium and hard faces of held-out photos of WIDER FACE (released weights: 0.85, 0.84 and 0.57),
see docs/detection.md. Trained on 123 photos of WIDER FACE's validation set, on HELEN and on LFW, not on the paper's photos.
"""

from dataclasses import replace

from jaxface.detection.crop_sampling import Sampling
from jaxface.detection.detector_experiment import DetectorExperiment
from jaxface.detection.mtcnn_training import StageTraining
from jaxface.detection.photo_sets import FacePhotos

PHOTOS = "$JAXFACE_DATA/photos"

EXPERIMENT = DetectorExperiment(
  photos=f"{PHOTOS}/wider_dev", licence="research only", origin="WIDER FACE (Yang et al., 2016)",
  faces=(
    FacePhotos(
      f"{PHOTOS}/helen_train", f"{PHOTOS}/helen_train.json", points="points68", boxes="points5", licence="research only",
      origin="HELEN (Le et al., 2012), iBUG; boxes by YuNet",
    ),
    FacePhotos(
      f"{PHOTOS}/lfw_raw", f"{PHOTOS}/lfw_raw.json", points="points5", boxes="points5", part="train", licence="research only",
      origin="LFW (Huang et al., 2007); boxes and points by YuNet",
    ),
  ),
  no_faces=f"{PHOTOS}/no_faces",
  pnet=StageTraining(steps=4000), rnet=StageTraining(steps=6000, batch_size=252),
  onet=StageTraining(steps=6000, batch_size=126, point_weight=1.0),
)

# A check of the pipeline in a few minutes; it finds hardly a face.
SMALL = replace(
  EXPERIMENT, name="mtcnn_small", sampling=Sampling(around=5, near=1, anywhere=5, with_points=2, mined=10),
  pnet=StageTraining(steps=100, batch_size=112), rnet=StageTraining(steps=60, batch_size=56),
  onet=StageTraining(steps=30, batch_size=28, point_weight=1.0),
)
