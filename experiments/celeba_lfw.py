"""CelebA to LFW: 15,000 images, two cores, half an hour.

Packs the aligned CelebA subset, trains a small residual network with CosFace on the 3,001 identities that have two images
or more, verifies on LFW view 2. Settings were chosen on view 1.

Command: JAXFACE_DATA=FOLDER jaxface train celeba_lfw
Expected: 88.9 % on LFW view 2 (AUC 0.955) after some 20 minutes on two cores with oneDNN, at 420 to 730 images/s; 88.7 % after
28 minutes in float32 without it (JAXFACE_CPU_CONV=pure, --model.dtype float32).
More crops in its figures: --evaluation.0.crops ten. What crops, verifiers and other networks add: `make small-data` (docs/results.md).
"""

from jaxface.data import AugmentConfig, DataConfig
from jaxface.evaluation import VerificationConfig
from jaxface.heads import Classification
from jaxface.losses import CosFace
from jaxface.models import ModelConfig
from jaxface.training import Experiment, OptimizerConfig, ScheduleConfig

STEPS = 4500

EXPERIMENT = Experiment(
  name="celeba_lfw",
  steps=STEPS,
  batch_size=128,
  log_every=50,
  checkpoint_every=1000,
  data=DataConfig(images="$JAXFACE_DATA/celeba_aligned112", template="arcface112", min_images=2),
  augment=AugmentConfig(mirror=0.5, shift=3, jitter=1.0, brightness=0.1, contrast=0.2),
  model=ModelConfig("smallresnet", size=96, dtype="bfloat16"),
  terms=(Classification(CosFace(m=0.35, scale=30.0, warmup_steps=int(0.4 * STEPS))),),
  optimizer=OptimizerConfig(name="sgd", learning_rate=0.1, momentum=0.9, weight_decay=5e-4),
  schedule=ScheduleConfig(name="cosine", warmup_steps=100),
  evaluation=(
    VerificationConfig(
      name="lfw", images="$JAXFACE_DATA/lfw_aligned112", template="arcface112", pairs="$JAXFACE_DATA/protocols/pairs.txt",
    ),
  ),
  export="onnx",
)
