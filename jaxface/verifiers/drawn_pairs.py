"""Pairs to learn from: those that were given, or drawn from labels of identities."""

from typing import Any

import numpy as np

from jaxface.evaluation.pairs.holdout import holdout_pairs
from jaxface.verifiers.base import RowPairs, checked_pairs, identities

# Pairs that are drawn if there are as many. χ² features of that many pairs take 0.65 GB for 4,096 features.
MOST = 20_000


def draw_pairs(label_n: np.ndarray, *, pairs: int | None = None, seed: int = 0) -> RowPairs:
  """Draws as many mated as non-mated pairs of rows, without repeats.

  Mated pairs are spread evenly over the identities with two rows or more, so that one with many rows does not dominate. A non-mated pair
  takes two random identities, then a row of each.

  Args:
    label_n: [N] labels of identities, integers or text.
    pairs: even number of pairs; None takes as many as the labels allow, up to `MOST`.
    seed: the same seed and labels give the same pairs.
  Returns:
    `RowPairs`, the mated ones first.
  Raises:
    ValueError: fewer than two identities with two rows, or not so many pairs; gives the numbers.
  """
  label_n = identities(label_n, len(label_n), "drawing pairs")
  count_i = np.bincount(label_n)
  several = int((count_i > 1).sum())
  if several < 2:
    raise ValueError(
      f"{len(label_n):,} rows of {len(count_i):,} identities, {several} of them with two rows or more: to draw pairs, at least two identities need two"
    )
  mated = int((count_i * (count_i - 1) // 2).sum())
  nonmated = (len(label_n) ** 2 - int((count_i**2).sum())) // 2
  most = 2 * min(mated, nonmated)
  if pairs is None:
    pairs = min(most, MOST)
  elif not 2 <= pairs <= most or pairs % 2:
    raise ValueError(f"{pairs:,} pairs: these labels allow even numbers from 2 to {most:,}, with as many mated as non-mated pairs")
  width = len(str(len(label_n)))
  names = [f"{row:0{width}}" for row in range(len(label_n))]
  found = holdout_pairs(names, label_n, pairs=pairs, folds=1, seed=seed)
  left_p, right_p = (np.array([int(name) for name in side], np.int64) for side in (found.left, found.right))
  return RowPairs(left_p, right_p, np.asarray(found.same, bool))


def training_pairs(target: Any, count: int, *, pairs: int | None, seed: int, kind: str) -> RowPairs:
  """The pairs of a `fit`.

  Args:
    target: labels or `RowPairs`, as `Verifier.fit` takes them.
    count: number of embeddings.
    pairs: number of pairs to draw from labels; see `draw_pairs`.
    seed: of the draw.
    kind: name of the verifier, for messages.
  Raises:
    ValueError: neither labels nor pairs; what `checked_pairs` and `draw_pairs` reject.
  """
  if target is None:
    raise ValueError(f"{kind} learns from pairs: give labels of identities, to draw pairs from, or a RowPairs")
  if isinstance(target, RowPairs):
    if pairs is not None:
      raise ValueError(f"pairs={pairs:,} is the number to draw from labels, but a list of pairs was given")
    return checked_pairs(target, count)
  return draw_pairs(identities(target, count, kind), pairs=pairs, seed=seed)


__all__ = ["MOST", "draw_pairs", "training_pairs"]
