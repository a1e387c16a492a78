"""An image pyramid whose levels are laid side by side in one canvas, so that a fully convolutional network runs once.

The layout is that of the size class; a photo of the class fills the upper left part of each level.
"""

import functools
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.detection.area import area_means, bins


def pyramid_scales(height: int, width: int, *, window: int, smallest: float, factor: float) -> list[float]:
  """Scales of a pyramid.

  Args:
    height: height of the photo in pixels.
    width: its width.
    window: side of the network's window in pixels.
    smallest: side of the smallest face, in pixels of the photo: the first scale makes it one window.
    factor: ratio of a scale to the one before it.
  Returns:
    Falling scales; the last one at which the photo's shorter side is a window. None for smaller photos.
  """
  scale = window / smallest
  side, scales = min(height, width) * scale, []
  while side >= window:
    scales.append(scale)
    scale, side = scale * factor, side * factor
  return scales


def level_sizes(height: int, width: int, scales: list[float]) -> list[tuple[int, int]]:
  """Height and width in pixels of each level, as facenet-pytorch rounds them."""
  return [(int(height * scale + 1), int(width * scale + 1)) for scale in scales]


def check_search(config: Any, *shares: str, least: float = 8.0) -> None:
  """Rejects settings with which a detector cannot search a pyramid.

  Args:
    config: has `smallest`, `factor`, and `shares`.
    shares: names of settings that should be in 0..1.
    least: side in pixels that `smallest` should have at least.
  Raises:
    ValueError: names the setting, its value and the valid ones.
  """
  if not config.smallest >= least:
    raise ValueError(f"smallest is {config.smallest}, should be at least {least:g} pixels")
  if not 0 < config.factor < 1:
    raise ValueError(f"factor is {config.factor}, should be between 0 and 1")
  for name in shares:
    if not 0 <= getattr(config, name) <= 1:
      raise ValueError(f"{name} is {getattr(config, name)}, should be in 0..1")


@dataclass(frozen=True, eq=False)
class Layout:
  """Places of the levels of a size class.

  Attributes:
    scales: of the levels.
    level_hw: int32, the level of each pixel of the canvas; −1 between the levels.
    row_hw, column_hw: int32, the pixel's coordinates in its level.
    settings: window, smallest and factor, as given to `layout`.
  """

  scales: tuple[float, ...]
  level_hw: np.ndarray
  row_hw: np.ndarray
  column_hw: np.ndarray
  settings: dict[str, Any]

  @property
  def places(self) -> np.ndarray:
    """[3, h, w] int32: level, row and column of each pixel, for `draw_canvas`."""
    return np.stack([self.level_hw, self.row_hw, self.column_hw])

  def photo_sizes(self, height: int, width: int) -> np.ndarray:
    """[levels, 2] int32: height and width of each level of one photo; zero for levels that it does not have.

    Args:
      height: height of the photo in pixels.
      width: its width.
    """
    own = level_sizes(height, width, pyramid_scales(height, width, **self.settings))
    found = np.zeros((len(self.scales), 2), np.int32)
    found[: len(own)] = np.reshape(own, (-1, 2))
    return found


def pack(sizes: list[tuple[int, int]], step: int) -> tuple[list[tuple[int, int]], tuple[int, int]]:
  """Places of rectangles in a canvas as wide as the first one: each at the highest free place, the leftmost of equal ones.

  Args:
    sizes: height and width of each, multiples of `step`; none is wider than the first.
    step: coordinates are multiples of it.
  Returns:
    Top and left of each, and height and width of the canvas.
  """
  across = sizes[0][1] if sizes else 0
  filled = np.zeros(across // step, np.int64)  # height that is in use in each column of the grid
  places = []
  for rows, columns in sizes:
    tops = np.lib.stride_tricks.sliding_window_view(filled, columns // step).max(-1)
    left = int(tops.argmin())
    places.append((int(tops[left]), step * left))
    filled[left : left + columns // step] = tops[left] + rows
  return places, (int(filled.max(initial=0)), across)


@functools.lru_cache(maxsize=256)
def layout(height: int, width: int, *, window: int, smallest: float, factor: float) -> Layout:
  """The layout of a size class: levels are put where `pack` says, at even coordinates.

  Arguments as for `pyramid_scales`, for the size of the class.
  """
  settings = {"window": window, "smallest": smallest, "factor": factor}
  scales = pyramid_scales(height, width, **settings)  # type: ignore[arg-type]
  sizes = level_sizes(height, width, scales)
  places, canvas = pack([(rows + rows % 2, columns + columns % 2) for rows, columns in sizes], 2)
  level_hw = np.full(canvas, -1, np.int32)
  row_hw, column_hw = np.zeros_like(level_hw), np.zeros_like(level_hw)
  for number, ((rows, columns), (top, left)) in enumerate(zip(sizes, places)):
    part = slice(top, top + rows), slice(left, left + columns)
    level_hw[part] = number
    row_hw[part], column_hw[part] = np.mgrid[:rows, :columns]
  return Layout(tuple(scales), level_hw, row_hw, column_hw, settings)


def draw_canvas(sums_whc: Array, size_2: Array, level_l2: Array, place_3hw: Array) -> tuple[Array, Array]:
  """The levels of one photo in a canvas.

  Args:
    sums_whc: one photo of `integral`.
    size_2: height and width of the photo.
    level_l2: [levels, 2] height and width of its levels (`Layout.photo_sizes`).
    place_3hw: `Layout.places` of its size class.
  Returns:
    [height, width, 3] float32 canvas in 0..255, zero between the levels, and [height, width] int32, how many pixels
    of the level lie between a pixel and the nearer one of the level's lower and right ends, itself included; at most 0 outside.
  """
  level_hw, row_hw, column_hw = place_3hw
  own_hw2 = jnp.where((level_hw >= 0)[..., None], level_l2[level_hw], 0)
  rows_hw, columns_hw = own_hw2[..., 0], own_hw2[..., 1]
  left_hw = jnp.minimum(rows_hw - row_hw, columns_hw - column_hw)
  y, x = bins(size_2[0], rows_hw, row_hw), bins(size_2[1], columns_hw, column_hw)
  inside_hw1 = (left_hw > 0)[..., None]
  return jnp.where(inside_hw1, area_means(sums_whc, x, y), 0), left_hw


__all__ = ["Layout", "check_search", "draw_canvas", "layout", "level_sizes", "pack", "pyramid_scales"]
