"""Center loss beside a softmax: the softmax keeps identities apart, the centres draw the images of each together.

Paper: Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", 2016: λ = 0.003, α = 0.5.
Here: the small network and the CelebA subset of celeba_lfw.
Command: JAXFACE_DATA=FOLDER jaxface train center_loss
The paper's sweep of λ: --terms.1.weight 0 (softmax alone), 0.0003, 0.003, 0.03.
Expected: 86.78 % ± 0.54 on LFW view 2 (AUC 0.943), the softmax of `margins` alone 86.35 ± 0.59.
"""

from jaxface.data.augmentation import AugmentConfig
from jaxface.data.config import DataConfig
from jaxface.evaluation.config import VerificationConfig
from jaxface.heads.classification import Classification
from jaxface.losses.center import CenterLoss
from jaxface.losses.margins import Softmax
from jaxface.models.config import ModelConfig
from jaxface.training.config import Experiment
from jaxface.training.optimizer import OptimizerConfig
from jaxface.training.schedule import ScheduleConfig

EXPERIMENT = Experiment(
  name="center_loss",
  steps=1000,
  batch_size=128,
  log_every=50,
  checkpoint_every=500,
  data=DataConfig(images="$JAXFACE_DATA/celeba_aligned112", template="arcface112", min_images=2),
  augment=AugmentConfig(mirror=0.5, shift=3, jitter=1.0, brightness=0.1, contrast=0.2),
  model=ModelConfig("smallresnet", size=96, dtype="bfloat16"),
  terms=(Classification(Softmax()), CenterLoss(alpha=0.5, weight=0.003)),
  optimizer=OptimizerConfig(learning_rate=0.1, momentum=0.9, weight_decay=5e-4),
  schedule=ScheduleConfig(name="cosine", warmup_steps=100),
  evaluation=(
    VerificationConfig(
      name="lfw", images="$JAXFACE_DATA/lfw_aligned112", template="arcface112", pairs="$JAXFACE_DATA/protocols/pairs.txt",
    ),
  ),
)
