"""Boxes (x0, y0, x1, y1) in pixels: areas, overlap, regression, squares, clipping. NumPy or JAX arrays, also in `jax.jit`.

x0, y0 is the upper left corner and x1, y1 the lower right one. A box from 10 to 20 is 10 pixels wide; with `inclusive`, which
older detectors use, x1 and y1 are the last pixels inside, and it is 11 pixels wide.
"""

from typing import Any

import numpy as np

OVERLAPS = ("union", "smaller")


def _space(array: Any) -> Any:
  """The module, `numpy` or `jax.numpy`, of an array."""
  return array.__array_namespace__() if hasattr(array, "__array_namespace__") else np


def check_boxes(what: str, box_n4: Any) -> Any:
  """Returns `box_n4` if its shape is [..., 4].

  Raises:
    ValueError: another shape; names the argument.
  """
  if not hasattr(box_n4, "shape"):
    box_n4 = np.asarray(box_n4, dtype=np.float64).reshape(-1, 4)
  if box_n4.shape[-1:] != (4,):
    raise ValueError(f"{what} has shape {box_n4.shape}, expected [..., 4]: x0, y0, x1, y1 in pixels")
  return box_n4


def box_sizes(box_n4: Any, *, inclusive: bool = False) -> Any:
  """Width and height of boxes.

  Args:
    box_n4: [..., 4] boxes.
    inclusive: x1 and y1 are the last pixels inside.
  Returns:
    [..., 2] width and height in pixels; not below zero.
  """
  box_n4 = check_boxes("box_n4", box_n4)
  return _space(box_n4).maximum(box_n4[..., 2:] - box_n4[..., :2] + (1 if inclusive else 0), 0)


def box_areas(box_n4: Any, *, inclusive: bool = False) -> Any:
  """Areas of boxes in pixels, [...]; zero for a box that ends before it begins. Arguments as for `box_sizes`."""
  size_n2 = box_sizes(box_n4, inclusive=inclusive)
  return size_n2[..., 0] * size_n2[..., 1]


def overlaps(first_n4: Any, second_m4: Any, *, of: str = "union", inclusive: bool = False) -> Any:
  """Overlap of each box with each other box.

  Args:
    first_n4: [N, 4] boxes.
    second_m4: [M, 4] boxes.
    of: area by which that of the intersection is divided: "union" (intersection over union) or "smaller" (the smaller box,
      so that a box inside another one overlaps it fully).
    inclusive: x1 and y1 are the last pixels inside.
  Returns:
    [N, M] in 0..1; 0 where the divisor is 0.
  Raises:
    ValueError: another `of`, or arrays of another shape.
  """
  if of not in OVERLAPS:
    raise ValueError(f"overlap of {of!r}: takes {', '.join(OVERLAPS)}")
  first_n4, second_m4 = check_boxes("first_n4", first_n4), check_boxes("second_m4", second_m4)
  xp = _space(first_n4)
  first_n14 = first_n4[:, None]
  low_nm2 = xp.maximum(first_n14[..., :2], second_m4[..., :2])
  high_nm2 = xp.minimum(first_n14[..., 2:], second_m4[..., 2:])
  shared_nm = box_areas(xp.concatenate([low_nm2, high_nm2], -1), inclusive=inclusive)
  area_n1, area_m = box_areas(first_n4, inclusive=inclusive)[:, None], box_areas(second_m4, inclusive=inclusive)
  divisor_nm = area_n1 + area_m - shared_nm if of == "union" else xp.minimum(area_n1, area_m)
  return xp.where(divisor_nm > 0, shared_nm / xp.where(divisor_nm > 0, divisor_nm, 1), 0)


def iou(first_n4: Any, second_m4: Any) -> Any:
  """Intersection over union of each box with each other box: [N, 4] and [M, 4] to [N, M] in 0..1."""
  return overlaps(first_n4, second_m4)


def encode_boxes(box_n4: Any, target_n4: Any, *, inclusive: bool = False) -> Any:
  """Offsets from boxes to targets, in units of the width and height of the boxes.

  Args:
    box_n4: [N, 4] boxes, not empty.
    target_n4: [N, 4] boxes they should become.
    inclusive: x1 and y1 are the last pixels inside.
  Returns:
    [N, 4]: (target − box) / (width, height, width, height).
  Source: Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", 2016, eq. 2.
  """
  box_n4, target_n4 = check_boxes("box_n4", box_n4), check_boxes("target_n4", target_n4)
  size_n2 = box_sizes(box_n4, inclusive=inclusive)
  return (target_n4 - box_n4) / _space(box_n4).concatenate([size_n2, size_n2], -1)


def decode_boxes(box_n4: Any, offset_n4: Any, *, inclusive: bool = False) -> Any:
  """The inverse of `encode_boxes`: boxes moved by offsets in units of their width and height.

  Args:
    box_n4: [N, 4] boxes.
    offset_n4: [N, 4] offsets.
    inclusive: x1 and y1 are the last pixels inside.
  Returns:
    [N, 4] boxes.
  """
  box_n4 = check_boxes("box_n4", box_n4)
  size_n2 = box_sizes(box_n4, inclusive=inclusive)
  return box_n4 + offset_n4 * _space(box_n4).concatenate([size_n2, size_n2], -1)


def square_boxes(box_n4: Any) -> Any:
  """The squares with the centres of boxes and the length of their longer sides, [N, 4]."""
  box_n4 = check_boxes("box_n4", box_n4)
  xp = _space(box_n4)
  size_n2 = box_n4[..., 2:] - box_n4[..., :2]
  side_n1 = xp.max(size_n2, -1, keepdims=True)
  low_n2 = box_n4[..., :2] + size_n2 * 0.5 - side_n1 * 0.5
  return xp.concatenate([low_n2, low_n2 + side_n1], -1)


def clip_boxes(box_n4: Any, height: Any, width: Any) -> Any:
  """The parts of boxes inside an image, [N, 4]; a box outside becomes empty.

  Args:
    box_n4: [N, 4] boxes.
    height: height of the image in pixels.
    width: its width.
  """
  box_n4 = check_boxes("box_n4", box_n4)
  xp = _space(box_n4)
  most_4 = xp.stack([xp.asarray(number, dtype=box_n4.dtype) for number in (width, height, width, height)])
  return xp.clip(box_n4, xp.zeros_like(most_4), most_4)


__all__ = [
  "OVERLAPS", "box_areas", "box_sizes", "check_boxes", "clip_boxes", "decode_boxes", "encode_boxes", "iou", "overlaps",
  "square_boxes",
]
