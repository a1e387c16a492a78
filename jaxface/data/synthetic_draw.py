"""Random traits on the host, with a counter-based stream per row of a batch."""

from collections.abc import Sequence

import numpy as np

Array = np.ndarray


class Draw:
  """Random numbers for n rows, consumed in the order of the calls.

  A row's numbers depend only on its key and counter, not on other rows or the batch size.
  """

  def __init__(self, key_n: Sequence[tuple[int, int]], counter_n: Sequence[tuple[int, int]], budget: int):
    """Samples `budget` uniform and `budget` normal numbers for each row.

    Args:
      key_n: a pair of 64-bit words for each row.
      counter_n: another pair, which separates streams of one key.
      budget: maximum of numbers of each kind.
    """
    rows = [
      np.random.Generator(np.random.Philox(key=key, counter=(0, 0, *counter))) for key, counter in zip(key_n, counter_n)
    ]
    self._uniform = np.stack([row.random(budget, np.float32) for row in rows])
    self._normal = np.stack([row.standard_normal(budget, np.float32) for row in rows]).clip(-2.2, 2.2)
    self._next = 0

  def _take(self, values: Array, count: int | None) -> Array:
    start, self._next = self._next, self._next + (1 if count is None else count)
    if self._next > values.shape[1]:
      raise ValueError(f"a budget of {values.shape[1]} random numbers is used up: raise it to {self._next}")
    return values[:, start] if count is None else values[:, start : self._next]

  def uniform(self, low: float = 0.0, high: float = 1.0, count: int | None = None) -> Array:
    """Uniform between low and high: [n], or [n, count]."""
    return low + (high - low) * self._take(self._uniform, count)

  def uniforms(self, *ranges: tuple[float, float]) -> Array:
    """A uniform number from each range: [n, len(ranges)]."""
    low, high = np.float32(ranges).T
    return low + (high - low) * self._take(self._uniform, len(ranges))

  def normal(self, mean: float = 0.0, deviation: float = 1.0, count: int | None = None) -> Array:
    """Normal, clipped at 2.2 deviations to avoid implausible faces: [n], or [n, count]."""
    return mean + deviation * self._take(self._normal, count)

  def chance(self, probability: float | Array) -> Array:
    """1.0 with the given probability, otherwise 0.0: [n]."""
    return (self._take(self._uniform, None) < probability).astype(np.float32)


def palette(position_n: Array, colours: tuple[tuple[float, float, float], ...]) -> Array:
  """Colours [n, 3] at positions in 0..1 along a palette, interpolated linearly."""
  # Not a matrix product, whose rounding may depend on the number of rows.
  stop = np.linspace(0, 1, len(colours))
  return np.stack([np.interp(position_n, stop, channel) for channel in zip(*colours)], 1)


def pack(tree: tuple) -> Array:
  """Leaves [n] and [n, k] of nested named tuples, concatenated: float32 [n, columns]."""
  if isinstance(tree, np.ndarray):
    return tree.astype(np.float32).reshape(len(tree), -1)
  return np.concatenate([pack(part) for part in tree], 1)


def unpack(row: Array, shapes: tuple, start: int = 0) -> tuple[tuple, int]:
  """Converts one row of `pack` back to a tree, for NumPy or JAX.

  Args:
    row: [columns].
    shapes: a tree like the packed one whose leaves have the shapes [n] and [n, ...].
    start: the column of the tree's first leaf.
  Returns:
    The tree with leaves [] and [...], and the column after it.
  """
  if not isinstance(shapes, np.ndarray):
    parts = []
    for part in shapes:
      value, start = unpack(row, part, start)
      parts.append(value)
    return (type(shapes)(*parts) if hasattr(shapes, "_fields") else tuple(parts)), start
  stop = start + shapes[0].size
  return row[start:stop].reshape(shapes.shape[1:]), stop
