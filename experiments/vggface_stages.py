"""VGG-Face's networks in its order: A from random numbers, B and D grown from A, then a projection of B learned by triplets.

Paper: Parkhi et al., "Deep Face Recognition", 2015, §4.3: softmax over 2,622 identities, 2.6 million images, 224×224 pixels, SGD with
momentum 0.9, batch 64, weight decay 5e-4, dropout 0.5, rate 0.01 divided by ten three times where the accuracy stops to grow, here at
fixed steps. B and D start from A's layers and random new ones, at a smaller rate, which the paper does not give: here 0.001. The
projection, 4,096 to 1,024 numbers: all else frozen, rate 0.25, ten epochs.
Command: jaxface train vggface_stages --stages.0.experiment.data.records DIR (and the same for stages 1, 2 and 3)
One stage alone: --stages.0.experiment.steps 100; every field of a stage is set like this.

Small form: a quarter of the channels, 48×48 pixels, 512 numbers, AdamW, on the CelebA subset of celeba_lfw.
Command: JAXFACE_DATA=FOLDER jaxface train vggface_stages --small
Its figures: jaxface papers vggface --table
"""

from dataclasses import replace

from jaxface.data import AugmentConfig, DataConfig
from jaxface.evaluation import VerificationConfig
from jaxface.heads import Classification
from jaxface.losses import Softmax, TripletLoss
from jaxface.models import ModelConfig
from jaxface.pipeline import Stage, StagedExperiment
from jaxface.training import Experiment, OptimizerConfig, ScheduleConfig, load_experiment

IMAGES, BATCH = 2_600_000, 64

A = Experiment(
  name="vggface_a",
  steps=20 * IMAGES // BATCH,
  batch_size=BATCH,
  log_every=100,
  checkpoint_every=5000,
  data=DataConfig(records="records", holdout=0.01),
  augment=AugmentConfig(mirror=0.5, shift=0, jitter=0.0),
  model=ModelConfig("vggface_a", dropout=0.5),
  terms=(Classification(Softmax()),),
  optimizer=OptimizerConfig(name="sgd", learning_rate=0.01, momentum=0.9, weight_decay=5e-4),
  schedule=ScheduleConfig(name="step", milestones=(0.5, 0.75, 0.9), gamma=0.1),
  evaluation=(VerificationConfig(name="unseen", every=5000),),
)


def grown(stage_a: Experiment, letter: str, learning_rate: float, steps: int) -> Stage:
  """B or D, from A."""
  return Stage(replace(
    stage_a, name=f"vggface_{letter}", steps=steps, model=replace(stage_a.model, name=f"vggface_{letter}"),
    optimizer=replace(stage_a.optimizer, learning_rate=learning_rate),
  ), after="vggface_a")


EXPERIMENT = StagedExperiment(
  name="vggface_stages",
  command="jaxface train vggface_stages",
  stages=(
    Stage(A),
    grown(A, "b", 0.001, A.steps // 2),
    grown(A, "d", 0.001, A.steps // 2),
    Stage(replace(
      A, name="vggface_b_projected", steps=10 * IMAGES // BATCH, terms=(TripletLoss(mining="semi_hard", margin=0.2),),
      data=replace(A.data, order="balanced", identities_per_batch=16, images_per_identity=4),
      model=ModelConfig("projected", embedding_size=1024),
      optimizer=OptimizerConfig(name="sgd", learning_rate=0.25, momentum=0.9, weight_decay=0.0),
      schedule=ScheduleConfig(name="cosine", warmup_steps=0),
    ), after="vggface_b"),
  ),
)

MARGINS, _ = load_experiment("margins")
TRIPLET, _ = load_experiment("vggface_triplet")

SMALL_A = replace(
  MARGINS, name="vggface_a", steps=1000, terms=A.terms,
  model=ModelConfig("vggface_a", size=48, embedding_size=512, dropout=0.2, options={"width": 0.25}),
  optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=0.05, clip_norm=5.0),
)

SMALL = replace(
  EXPERIMENT,
  name="vggface_stages_small",
  command="jaxface train vggface_stages --small",
  stages=(
    Stage(SMALL_A),
    grown(SMALL_A, "b", 3e-4, 400),
    grown(SMALL_A, "d", 3e-4, 400),
    Stage(replace(
      TRIPLET, name="vggface_b_projected", steps=300, model=ModelConfig("projected", embedding_size=128),
    ), after="vggface_b"),
  ),
)
