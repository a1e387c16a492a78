"""Quickstart: synthetic identities, verified on identities that were never seen.

Needs no data. Command: make quickstart, or jaxface train quickstart
Expected: AUC of unseen identities 0.71 untrained, 0.99 trained, in about three minutes on two cores.
"""

from jaxface.data.augmentation import AugmentConfig
from jaxface.data.config import DataConfig, SyntheticConfig
from jaxface.evaluation.config import VerificationConfig
from jaxface.heads.classification import Classification
from jaxface.losses.margins import CosFace
from jaxface.models.config import ModelConfig
from jaxface.training.config import Experiment
from jaxface.training.optimizer import OptimizerConfig
from jaxface.training.schedule import ScheduleConfig

EXPERIMENT = Experiment(
  name="quickstart",
  steps=700,
  batch_size=128,
  log_every=20,
  checkpoint_every=200,
  data=DataConfig(synthetic=SyntheticConfig(identities=500, images_per_identity=20, size=64), holdout=0.2),
  augment=AugmentConfig(),
  model=ModelConfig("smallresnet", size=64, embedding_size=128),
  terms=(Classification(CosFace(m=0.35, scale=30.0, warmup_steps=280)),),
  optimizer=OptimizerConfig(learning_rate=0.1),
  schedule=ScheduleConfig(name="cosine", warmup_steps=50),
  evaluation=(VerificationConfig(name="unseen"),),
  export="onnx",
)
