"""The parts of a run. Each holds only the settings it needs.

`resolve_run` makes them from an experiment. They can also be built without one, such as for your own loop:

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

from jaxface.data.augmentation import AugmentConfig, JointAugmentation, augment, check_still, joint_keys
from jaxface.data.loader import Loader, Order
from jaxface.losses.term import Term
from jaxface.models.preprocess import Preprocess
from jaxface.training.choices import term_names
from jaxface.training.hosts import sign_of_life
from jaxface.training.mesh import batch_sharding
from jaxface.training.optimizer import OptimizerConfig, make_clip, make_optimizer
from jaxface.training.rates import Rate, parse_rates
from jaxface.training.schedule import ScheduleConfig, make_schedule

# Number of steps to which `Plan.max_bad_share` refers.
BAD_WINDOW = 100


@dataclass(frozen=True)
class Network:
  """The network that is trained.

  Attributes:
    module: called with (images, train), returns embeddings [B, D].
    preprocess: its input convention.
    options: options for `create`.
    name: name in the registry.
    init_from: model directory, or workdir of a run, with the initial weights; "" for none.
    freeze_norm: batch norms use their running statistics and are not updated.
    norm_groups, remat: see the fields of the same names of `ModelConfig`.
    fsdp, gradient_dtype: see the fields of the same names of `MeshConfig`.
  """

  module: nn.Module
  preprocess: Preprocess
  options: Mapping[str, Any] = field(default_factory=dict)
  name: str = ""
  init_from: str = ""
  freeze_norm: bool = False
  norm_groups: int = 1
  remat: str = "none"
  fsdp: bool = False
  gradient_dtype: str = "float32"


@dataclass(frozen=True)
class Data:
  """The training data.

  Attributes:
    source: the training set, see `jaxface.data`.
    order: maps positions to records.
    on_damage: "substitute" or "raise", see `Loader`.
  """

  source: Any
  order: Order
  on_damage: str = "substitute"

  def loader(self, batch_size: int, mesh: Mesh, *, steps: int, start_step: int = 0) -> Loader:
    """Batches in this order, sharded over the mesh."""
    return Loader(
      self.source, self.order, batch_size, start_step=start_step, steps=steps, sharding=batch_sharding(mesh),
      on_damage=self.on_damage, on_batch=sign_of_life,
    )


@dataclass(frozen=True)
class Batches:
  """Batch size, accumulation and augmentation.

  Attributes:
    size: images per step over all devices and hosts.
    accumulate: number of parts into which the batch is split.
    augment: augmentation of its images.
    joint: changes images and targets together, before `augment`; None for images without targets. `augment` must not move pixels
      then.
    seed: seed of the run: initial values, order, augmentation, dropout.
  """

  size: int
  accumulate: int = 1
  augment: AugmentConfig = field(default_factory=AugmentConfig)
  seed: int = 0
  joint: JointAugmentation | None = None

  def __post_init__(self) -> None:
    if self.joint is not None:
      check_still(self.augment)

  @property
  def part_size(self) -> int:
    """Images per call of the network."""
    return self.size // self.accumulate

  @jax.named_scope("augmentation")
  def augmented(self, batch: Mapping[str, Array]) -> tuple[Array, Array | None]:
    """The augmented images of a batch [B, H, W, C] float32 in 0..255, and their targets [B, T]; a function of seed and position."""
    if self.joint is None:
      return augment(batch["image"], self.seed, batch["position"], self.augment), batch.get("target")
    key_b = joint_keys(self.seed, batch["position"])
    image_bhwc, target_bt = self.joint(batch["image"], batch["target"], key_b)
    return augment(image_bhwc, self.seed, batch["position"], self.augment), target_bt


@dataclass(frozen=True)
class Objective:
  """The objective.

  Attributes:
    terms: weighted terms on the embedding.
    num_classes: identities of the training set.
  """

  terms: tuple[Term, ...]
  num_classes: int

  @property
  def names(self) -> list[str]:
    """Name of each term in the log."""
    return term_names(self.terms)


@dataclass(frozen=True)
class Optimizer:
  """How gradients become updates.

  Attributes:
    transform: any optax transformation whose updates are added to {"model", "terms"} parameters.
    schedule: learning rate by the count of updates, for the log.
    rates: factors of the learning rate by path, as in `transform`; the step does not change frozen layers.
    ema: decay of the running average of the parameters; 0 turns it off.
    clip: clipping with which `transform` begins. Class centres that are updated by rows are clipped by it together with all other
      parameters; None if `transform` does not clip.
    elementwise: whether `transform` without `clip` is known to treat each element of the parameters separately, as updates by rows
      need; otherwise `TrainStep` tries it on small arrays where that matters.
  """

  transform: optax.GradientTransformation
  schedule: Callable[[Array | int], Array]
  rates: tuple[Rate, ...] = ()
  ema: float = 0.0
  clip: optax.GradientTransformation | None = None
  elementwise: bool = False

  @classmethod
  def make(cls, config: OptimizerConfig, schedule: ScheduleConfig, *, steps: int, ema: float = 0.0) -> "Optimizer":
    """The optimizer of two configs, for a run of `steps` steps."""
    rate = make_schedule(schedule, config.learning_rate, steps)
    return cls(
      make_optimizer(config, rate), rate, parse_rates(config.rates), ema, make_clip(config), elementwise=True
    )


@dataclass(frozen=True)
class Plan:
  """Length of a run, intervals, and limits on skipped steps. See the fields of the same names of `Experiment`.

  Attributes:
    steps: total number of steps.
    log_every: steps between two lines of the log.
    checkpoint_every: steps between two checkpoints.
    keep_checkpoints: number of latest checkpoints to keep.
    max_bad_steps: the run ends after this many consecutive non-finite steps.
    max_bad_share: the run ends if more than this share of the last `BAD_WINDOW` steps was skipped.
    best: whether the best state on the first verification set becomes the model, instead of the last one.
    stall_seconds: longest time without progress, see `Watchdog`.
    compare_values: several processes compare the values that all of them have, see `Replicas`.
  """

  steps: int
  log_every: int = 20
  checkpoint_every: int = 500
  keep_checkpoints: int = 2
  max_bad_steps: int = 10
  max_bad_share: float = 0.2
  best: bool = False
  stall_seconds: float = 0.0
  compare_values: bool = True

  @property
  def most_bad_lately(self) -> int:
    """Number of the last `BAD_WINDOW` steps that may be skipped."""
    return math.floor(self.max_bad_share * BAD_WINDOW + 1e-9)


@dataclass(frozen=True)
class Run:
  """All parts of a run.

  Attributes:
    name: name of the run.
    network, data, batches, objective, optimizer, plan: its parts.
    mesh: its devices.
    config: every field of the experiment by dotted name, for config.json; not used in computations.
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
    """`jax.random.key(seed)`, into which each purpose is folded."""
    return jax.random.key(self.batches.seed)


__all__ = ["BAD_WINDOW", "Batches", "Data", "Network", "Objective", "Optimizer", "Plan", "Run"]
