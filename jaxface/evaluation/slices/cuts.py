"""Groups from the values of a column: the values themselves, or numbers cut at edges."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

# Numeric columns with at most this many values are categories.
FEW = 6
NO_GROUP = -1


def groups_of(value_i: np.ndarray, edges: Sequence[float] | None = None, quantiles: int = 4) -> tuple[np.ndarray, list[str], str]:
  """The group of each value.

  Args:
    value_i: [I] float64 with NaN, or text with None, for unknown values.
    edges: where to cut numbers, ascending: k edges give k + 1 groups, each with its lower edge.
    quantiles: number of groups of equal size for numbers with more than a few values, without edges.
  Returns:
    ([I] int64 group of each value, `NO_GROUP` for unknown ones; names of the groups, ascending; a note, or "").
  Raises:
    ValueError: edges that do not ascend or for text, or fewer than two quantiles.
  """
  if value_i.dtype.kind != "f":
    if edges is not None:
      raise ValueError(f"edges {_list(edges)} cut numbers, and these values are text such as {next((v for v in value_i if v is not None), '')!r}")
    names = sorted({value for value in value_i if value is not None})
    number = {name: at for at, name in enumerate(names)}
    return np.array([number.get(value, NO_GROUP) for value in value_i], np.int64), names, ""
  known_i = np.isfinite(value_i)
  distinct = np.unique(value_i[known_i])
  if edges is None and len(distinct) <= FEW:
    group_i = np.where(known_i, np.searchsorted(distinct, np.where(known_i, value_i, 0)), NO_GROUP)
    return group_i.astype(np.int64), [f"{value:g}" for value in distinct], ""
  note = ""
  if edges is None:
    if quantiles < 2:
      raise ValueError(f"quantiles = {quantiles}: at least two groups are needed")
    cut = np.unique(np.quantile(value_i[known_i], np.arange(1, quantiles) / quantiles))
    edges = [float(f"{edge:.4g}") for edge in cut]
    edges = sorted(set(edges))
    note = f"cut at {_list(edges)}, which divide the images of the pairs into {quantiles} groups of about equal size"
  if not len(edges) or any(not low < high for low, high in pairwise(edges)) or not np.isfinite(edges).all():
    raise ValueError(f"edges {_list(edges)} must be ascending numbers")
  group_i = np.where(known_i, np.searchsorted(edges, np.where(known_i, value_i, 0), side="right"), NO_GROUP)
  names = [f"< {edges[0]:g}", *(f"{low:g} to < {high:g}" for low, high in pairwise(edges)), f"≥ {edges[-1]:g}"]
  return group_i.astype(np.int64), names, note


def _list(edges: Sequence[float]) -> str:
  return ", ".join(f"{edge:g}" for edge in edges)


__all__ = ["FEW", "NO_GROUP", "groups_of"]
