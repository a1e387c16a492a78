"""The parts of a run: each holds what it needs of the configuration, and sees no other.

`resolve_run` makes them from an experiment. A step of one's own is built from them without one:

  step = TrainStep(
    Network(module, preprocess), Objective((Classification(),), num_classes),
    Optimizer.make(OptimizerConfig(), ScheduleConfig(), steps=1000), Batches(64), Plan(steps=1000),
  )
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import optax
from jax import Array
from jax.sharding import Mesh

from jaxface.data.augmentation import AugmentConfig, augment
from jaxface.data.loader import Loader, Order
from jaxface.losses.term import Term
from jaxface.models.preprocess import Preprocess
from jaxface.training.choices import term_names
from jaxface.training.mesh import batch_sharding
from jaxface.training.optimizer import OptimizerConfig, make_optimizer
from jaxface.training.rates import Rate, parse_rates
from jaxface.training.schedule import ScheduleConfig, make_schedule

# Steps over which `Plan.max_bad_share` is a share.
BAD_WINDOW = 100


@dataclass(frozen=True)
class Network:
  """The network that is trained.

  Attributes:
    module: called with (images, train); embeddings [B, D] come out.
    preprocess: its input convention.
    options: with which `create` makes it again.
    name: in the registry.
    init_from: model directory, or workdir of a run, that it begins with; "" for none.
    freeze_norm: batch norms use their running statistics and stay as they are.
  """

  module: nn.Module
  preprocess: Preprocess
  options: Mapping[str, Any] = field(default_factory=dict)
  name: str = ""
  init_from: str = ""
  freeze_norm: bool = False


@dataclass(frozen=True)
class Data:
  """What is trained on.

  Attributes:
    source: the training set, see `jaxface.data`.
    order: which record stands at which position.
    on_damage: "substitute" or "raise", see `Loader`.
  """

  source: Any
  order: Order
  on_damage: str = "substitute"

  def loader(self, batch_size: int, mesh: Mesh, *, steps: int, start_step: int = 0) -> Loader:
    """Batches of the order, spread over the mesh."""
    return Loader(
      self.source, self.order, batch_size, start_step=start_step, steps=steps, sharding=batch_sharding(mesh),
      on_damage=self.on_damage,
    )


@dataclass(frozen=True)
class Batches:
  """How a step takes its batch.

  Attributes:
    size: images per step over all devices and hosts.
    accumulate: the batch is taken in this many parts.
    augment: random changes of its images.
    seed: of everything that a run draws: initial values, order, augmentation, dropout.
  """

  size: int
  accumulate: int = 1
  augment: AugmentConfig = field(default_factory=AugmentConfig)
  seed: int = 0

  @property
  def part_size(self) -> int:
    """Images that the network sees at a time."""
    return self.size // self.accumulate

  def augmented(self, batch: Mapping[str, Array]) -> Array:
    """[B, H, W, C] float32 in 0..255: the images of a batch, changed as their positions say."""
    return augment(batch["image"], self.seed, batch["position"], self.augment)


@dataclass(frozen=True)
class Objective:
  """What is minimised.

  Attributes:
    terms: weighted terms on the embedding.
    num_classes: identities of the training set.
  """

  terms: tuple[Term, ...]
  num_classes: int

  @property
  def names(self) -> list[str]:
    """What each term is called in the log."""
    return term_names(self.terms)


@dataclass(frozen=True)
class Optimizer:
  """How gradients become updates.

  Attributes:
    transform: any optax transformation whose updates are added to {"model", "terms"} parameters.
    schedule: learning rate by the count of updates, for the log.
    rates: factors of the learning rate by path; those of `transform`, whose frozen layers the step leaves alone.
    ema: decay of the running average of the parameters; 0 keeps none.
  """

  transform: optax.GradientTransformation
  schedule: Callable[[Array | int], Array]
  rates: tuple[Rate, ...] = ()
  ema: float = 0.0

  @classmethod
  def make(cls, config: OptimizerConfig, schedule: ScheduleConfig, *, steps: int, ema: float = 0.0) -> "Optimizer":
    """The optimizer of two configs, for a run of `steps` steps."""
    rate = make_schedule(schedule, config.learning_rate, steps)
    return cls(make_optimizer(config, rate), rate, parse_rates(config.rates), ema)


@dataclass(frozen=True)
class Plan:
  """How long a run is, when it logs and saves, and what ends it early. See `Experiment` for the fields of the same names.

  Attributes:
    steps: of the whole run.
    log_every: steps between two lines of the log.
    checkpoint_every: steps between two saved states.
    keep_checkpoints: how many of the last states stay.
    max_bad_steps: so many non-finite steps in a row end the run.
    max_bad_share: more than this share of the last `BAD_WINDOW` steps ends it.
    best: whether the best state on the first verification set becomes the model, in the place of the last one.
    stall_seconds: longest time in which nothing is completed, see `Watchdog`.
  """

  steps: int
  log_every: int = 20
  checkpoint_every: int = 500
  keep_checkpoints: int = 2
  max_bad_steps: int = 10
  max_bad_share: float = 0.2
  best: bool = False
  stall_seconds: float = 0.0

  @property
  def most_bad_lately(self) -> int:
    """How many of the last `BAD_WINDOW` steps may be skipped."""
    return math.floor(self.max_bad_share * BAD_WINDOW + 1e-9)


@dataclass(frozen=True)
class Run:
  """All parts of a run.

  Attributes:
    name: of the run.
    network, data, batches, objective, optimizer, plan: its parts.
    mesh: its devices.
    config: every field of the experiment by its dotted name, as config.json keeps it; nothing is computed from it.
  """

  name: str
  network: Network
  data: Data
  batches: Batches
  objective: Objective
  optimizer: Optimizer
  plan: Plan
  mesh: Mesh
  config: Mapping[str, Any]

  @property
  def key(self) -> Array:
    """`jax.random.key(seed)`, from which each purpose takes its own fold."""
    return jax.random.key(self.batches.seed)


__all__ = ["BAD_WINDOW", "Batches", "Data", "Network", "Objective", "Optimizer", "Plan", "Run"]
