"""Light CNN: a classifier with max-feature-map, trained on grey faces by plain softmax.

Paper: Wu et al., "A Light CNN for Deep Face Representation with Noisy Labels", 2018, with the settings of its released code:
SGD 0.01, times 0.457 every ten epochs, 80 epochs, momentum 0.9, weight decay 1e-4, batch 128, dropout 0.5 before the classifier,
random 128×128 crops of 144×144 pixels, mirrored. An epoch is five million images here, as in the cleaned MS-Celeb-1M;
the released code gives the classifier ten times the rate, this one does not.
Command: jaxface train lightcnn --data.records DIR
LightCNN-9, -29v2: --model.name lightcnn9, --model.name lightcnn29v2
Here: JAXFACE_DATA=FOLDER jaxface train lightcnn --small
LightCNN-9 with half the channels at 64×64 pixels, on the CelebA subset of celeba_lfw; with so few steps AdamW
instead of SGD, and less dropout.
Expected of the small one: 78.08 % ± 0.68 on LFW view 2 (AUC 0.860, untrained 0.704), six minutes on two cores. The published
99.40 % of LightCNN-29 on millions of images were not reproduced here.
"""

from dataclasses import replace

from jaxface.data import AugmentConfig, DataConfig
from jaxface.evaluation import VerificationConfig
from jaxface.heads import Classification
from jaxface.losses import Softmax
from jaxface.models import ModelConfig
from jaxface.training import Experiment, OptimizerConfig, ScheduleConfig, load_experiment

EPOCHS, IMAGES, BATCH = 80, 5_000_000, 128

EXPERIMENT = Experiment(
  name="lightcnn",
  steps=EPOCHS * IMAGES // BATCH,
  batch_size=BATCH,
  log_every=100,
  checkpoint_every=5000,
  data=DataConfig(records="records", holdout=0.01),
  # Sixteen pixels of 144 are about fourteen of our 112, seven to each side.
  augment=AugmentConfig(mirror=0.5, shift=7, jitter=0.0),
  model=ModelConfig("lightcnn29"),
  terms=(Classification(Softmax()),),
  optimizer=OptimizerConfig(learning_rate=0.01, momentum=0.9, weight_decay=1e-4),
  schedule=ScheduleConfig(name="step", milestones=tuple(tens / 8 for tens in range(1, 8)), gamma=0.457),
  evaluation=(VerificationConfig(name="unseen", every=50_000, mirror="none"),),
)

MARGINS, _ = load_experiment("margins")

SMALL = replace(
  MARGINS,
  name="lightcnn_small",
  model=ModelConfig("lightcnn9", size=64, dtype="bfloat16", dropout=0.2, options={"width": 0.5}),
  terms=EXPERIMENT.terms,
  optimizer=OptimizerConfig("adamw", learning_rate=2e-3, weight_decay=0.05),
)
