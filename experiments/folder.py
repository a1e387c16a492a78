"""Your own folder: one folder per person, aligned faces of 112×112 pixels, with a tenth of the people held out for verification.

Command: jaxface train folder --data.images MY_FACES --workdir runs/mine
Other sizes: --data.size 112 resizes every image to 112×112. Few images: fewer --steps. On a GPU: --model.name iresnet50
--model.size 112 --model.dtype bfloat16 --batch_size 512.
Expected: depends on the folder; the report has the figures of the held-out people.
"""

from jaxface.data import DataConfig
from jaxface.evaluation import VerificationConfig
from jaxface.heads import Classification
from jaxface.losses import CosFace
from jaxface.models import ModelConfig
from jaxface.training import Experiment, OptimizerConfig, ScheduleConfig

EXPERIMENT = Experiment(
  name="folder",
  steps=3000,
  batch_size=128,
  data=DataConfig(images="faces", min_images=2, holdout=0.1),
  model=ModelConfig("smallresnet", size=96),
  terms=(Classification(CosFace(m=0.35, scale=30.0, warmup_steps=1200)),),
  optimizer=OptimizerConfig(learning_rate=0.1, weight_decay=5e-4),
  schedule=ScheduleConfig(warmup_steps=100),
  evaluation=(VerificationConfig(name="unseen", every=1000),),
  export="onnx",
)
