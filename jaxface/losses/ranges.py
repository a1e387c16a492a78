"""One way to refuse an argument or a hyper-parameter: the message names it, its value and what would be right."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

LARGEST = float(np.finfo(np.float32).max)


def check_range(
  config: Any, field: str, low: float = -math.inf, high: float = math.inf, *,
  open_low: bool = False, open_high: bool = False, what: str = "",
) -> None:
  """Refuses a number outside of its interval.

  Args:
    config: a configuration; its class names the fault.
    field: name of the attribute to check.
    low: lower end; itself allowed unless `open_low`.
    high: upper end; itself allowed unless `open_high`. An end that is infinite stands for
        the largest number of float32, in which everything is computed.
    open_low: the lower end is no value of the field.
    open_high: the upper end is no value of the field.
    what: what the field means, for the message.
  Raises:
    ValueError: naming class, field, value and interval. NaN and the infinities are in no interval, and text is none.
  """
  value = getattr(config, field)
  name = f"{type(config).__name__}.{field}"
  if value is None or isinstance(value, str):
    raise ValueError(f"{name} = {value!r} is no number")
  above = value > low if open_low or low == -math.inf else value >= low
  below = value < high if open_high or high == math.inf else value <= high
  if above and below and abs(value) <= LARGEST:
    return
  left, right = "(" if open_low or low == -math.inf else "[", ")" if open_high or high == math.inf else "]"
  meaning = f" ({what})" if what else ""
  raise ValueError(
    f"{name} = {value!r} is out of range: it must lie in {left}{_end(low)}, {_end(high)}{right}{meaning}"
  )


def _end(number: float) -> str:
  """An end of an interval; whole numbers with all their digits."""
  return str(number) if isinstance(number, int) else f"{number:g}"


def check_choice(config: Any, field: str, choices: Iterable[str]) -> None:
  """Refuses a name that is none of `choices`, and lists them.

  Args:
    config: a configuration; its class names the fault.
    field: name of the attribute to check.
    choices: the valid names.
  Raises:
    ValueError: naming class, field, value and the valid names.
  """
  check_name(f"{type(config).__name__}.{field}", getattr(config, field), list(choices))


def check_name(argument: str, value: str, known: Sequence[str]) -> None:
  """Refuses a name that is none of the known ones with a ValueError that lists them."""
  if value not in known:
    raise ValueError(f"{argument} = {value!r} is unknown: choose one of {', '.join(known)}")


def check_labels(label_b: Array) -> None:
  """Refuses labels that are no integers with a TypeError; costs nothing under `jit`."""
  if not jnp.issubdtype(label_b.dtype, jnp.integer):
    raise TypeError(f"label_b is {label_b.dtype}: identities must be integers")


def class_labels(label_b: Array) -> Array:
  """Labels in a type that holds the number of every class: a uint8 cannot be compared with class 300.

  Args:
    label_b: [B] of any integer type.
  Returns:
    [B] int32, or int64 for 64-bit labels where JAX has them. A label beyond its range becomes negative: no class.
  Raises:
    TypeError: labels that are no integers.
    ValueError: a host array of 64-bit labels that JAX, as it is set, would cut to 32 bits and so to other classes.
  """
  check_labels(label_b)
  wide = jnp.dtype(label_b.dtype).itemsize == 8
  if wide and isinstance(label_b, np.ndarray) and not jax.config.jax_enable_x64 and label_b.size:  # type: ignore[attr-defined]
    low, high = int(label_b.min()), int(label_b.max())
    if low < -(2**31) or high >= 2**31:
      raise ValueError(f"label_b holds {low} to {high}: identities must lie within 32 bits, unless jax_enable_x64 is set")
  return jnp.asarray(label_b).astype(jnp.int64 if wide and jax.config.jax_enable_x64 else jnp.int32)  # type: ignore[attr-defined]


__all__ = ["check_choice", "check_labels", "check_name", "check_range", "class_labels"]
