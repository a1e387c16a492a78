"""Learning rate factors for some layers, for the first steps or for the entire run; 0 freezes.

A rate is PATTERN=FACTOR, PATTERN=FACTOR until STEP (1 after it), or PATTERN=FACTOR until STEP then FACTOR. A pattern is a
shell pattern on the path of a parameter, in which * matches slashes too: `body/...` are parameters of the network,
`head/N/...` those of the objective's term N. If several patterns match a parameter, the last one applies.

Parameters with factor 0 do not change: weight decay does not apply to them, and their norms keep their running statistics.
If the factor is 0 for the entire run, no gradient is computed and their norms normalise by the running statistics.
"""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

_FORM = re.compile(r"\s*(\S+?)\s*=\s*(\S+)(?:\s+until\s+(\d+)(?:\s+then\s+(\S+))?)?\s*")
_SHOWN = 40


@dataclass(frozen=True)
class Rate:
  """A factor of the learning rate.

  Attributes:
    pattern: shell pattern on paths.
    factor: factor in the first `until` updates, or in all if that is None.
    until: number of updates.
    then: factor in later updates.
  """

  pattern: str
  factor: float
  until: int | None = None
  then: float = 1.0

  @property
  def stopped(self) -> bool:
    """Whether the factor is 0 for the entire run."""
    return self.factor == 0 and (self.until is None or self.then == 0)

  def at(self, step: Array | int) -> Array:
    """Factor of one update."""
    if self.until is None:
      return jnp.float32(self.factor)
    return jnp.where(step < self.until, jnp.float32(self.factor), jnp.float32(self.then))

  def __str__(self) -> str:
    if self.until is None:
      return f"{self.factor:g}"
    return f"{self.factor:g} until step {self.until}, then {self.then:g}"


def parse_rates(rates: Sequence[str]) -> tuple[Rate, ...]:
  """Parses `optimizer.rates`.

  Raises:
    ValueError: a rate of another form, or a factor that is negative or not finite.
  """
  return tuple(_parse(text) for text in rates)


def _parse(text: str) -> Rate:
  found = _FORM.fullmatch(str(text))
  try:
    if not found:
      raise ValueError
    factor, then = float(found[2]), float(found[4] or 1)
    if not (0 <= factor < float("inf") and 0 <= then < float("inf")):
      raise ValueError
  except ValueError:
    raise ValueError(
      f"OptimizerConfig.rates: {text!r} is not a rate: needs PATTERN=FACTOR, such as body/*=0 or head/*=10, or"
      " body/*=0 until 200, or body/*=0 until 200 then 0.1; factors are at least 0"
    ) from None
  return Rate(found[1], factor, int(found[3]) if found[3] else None, then)


def rate_paths(params: Any) -> Any:
  """The path of each leaf of a tree {"model": ..., "terms": ...}: "body/stem/conv/kernel", "head/0/center_cd"."""
  part = {"model": "body", "terms": "head"}

  def name(path: tuple, _: Any) -> str:
    first, *rest = (jax.tree_util.keystr((key,), simple=True) for key in path)
    return "/".join([part.get(first, first), *rest])

  return jax.tree_util.tree_map_with_path(name, params)


def rate_of(rates: Sequence[Rate], path: str) -> Rate | None:
  """The last rate whose pattern matches a path."""
  return next((rate for rate in reversed(rates) if fnmatch.fnmatchcase(path, rate.pattern)), None)


def stopped(rates: Sequence[Rate], path: str) -> bool:
  """Whether the parameters at a path are frozen for the entire run."""
  rate = rate_of(rates, path)
  return rate is not None and rate.stopped


def check_rates(rates: Sequence[Rate], params: Any) -> None:
  """Refuse a pattern that matches no parameter.

  Raises:
    ValueError: names the pattern and the valid paths.
  """
  paths = jax.tree.leaves(rate_paths(params))
  for rate in rates:
    if not fnmatch.filter(paths, rate.pattern):
      # For deep networks the message lists first-level modules only.
      groups = list(dict.fromkeys("/".join(path.split("/")[:2]) + ("/*" if path.count("/") > 1 else "") for path in paths))
      more = f" and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else ""
      raise ValueError(
        f"optimizer.rates: {rate.pattern!r} matches no parameter. There are: {', '.join(groups[:_SHOWN])}{more}; an example"
        f" of a full path is {paths[0]!r}"
      )


def rate_lines(rates: Sequence[Rate], params: Any) -> list[str]:
  """A line for each rate, with the number of parameters that it matches and that it applies to."""
  sized = [(path, leaf.size) for path, leaf in zip(jax.tree.leaves(rate_paths(params)), jax.tree.leaves(params))]
  lines = []
  for rate in rates:
    matched = sum(size for path, size in sized if fnmatch.fnmatchcase(path, rate.pattern))
    # By identity: the same rate may be given twice.
    followed = sum(size for path, size in sized if rate_of(rates, path) is rate)
    other = f", to {matched - followed:,} of which a later pattern applies" if followed < matched else ""
    lines.append(f"optimizer.rates: {rate.pattern}: {rate} × the learning rate, {matched:,} parameters{other}")
  return lines


def _factors(rates: Sequence[Rate], params: Any, step: Array) -> Any:
  """Tree of the factor of each leaf, None for 1."""

  def factor(path: str) -> Array | None:
    rate = rate_of(rates, path)
    return None if rate is None else rate.at(step)

  return jax.tree.map(factor, rate_paths(params))


def _start(rates: Sequence[Rate]) -> Any:
  """Initial state: the count of updates."""

  def init(params: Any) -> optax.ScaleByScheduleState:
    check_rates(rates, params)
    return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

  return init


def scale_by_rates(rates: Sequence[Rate]) -> optax.GradientTransformation:
  """Multiplies each update by the factor of its path; last in the chain, so that weight decay is multiplied too.

  Raises:
    ValueError: in `init`, see `check_rates`.
  """

  def update(updates: Any, state: optax.ScaleByScheduleState, params: Any = None) -> tuple[Any, Any]:
    del params
    factors = _factors(rates, updates, state.count)
    scaled = jax.tree.map(
      lambda u, f: u if f is None else (u * f).astype(u.dtype), updates, factors, is_leaf=lambda leaf: leaf is None
    )
    return scaled, optax.ScaleByScheduleState(count=optax.safe_increment(state.count))

  return optax.GradientTransformation(_start(rates), update)


def clip_moving(rates: Sequence[Rate], clip: optax.GradientTransformation) -> optax.GradientTransformation:
  """Clips gradients of moving and of frozen layers by separate norms: frozen layers must not affect the clipping of the others.

  Clipped gradients of temporarily frozen layers still update momentum and moments.

  Args:
    rates: rates of the run.
    clip: a transformation without state.
  """

  def update(grads: Any, state: optax.ScaleByScheduleState, params: Any = None) -> tuple[Any, Any]:
    del params
    factors = _factors(rates, grads, state.count)
    moves = jax.tree.map(
      lambda g, f: None if g is None else True if f is None else f > 0, grads, factors, is_leaf=lambda leaf: leaf is None
    )
    pick = lambda which: jax.tree.map(lambda g, m: jnp.where(jnp.asarray(m) == which, g, 0), grads, moves)  # noqa: E731
    moving, still = (clip.update(pick(which), optax.EmptyState())[0] for which in (True, False))
    return jax.tree.map(jnp.add, moving, still), optax.ScaleByScheduleState(count=optax.safe_increment(state.count))

  return optax.GradientTransformation(_start(rates), update)


__all__ = ["Rate", "check_rates", "clip_moving", "parse_rates", "rate_lines", "rate_of", "rate_paths", "scale_by_rates", "stopped"]
