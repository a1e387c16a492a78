"""Published weights fine-tuned on CelebA people: verified on held-out CelebA people and on LFW, before and after.

The model is the MobileFaceNet trained on MS1M by others, imported from ONNX (docs/weights.md):
  jaxface import mobilefacenet_ms1m_128d.onnx --model mobilefacenet --preprocess imagenet --out runs/mobilefacenet
Its batch norms are folded into its convolutions; the run calibrates them first (see its notes.txt).

Command: JAXFACE_DATA=FOLDER jaxface train celeba_finetune
Expected: held-out people, AUC 0.9690 before and 0.9725 after; LFW view 2, 99.25 % before and 99.32 % ± 0.13 after. On view 1's
test pairs, used for development, 99.30 % before and after.
"""

from jaxface.data import AugmentConfig, DataConfig
from jaxface.evaluation import VerificationConfig
from jaxface.heads import Classification
from jaxface.losses import CosFace
from jaxface.models import ModelConfig
from jaxface.training import Experiment, OptimizerConfig, ScheduleConfig

EXPERIMENT = Experiment(
  name="celeba_finetune",
  steps=60,
  batch_size=128,
  log_every=5,
  checkpoint_every=500,
  data=DataConfig(images="$JAXFACE_DATA/celeba_aligned112", min_images=2, holdout=0.1),
  augment=AugmentConfig(mirror=0.5, shift=2, jitter=1.0, brightness=0.1, contrast=0.2),
  model=ModelConfig(init_from="runs/mobilefacenet", dtype="bfloat16"),
  terms=(Classification(CosFace(m=0.35, scale=30.0), center_init="mean_embedding"),),
  optimizer=OptimizerConfig(learning_rate=0.05, weight_decay=5e-4, clip_norm=5.0, rates=("body/*=0 until 15 then 0.1",)),
  schedule=ScheduleConfig(warmup_steps=5),
  evaluation=(
    VerificationConfig(name="unseen"),
    VerificationConfig(
      name="lfw", images="$JAXFACE_DATA/lfw_aligned112", pairs="$JAXFACE_DATA/protocols/pairs.txt",
    ),
  ),
)
