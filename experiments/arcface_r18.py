"""ArcFace with iresnet18: the published recipe, for packed records of any size.

Paper: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019 (SGD 0.1, momentum 0.9, weight
decay 5e-4, batch 512, scale 64, m = 0.5, rate divided by ten along the way; images scaled to -1..1, mirrored).
Command: jaxface train arcface_r18 --data.records DIR --model.dtype bfloat16
Expected: the paper's figures are for millions of images; none of them was reproduced here.
"""

from jaxface.data.augmentation import AugmentConfig
from jaxface.data.config import DataConfig
from jaxface.evaluation.config import VerificationConfig
from jaxface.heads.classification import Classification
from jaxface.losses.margins import ArcFace
from jaxface.models.config import ModelConfig
from jaxface.training.config import Experiment
from jaxface.training.optimizer import OptimizerConfig
from jaxface.training.schedule import ScheduleConfig

EXPERIMENT = Experiment(
  name="arcface_r18",
  steps=180_000,
  batch_size=512,
  log_every=100,
  checkpoint_every=2000,
  data=DataConfig(records="records", holdout=0.01),
  augment=AugmentConfig(mirror=0.5, shift=0, jitter=0.0),
  model=ModelConfig("iresnet18", size=112, dropout=0.4),
  terms=(Classification(ArcFace(m=0.5, scale=64.0)),),
  optimizer=OptimizerConfig(learning_rate=0.1, momentum=0.9, weight_decay=5e-4),
  schedule=ScheduleConfig(name="step", milestones=(100 / 180, 160 / 180), gamma=0.1),
  evaluation=(VerificationConfig(name="unseen", every=2000),),
  export="onnx",
)
