"""Stacked networks of an ensemble: arrays with a leading member axis, and the name that records the members.

Arrays below a name that ends in `members_0_15` have a leading axis of 15, for the members 0 to 14 of an ensemble: parameters of
the networks, class centres, gradients or optimizer state. The arrays of one member can thus be found in any tree.
"""

import re
from typing import Any

import jax

_NAME = re.compile(r"(?:.*_)?members_(\d+)_(\d+)")


def members_name(first: int, past: int, prefix: str = "") -> str:
  """The name for arrays of the members `first` to `past` − 1.

  >>> members_name(0, 15, "39x31x3")
  '39x31x3_members_0_15'
  """
  return f"{prefix}_members_{first}_{past}" if prefix else f"members_{first}_{past}"


def members_of(path: tuple[Any, ...]) -> range | None:
  """The members along the leading axis of a leaf, by its path in a tree; None if it has no such axis."""
  for key in path:
    if found := _NAME.fullmatch(jax.tree_util.keystr((key,), simple=True)):
      return range(int(found[1]), int(found[2]))
  return None


__all__ = ["members_name", "members_of"]
