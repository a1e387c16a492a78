"""SphereFace-20: no batch norm, and A-Softmax, which multiplies the angle to the own centre by four.

Paper: Liu et al., "SphereFace: Deep Hypersphere Embedding for Face Recognition", 2017, with the settings of its released
code: SGD 0.1, divided by ten at 16,000 and 24,000 of 28,000 steps, momentum 0.9, weight decay 5e-4, batch 256, A-Softmax with
m = 4 and λ from 1000 down to 5, images of CASIA-WebFace mirrored; a face is verified by its embedding concatenated
with that of its mirror image. The released code scales gradients of the last layer; this experiment does not.
Command: jaxface train sphereface --data.records DIR
SphereFace-36, -64: --model.name sphereface36, --model.name sphereface64
Here: JAXFACE_DATA=FOLDER jaxface train sphereface --small
A quarter of the channels at 80×80 pixels, the CelebA subset of celeba_lfw; λ is eight, and still decreasing, at the end.
Expected of the small one: 84.72 % ± 0.68 on LFW view 2 (AUC 0.928), some five minutes on two quiet cores. The 99.30 % that are published for
half a million images were not reproduced here.
"""

from dataclasses import replace

from jaxface.data import AugmentConfig, DataConfig
from jaxface.evaluation import VerificationConfig
from jaxface.heads import Classification
from jaxface.losses import ASoftmax
from jaxface.models import ModelConfig
from jaxface.training import Experiment, OptimizerConfig, ScheduleConfig, load_experiment

EXPERIMENT = Experiment(
  name="sphereface",
  steps=28_000,
  batch_size=256,
  log_every=100,
  checkpoint_every=2000,
  data=DataConfig(records="records", holdout=0.01),
  augment=AugmentConfig(mirror=0.5, shift=0, jitter=0.0),
  model=ModelConfig("sphereface20"),
  terms=(Classification(ASoftmax(m=4, start=1000.0, decay=0.12, least=5.0)),),
  optimizer=OptimizerConfig(learning_rate=0.1, momentum=0.9, weight_decay=5e-4),
  schedule=ScheduleConfig(name="step", milestones=(16 / 28, 24 / 28), gamma=0.1),
  evaluation=(VerificationConfig(name="unseen", every=4000, mirror="concat"),),
)

MARGINS, _ = load_experiment("margins")

SMALL = replace(
  MARGINS,
  name="sphereface_small",
  model=ModelConfig("sphereface20", size=80, fit="resize", dtype="bfloat16", options={"width": 0.25}),
  terms=EXPERIMENT.terms,
  evaluation=(replace(MARGINS.evaluation[0], mirror="concat"),),
)
