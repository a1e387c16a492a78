"""Quickstart: synthetic identities, verified on unseen identities.

Needs no data. Command: make quickstart, or jaxface train quickstart
Expected: AUC of unseen identities 0.71 untrained, 0.99 trained, in about three minutes on two cores.
"""

from jaxface.data import AugmentConfig, DataConfig, SyntheticConfig
from jaxface.evaluation import VerificationConfig
from jaxface.heads import Classification
from jaxface.losses import CosFace
from jaxface.models import ModelConfig
from jaxface.training import Experiment, OptimizerConfig, ScheduleConfig

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
