"""VGG-Face, first stage: a network trained to classify identities by plain softmax.

Paper: Parkhi et al., "Deep Face Recognition", 2015: softmax over 2,622 identities, dropout 0.5. The second stage,
vggface_triplet, then learns a projection by triplets on top of the frozen network.
Here: the small network and the CelebA subset of celeba_lfw.
Command: JAXFACE_DATA=FOLDER jaxface train vggface
Expected: 84.83 % ± 0.58 on LFW view 2 (AUC 0.927) after some three minutes on two quiet cores.
"""

from jaxface.data.augmentation import AugmentConfig
from jaxface.data.config import DataConfig
from jaxface.evaluation.config import VerificationConfig
from jaxface.heads.classification import Classification
from jaxface.losses.margins import Softmax
from jaxface.models.config import ModelConfig
from jaxface.training.config import Experiment
from jaxface.training.optimizer import OptimizerConfig
from jaxface.training.schedule import ScheduleConfig

EXPERIMENT = Experiment(
  name="vggface",
  steps=1000,
  batch_size=128,
  log_every=50,
  checkpoint_every=500,
  data=DataConfig(images="$JAXFACE_DATA/celeba_aligned112", template="arcface112", min_images=2),
  augment=AugmentConfig(mirror=0.5, shift=3, jitter=1.0, brightness=0.1, contrast=0.2),
  model=ModelConfig("smallresnet", size=96, dtype="bfloat16", dropout=0.5),
  terms=(Classification(Softmax()),),
  optimizer=OptimizerConfig(learning_rate=0.1, momentum=0.9, weight_decay=5e-4),
  schedule=ScheduleConfig(name="cosine", warmup_steps=100),
  evaluation=(
    VerificationConfig(
      name="lfw", images="$JAXFACE_DATA/lfw_aligned112", template="arcface112", pairs="$JAXFACE_DATA/protocols/pairs.txt",
    ),
  ),
)
