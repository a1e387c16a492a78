"""How many rows the centres of a number of classes have: more than classes, so that they spread over devices."""

import math
from typing import Any

import jax.numpy as jnp
from jax import Array

# Groups of classes come in this multiple whatever the devices, so that a saved state says nothing of them: a pod of 256
# chips, and every power of two below, divides it. It costs at most 255 groups, half a megabyte of rows of 512 for each class of
# a group.
GROUPS = 256


def padded_classes(num_classes: int, size: int = 1, devices: int = 1) -> int:
  """Classes that the rows of centres have room for.

  Args:
    num_classes: C.
    size: w, classes of a group (`jaxface.heads.draw`).
    devices: over which the groups are spread. Where their number divides 256 it makes no difference.
  """
  multiple = math.lcm(GROUPS, devices)
  return -(-num_classes // (size * multiple)) * multiple * size


def pad_classes(params: dict[str, Any], num_classes: int, rows: int) -> dict[str, Array]:
  """Rows of zeros behind the classes of every leaf [C·m, ...]; they are no classes, and nothing moves them.

  Args:
    params: center_cd [C·K, D] and, with a bias, bias_c [C].
    num_classes: C.
    rows: classes to have room for.
  """

  def pad(leaf: Array) -> Array:
    lacking = (rows - num_classes) * (len(leaf) // num_classes)
    return jnp.pad(leaf, [(0, lacking), *[(0, 0)] * (leaf.ndim - 1)]) if lacking else jnp.asarray(leaf)

  return {name: pad(leaf) for name, leaf in params.items()}


__all__ = ["GROUPS", "pad_classes", "padded_classes"]
