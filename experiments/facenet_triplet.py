"""FaceNet's objective: triplets mined in balanced batches, each identity with several images.

Paper: Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015: squared distances on the unit
sphere, α = 0.2, 128 numbers, all anchor–positive pairs, semi-hard negatives, batches of 1,800 with some 40 images an identity.
Here: the small network and the CelebA subset of celeba_lfw, 128 images of 32 identities a batch, SGD instead of AdaGrad.
Command: JAXFACE_DATA=FOLDER jaxface train facenet_triplet
Other miners: --terms.0.mining hard (or all, easy). FaceNet's own networks: --model.name facenet_nn4 and the like.
Expected: 85.37 % ± 0.48 on LFW view 2 (AUC 0.929) after some three minutes on two quiet cores.
"""

from jaxface.data.augmentation import AugmentConfig
from jaxface.data.config import DataConfig
from jaxface.evaluation.config import VerificationConfig
from jaxface.losses.triplet_term import TripletLoss
from jaxface.models.config import ModelConfig
from jaxface.training.config import Experiment
from jaxface.training.optimizer import OptimizerConfig
from jaxface.training.schedule import ScheduleConfig

EXPERIMENT = Experiment(
  name="facenet_triplet",
  steps=1000,
  batch_size=128,
  log_every=50,
  checkpoint_every=500,
  data=DataConfig(
    images="$JAXFACE_DATA/celeba_aligned112", template="arcface112", min_images=2,
    order="balanced", identities_per_batch=32, images_per_identity=4
  ),
  augment=AugmentConfig(mirror=0.5, shift=3, jitter=1.0, brightness=0.1, contrast=0.2),
  model=ModelConfig("smallresnet", size=96, dtype="bfloat16", embedding_size=128),
  terms=(TripletLoss(mining="semi_hard", margin=0.2),),
  optimizer=OptimizerConfig(learning_rate=0.05, momentum=0.9, weight_decay=5e-4),
  schedule=ScheduleConfig(name="cosine", warmup_steps=100),
  evaluation=(
    VerificationConfig(
      name="lfw", images="$JAXFACE_DATA/lfw_aligned112", template="arcface112", pairs="$JAXFACE_DATA/protocols/pairs.txt",
    ),
  ),
)
