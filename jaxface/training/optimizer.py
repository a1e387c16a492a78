"""SGD with momentum and AdamW, one rule for what decays, and the running average of parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxface.layers.members import members_of
from jaxface.losses.ranges import check_choice, check_range
from jaxface.training.rates import clip_moving, parse_rates, scale_by_rates

OPTIMIZERS = ("sgd", "adamw")

# Of rank 2 and more in a stack of networks, and still no weights.
UNDECAYED = ("bias", "bias_c", "scale", "slope", "alpha", "mean", "var")


@dataclass(frozen=True)
class OptimizerConfig:
  """How gradients become updates.

  Attributes:
    name: "sgd" or "adamw".
    learning_rate: peak of the schedule. 0 moves no parameter, while running statistics of norms, class centres that move by
      themselves and margins' states go on: a run that only verifies a network as it is.
    momentum: of SGD; 0 keeps none.
    nesterov: SGD looks ahead along its momentum.
    weight_decay: SGD adds weight_decay·w to the gradient, and so to the momentum (classic L2); AdamW takes
      learning_rate·weight_decay·w off the weight, past the moments (decoupled). `decays` says which parameters.
    clip_norm: longest gradient over all parameters together, before weight decay; 0 does not clip. Each network of an
      ensemble, with its class centres, is clipped by itself.
    b1: decay of AdamW's first moment.
    b2: decay of AdamW's second moment.
    eps: added to the root of AdamW's second moment.
    rates: factors of the learning rate by path, such as ("body/*=0 until 200", "head/*=10"); the last pattern that matches
      a parameter counts, see `jaxface.training.rates`.
  """

  name: Literal["sgd", "adamw"] = "sgd"
  learning_rate: float = 0.1
  momentum: float = 0.9
  nesterov: bool = False
  weight_decay: float = 5e-4
  clip_norm: float = 0.0
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-8
  rates: tuple[str, ...] = ()

  def __post_init__(self) -> None:
    parse_rates(self.rates)
    check_choice(self, "name", OPTIMIZERS)
    check_range(self, "learning_rate", 0.0, what="peak of the schedule, 0 moves nothing")
    for field in ("momentum", "b1", "b2"):
      check_range(self, field, 0.0, 1.0, open_high=True)
    check_range(self, "weight_decay", 0.0)
    check_range(self, "clip_norm", 0.0, what="longest gradient, 0 for no limit")
    check_range(self, "eps", 0.0, open_low=True)
    if self.nesterov and not self.momentum:
      raise ValueError("OptimizerConfig: nesterov = True needs momentum > 0")


def decays(path: tuple[Any, ...], leaf: Any) -> bool:
  """Whether weight decay touches a parameter: kernels and class centres do, norms, biases and slopes do not.

  A parameter decays if its rank is at least 2, its own name (the last of its path) is none of `UNDECAYED`, and it lies
  in no module called "frozen": such a module lets no gradient through, and decay must not move it either. Rank
  alone would decay the biases of a stack of networks; the name alone would decay every new kind of vector.

  Args:
    path: as `jax.tree_util.tree_map_with_path` gives it.
    leaf: array, or anything else with a shape.
  """
  names = [jax.tree_util.keystr((key,), simple=True) for key in path]
  return len(leaf.shape) >= 2 and "frozen" not in names and not (names and names[-1] in UNDECAYED)


def decay_mask(params: Any) -> Any:
  """The tree of `decays` over a tree of parameters."""
  return jax.tree_util.tree_map_with_path(decays, params)


def clip_each(longest: float) -> optax.GradientTransformation:
  """Shortens the gradient of each network of an ensemble to `longest`, and that of everything else together.

  Which arrays, and which of their rows, are a network's own: see `jaxface.layers.members`. Without an ensemble it is
  clipping by the global norm.

  Args:
    longest: Euclidean norm.
  Returns:
    An optax transformation without state.
  """

  def update(grads: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
    leaves = [(members_of(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(grads)]
    count = max((members.stop for members, _ in leaves if members is not None), default=0)
    # The last entry is what belongs to no member.
    square_m = jnp.zeros(count + 1, jnp.result_type(jnp.float32, *(leaf for _, leaf in leaves)))
    for members, leaf in leaves:
      square = jnp.square(leaf.astype(square_m.dtype))
      if members is None:
        square_m = square_m.at[-1].add(square.sum())
      else:
        square_m = square_m.at[members.start : members.stop].add(square.reshape(len(members), -1).sum(axis=1))
    factor_m = longest / jnp.maximum(jnp.sqrt(square_m), longest)

    def shorten(path: tuple[Any, ...], leaf: Array) -> Array:
      members = members_of(path)
      if members is None:
        return (leaf * factor_m[-1]).astype(leaf.dtype)
      own_m = factor_m[members.start : members.stop]
      return (leaf * own_m.reshape(-1, *[1] * (leaf.ndim - 1))).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(shorten, grads), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def make_clip(config: OptimizerConfig) -> optax.GradientTransformation | None:
  """Clipping of the gradient alone, as `make_optimizer` begins; None without it.

  Its state is empty or, with rates, a count of updates.
  """
  if not config.clip_norm:
    return None
  rates, clip = parse_rates(config.rates), clip_each(config.clip_norm)
  return clip_moving(rates, clip) if rates else clip


def make_optimizer(
  config: OptimizerConfig, schedule: Callable[[Array | int], Array],
) -> optax.GradientTransformation:
  """Gradient transformation: clip, decay, momentum or moments, learning rate.

  Args:
    config: the optimizer.
    schedule: learning rate by the transformation's own count of updates, which rolls back with its state.
  Returns:
    An optax transformation whose updates are to be added to the parameters; `update` needs the parameters.
  """
  decay = [optax.add_decayed_weights(config.weight_decay, decay_mask)] if config.weight_decay else []
  if config.name == "sgd":
    momentum = [optax.trace(config.momentum, nesterov=config.nesterov)] if config.momentum else []
    body = [*decay, *momentum]
  else:
    body = [optax.scale_by_adam(config.b1, config.b2, config.eps), *decay]
  first = make_clip(config)
  clip = [] if first is None else [first]
  rates = parse_rates(config.rates)
  last = [scale_by_rates(rates)] if rates else []
  return optax.chain(*clip, *body, optax.scale_by_learning_rate(schedule), *last)


def update_ema(average: Any, params: Any, step: Array | int, decay: float) -> Any:
  """Running average of parameters: κ·average + (1 − κ)·params, κ = min(decay, (1 + step)/(10 + step)).

  The smaller κ of early steps forgets the random start; the average starts as a copy of the parameters.

  Args:
    average: tree of arrays.
    params: tree of the same structure, after the step.
    step: number of the step, from 0.
    decay: share of the old average that a step keeps, in [0, 1).
  Returns:
    Tree of the structure and types of `average`.
  """
  step = jnp.asarray(step, jnp.float32)
  keep = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return jax.tree.map(lambda a, p: (a + (1.0 - keep) * (p - a)).astype(a.dtype), average, params)


__all__ = ["OPTIMIZERS", "UNDECAYED", "OptimizerConfig", "clip_each", "decay_mask", "decays", "make_clip", "make_optimizer", "update_ema"]
