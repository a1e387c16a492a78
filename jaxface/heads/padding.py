"""Number of rows of the centres: classes and padding, divisible by the number of devices."""

import math
from typing import Any

import jax.numpy as jnp
from jax import Array

# The number of groups is a multiple of this for any number of devices up to 256 that is a power of two, so that a checkpoint
# does not depend on the devices. It costs at most 255 groups: half a megabyte of 512-dimensional rows per class of a group.
GROUPS = 256


def padded_classes(num_classes: int, size: int = 1, devices: int = 1) -> int:
  """Number of classes with padding.

  Args:
    num_classes: C.
    size: w, classes of a group (`jaxface.heads.draw`).
    devices: number of devices of the sharding; without effect if it divides 256.
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
