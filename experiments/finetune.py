"""Fine-tunes a trained network on your own folder: first only the class centres, then everything.

Command: jaxface train finetune --data.images MY_FACES --model.init_from MODEL --workdir runs/mine
MODEL is a model directory (`jaxface import` makes one from published weights) or the workdir of a run. Network, options, size,
preprocessing and template come from it. Class centres are initialised with the mean embeddings of your identities; those of
identities in MODEL's run are kept. A tenth of the people is held out for verification. Images must be aligned to MODEL's
template (--data.size resizes them).
The network is frozen for the first 100 steps (--optimizer.rates "body/*=0 until 100 then 0.1" is the default), then trained at
a tenth of the rate. With few images use fewer --steps, or --optimizer.rates "body/*=0" to train only the centres.
--model.freeze_norm true freezes the batch norms.
Expected: depends on the folder and on MODEL; the report has the figures of the held-out people, before and after.
"""

from jaxface.data import DataConfig
from jaxface.evaluation import VerificationConfig
from jaxface.heads import Classification
from jaxface.losses import CosFace
from jaxface.models import ModelConfig
from jaxface.training import Experiment, OptimizerConfig, ScheduleConfig

EXPERIMENT = Experiment(
  name="finetune",
  steps=600,
  batch_size=128,
  checkpoint_every=200,
  data=DataConfig(images="faces", min_images=2, holdout=0.1),
  model=ModelConfig(init_from="model"),
  terms=(Classification(CosFace(m=0.35, scale=30.0), center_init="mean_embedding"),),
  optimizer=OptimizerConfig(learning_rate=0.05, weight_decay=5e-4, clip_norm=5.0, rates=("body/*=0 until 100 then 0.1",)),
  schedule=ScheduleConfig(warmup_steps=20),
  evaluation=(VerificationConfig(name="unseen", every=200),),
  export="onnx",
)
