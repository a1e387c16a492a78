"""An image pyramid whose levels are laid side by side in one canvas, so that a fully convolutional network runs once.

The layout is that of the size class; a photo of the class fills the upper left part of each level.
"""

import functools
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Layout:
  """Places of the levels of a size class.

  Attributes:
    scales: of the levels.
    sizes: height and width of each level, the largest of the class.
    places: top and left pixel of each level in the canvas; both are even.
    canvas: height and width of the canvas.
  """

  scales: tuple[float, ...]
  sizes: tuple[tuple[int, int], ...]
  places: tuple[tuple[int, int], ...]
  canvas: tuple[int, int]

  def photo_sizes(self, height: int, width: int, **settings: float) -> np.ndarray:
    """[levels, 2] int32: height and width of each level of one photo; zero for levels that it does not have.

    Args:
      height: height of the photo in pixels.
      width: its width.
      settings: window, smallest and factor, as given to `layout`.
    """
    own = level_sizes(height, width, pyramid_scales(height, width, **settings))  # type: ignore[arg-type]
    found = np.zeros((len(self.scales), 2), np.int32)
    found[: len(own)] = np.reshape(own, (-1, 2))
    return found


@functools.lru_cache(maxsize=1024)
def layout(height: int, width: int, *, window: int, smallest: float, factor: float) -> Layout:
  """The layout of a size class: each level is put at the highest free place, the leftmost of equal ones.

  Arguments as for `pyramid_scales`, for the size of the class.
  """
  scales = pyramid_scales(height, width, window=window, smallest=smallest, factor=factor)
  sizes = level_sizes(height, width, scales)
  if not sizes:
    return Layout((), (), (), (0, 0))
  even = [(rows + rows % 2, columns + columns % 2) for rows, columns in sizes]
  across = even[0][1]
  filled = np.zeros(across // 2, np.int64)  # height that is in use in each pair of columns
  places = []
  for rows, columns in even:
    tops = np.lib.stride_tricks.sliding_window_view(filled, columns // 2).max(-1)
    left = int(tops.argmin())
    places.append((int(tops[left]), 2 * left))
    filled[left : left + columns // 2] = tops[left] + rows
  return Layout(tuple(scales), tuple(sizes), tuple(places), (int(filled.max()), across))


def draw_canvas(sums_whc: Array, size_2: Array, level_l2: Array, plan: Layout) -> tuple[Array, Array]:
  """The levels of one photo in a canvas.

  Args:
    sums_whc: one photo of `integral`.
    size_2: height and width of the photo.
    level_l2: [levels, 2] height and width of its levels (`Layout.photo_sizes`).
    plan: the layout of its size class.
  Returns:
    [height, width, 3] float32 canvas in 0..255, zero between the levels, and [height, width] int32, how many pixels
    of the level lie between a pixel and the nearer one of the level's lower and right ends, itself included; 0 outside.
  """
  canvas_hwc = jnp.zeros((*plan.canvas, sums_whc.shape[-1]), jnp.float32)
  left_hw = jnp.zeros(plan.canvas, jnp.int32)
  for number, ((rows, columns), (top, left)) in enumerate(zip(plan.sizes, plan.places)):
    y = bins(jnp.zeros((), jnp.int32), size_2[0], level_l2[number, 0], rows)
    x = bins(jnp.zeros((), jnp.int32), size_2[1], level_l2[number, 1], columns)
    canvas_hwc = canvas_hwc.at[top : top + rows, left : left + columns].set(area_means(sums_whc, x, y))
    below, beside = level_l2[number, 0] - jnp.arange(rows)[:, None], level_l2[number, 1] - jnp.arange(columns)
    left_hw = left_hw.at[top : top + rows, left : left + columns].set(jnp.maximum(jnp.minimum(below, beside), 0))
  return canvas_hwc, left_hw


__all__ = ["Layout", "draw_canvas", "layout", "level_sizes", "pyramid_scales"]
