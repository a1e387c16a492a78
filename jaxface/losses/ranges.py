"""Checks of arguments and hyper-parameters. Messages give the name, the value and the valid values."""

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
  """Rejects a number outside of its interval.

  Args:
    config: a configuration; the message gives its class.
    field: name of the attribute to check.
    low: lower bound, inclusive unless `open_low`.
    high: upper bound, inclusive unless `open_high`. An infinite bound means the largest float32 number, since
        everything is computed in float32.
    open_low: excludes the lower bound.
    open_high: excludes the upper bound.
    what: meaning of the field, for the message.
  Raises:
    ValueError: gives class, field, value and interval. NaN, infinities and strings are always rejected.
  """
  value = getattr(config, field)
  name = f"{type(config).__name__}.{field}"
  if value is None or isinstance(value, str):
    raise ValueError(f"{name} = {value!r} is not a number")
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
  """Formats a bound of an interval; integers with all digits."""
  return str(number) if isinstance(number, int) else f"{number:g}"


def check_choice(config: Any, field: str, choices: Iterable[str]) -> None:
  """Rejects a name that is not in `choices`.

  Args:
    config: a configuration; the message gives its class.
    field: name of the attribute to check.
    choices: the valid names.
  Raises:
    ValueError: gives class, field, value and the valid names.
  """
  check_name(f"{type(config).__name__}.{field}", getattr(config, field), list(choices))


def check_name(argument: str, value: str, known: Sequence[str]) -> None:
  """Rejects an unknown name with a ValueError that lists the known ones."""
  if value not in known:
    raise ValueError(f"{argument} = {value!r} is unknown: choose one of {', '.join(known)}")


def check_labels(label_b: Array) -> None:
  """Rejects labels that are not integers with a TypeError; costs nothing under `jit`."""
  if not jnp.issubdtype(label_b.dtype, jnp.integer):
    raise TypeError(f"label_b is {label_b.dtype}: identities must be integers")


def class_labels(label_b: Array) -> Array:
  """Labels in a dtype that can represent every class: a uint8 cannot be compared with class 300.

  Args:
    label_b: [B] of any integer dtype.
  Returns:
    [B] int32, or int64 for 64-bit labels if JAX has x64 enabled. A label beyond the range becomes negative, which is no class.
  Raises:
    TypeError: labels are not integers.
    ValueError: a host array of 64-bit labels that JAX would truncate to 32 bits, and so to other classes.
  """
  check_labels(label_b)
  wide = jnp.dtype(label_b.dtype).itemsize == 8
  if wide and isinstance(label_b, np.ndarray) and not jax.config.jax_enable_x64 and label_b.size:  # type: ignore[attr-defined]
    low, high = int(label_b.min()), int(label_b.max())
    if low < -(2**31) or high >= 2**31:
      raise ValueError(f"label_b holds {low} to {high}: identities must lie within 32 bits, unless jax_enable_x64 is set")
  return jnp.asarray(label_b).astype(jnp.int64 if wide and jax.config.jax_enable_x64 else jnp.int32)  # type: ignore[attr-defined]


__all__ = ["check_choice", "check_labels", "check_name", "check_range", "class_labels"]
