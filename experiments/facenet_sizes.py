"""FaceNet's networks by embedding size: NN2 with 64, 128, 256 and 512 numbers, and NNS1 with 128, each trained with semi-hard triplets.

Paper: Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015, table 5: a network for each size, and VAL at FAR
1e-3 on photos of its own: 86.8 % with 64 numbers, 87.9 with 128, 87.7 with 256, 85.6 with 512; differences are within its errors of ± 2. Batches of
some 1,800 images with some 40 of each person, α 0.2. Its AdaGrad (rate 0.05) is not in jaxface: here SGD; the number of steps is our choice.
Command: jaxface train facenet_sizes --stages.0.experiment.data.records DIR (and the same for the other stages)

Small form: a quarter of NN2's channels, half of NNS1's, 48×48 pixels, batch norm, 400 steps on batches of 32 people
with 4 images, on the CelebA subset of celeba_lfw.
Command: JAXFACE_DATA=FOLDER jaxface train facenet_sizes --small
Figures by size, and by JPEG quality and number of pixels: `make sweep-facenet` (docs/sweeps.md)
"""

from dataclasses import replace

from jaxface.data import AugmentConfig, DataConfig
from jaxface.evaluation import VerificationConfig
from jaxface.losses import TripletLoss
from jaxface.models import ModelConfig
from jaxface.pipeline import Stage, StagedExperiment
from jaxface.training import Experiment, OptimizerConfig, ScheduleConfig, load_experiment

SIZES = (64, 128, 256, 512)


def by_size(network: Experiment, sizes: tuple[int, ...]) -> tuple[Stage, ...]:
  """A run of a network for each embedding size, from random numbers."""
  return tuple(
    Stage(replace(network, name=f"{network.name}_{size}", model=replace(network.model, embedding_size=size))) for size in sizes
  )


NN2 = Experiment(
  name="nn2",
  steps=200_000,
  batch_size=1800,
  log_every=100,
  checkpoint_every=5000,
  data=DataConfig(records="records", holdout=0.01, order="balanced", identities_per_batch=45, images_per_identity=40),
  augment=AugmentConfig(mirror=0.5, shift=0, jitter=0.0),
  model=ModelConfig("facenet_nn2"),
  terms=(TripletLoss(mining="semi_hard", margin=0.2),),
  optimizer=OptimizerConfig(name="sgd", learning_rate=0.05, momentum=0.9, weight_decay=0.0),
  schedule=ScheduleConfig(name="cosine", warmup_steps=1000),
  evaluation=(VerificationConfig(name="unseen", every=5000),),
)
EXPERIMENT = StagedExperiment(
  name="facenet_sizes",
  command="jaxface train facenet_sizes",
  stages=(*by_size(NN2, SIZES), *by_size(replace(NN2, name="nns1", model=ModelConfig("facenet_nns1")), (128,))),
)

TRIPLET, _ = load_experiment("facenet_triplet")
SMALL_NN2 = replace(
  TRIPLET, name="nn2", steps=400, checkpoint_every=100,
  model=ModelConfig("facenet_nn2", size=48, fit="resize", options={"width": 0.25, "norm": True}),
)
SMALL_NNS1 = replace(SMALL_NN2, name="nns1", model=replace(SMALL_NN2.model, name="facenet_nns1", options={"width": 0.5, "norm": True}))
SMALL = replace(
  EXPERIMENT,
  name="facenet_sizes_small",
  command="jaxface train facenet_sizes --small",
  stages=(*by_size(SMALL_NN2, SIZES), *by_size(SMALL_NNS1, (128,))),
)
