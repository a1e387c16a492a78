"""Networks of an ensemble side by side: arrays with one leading axis for all, and the name that says whose they are.

What lies below a name that ends in `members_0_15` has a leading axis of 15: the members 0 to 14 of an ensemble, be it
parameters of the networks, their class centres, gradients, or what the optimizer keeps. So the arrays of one member are
found again wherever they stand.
"""

import re
from typing import Any

import jax

_NAME = re.compile(r"(?:.*_)?members_(\d+)_(\d+)")


def members_name(first: int, past: int, prefix: str = "") -> str:
  """The name over arrays of the members `first` to `past` − 1.

  >>> members_name(0, 15, "39x31x3")
  '39x31x3_members_0_15'
  """
  return f"{prefix}_members_{first}_{past}" if prefix else f"members_{first}_{past}"


def members_of(path: tuple[Any, ...]) -> range | None:
  """Which members the leading axis of a leaf counts, by its path in a tree; None where it has no such axis."""
  for key in path:
    if found := _NAME.fullmatch(jax.tree_util.keystr((key,), simple=True)):
      return range(int(found[1]), int(found[2]))
  return None


__all__ = ["members_name", "members_of"]
