"""ArcFace with iresnet50: the published recipe, for packed records of any size.

Paper: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019 (SGD 0.1, divided by ten at 100,000
and 160,000 of 180,000 steps, momentum 0.9, weight decay 5e-4, batch 512, scale 64, m = 0.5; images scaled to -1..1, mirrored).
Command: jaxface train arcface_r50 --data.records DIR --model.dtype bfloat16
On CASIA-WebFace: --steps 32000 --schedule.milestones 0.625,0.875
Here: JAXFACE_DATA=FOLDER jaxface train arcface_r50 --small
A quarter of the channels at 64×64 pixels, the CelebA subset of celeba_lfw; the margin grows over two fifths of the run, and the
scale is for few identities.
Expected of the small one: 83.50 % ± 0.80 on LFW view 2 (AUC 0.916, untrained 0.689), seven minutes on two cores. The paper's
99.8 % are of iresnet100 and six million images; they were not reproduced here.
"""

from dataclasses import replace

from jaxface.data import AugmentConfig, DataConfig
from jaxface.evaluation import VerificationConfig
from jaxface.heads import Classification
from jaxface.losses import ArcFace
from jaxface.models import ModelConfig
from jaxface.training import Experiment, OptimizerConfig, ScheduleConfig, load_experiment

EXPERIMENT = Experiment(
  name="arcface_r50",
  steps=180_000,
  batch_size=512,
  log_every=100,
  checkpoint_every=2000,
  data=DataConfig(records="records", holdout=0.01),
  augment=AugmentConfig(mirror=0.5, shift=0, jitter=0.0),
  model=ModelConfig("iresnet50", dropout=0.4),
  terms=(Classification(ArcFace(m=0.5, scale=64.0)),),
  optimizer=OptimizerConfig(learning_rate=0.1, momentum=0.9, weight_decay=5e-4),
  schedule=ScheduleConfig(name="step", milestones=(100 / 180, 160 / 180), gamma=0.1),
  evaluation=(VerificationConfig(name="unseen", every=2000),),
  export="onnx",
)

MARGINS, _ = load_experiment("margins")

SMALL = replace(
  MARGINS,
  name="arcface_r50_small",
  model=ModelConfig("iresnet50", size=64, fit="resize", embedding_size=256, dtype="bfloat16", options={"width": 0.25}),
  terms=(Classification(ArcFace(m=0.5, scale=30.0, warmup_steps=400)),),
  export=EXPERIMENT.export,
)
