"""One way to refuse a hyper-parameter: the message names the field, its value and what would be right."""

import math
from collections.abc import Iterable
from typing import Any


def check_range(
  config: Any, field: str, low: float = -math.inf, high: float = math.inf, *,
  open_low: bool = False, open_high: bool = False, what: str = "",
) -> None:
  """Refuses a number outside of its interval.

  Args:
    config: a configuration; its class names the fault.
    field: name of the attribute to check.
    low: lower end; itself allowed unless `open_low`.
    high: upper end; itself allowed unless `open_high`.
    open_low: the lower end is no value of the field.
    open_high: the upper end is no value of the field.
    what: what the field means, for the message.
  Raises:
    ValueError: naming class, field, value and interval. NaN is in no interval.
  """
  value = getattr(config, field)
  above = value > low if open_low else value >= low
  below = value < high if open_high else value <= high
  if above and below:
    return
  left, right = "(" if open_low or low == -math.inf else "[", ")" if open_high or high == math.inf else "]"
  meaning = f" ({what})" if what else ""
  raise ValueError(
    f"{type(config).__name__}.{field} = {value!r} is out of range: it must lie in {left}{low:g}, {high:g}{right}{meaning}"
  )


def check_choice(config: Any, field: str, choices: Iterable[str]) -> None:
  """Refuses a name that is none of `choices`, and lists them.

  Args:
    config: a configuration; its class names the fault.
    field: name of the attribute to check.
    choices: the valid names.
  Raises:
    ValueError: naming class, field, value and the valid names.
  """
  value, choices = getattr(config, field), list(choices)
  if value not in choices:
    raise ValueError(f"{type(config).__name__}.{field} = {value!r} is unknown: choose one of {', '.join(choices)}")


__all__ = ["check_choice", "check_range"]
