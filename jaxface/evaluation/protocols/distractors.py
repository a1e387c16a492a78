"""Scores of probes with distractors, in blocks, of which only the highest are kept."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from jaxface.evaluation.protocols.base import unit_embeddings
from jaxface.formats.embeddings import Embeddings

BLOCK = 8192


class Highest:
  """The highest of many scores.

  Args:
    count: how many are kept.
  """

  def __init__(self, count: int):
    self.count = count
    self.score = np.empty(0)

  def add(self, score: np.ndarray) -> None:
    """Adds scores of any shape."""
    self.score = np.concatenate([self.score, score.ravel()])
    if len(self.score) > self.count:
      self.score = np.partition(self.score, len(self.score) - self.count)[-self.count :]

  def limit(self, allowed: int) -> float:
    """The score above which no more than `allowed` lie: the next one, or −∞ if there is none.

    Raises:
      ValueError: too few were kept to tell.
    """
    if allowed >= self.count:
      raise ValueError(f"{allowed} scores may lie above the limit, but only {self.count} are kept")
    return float(np.sort(self.score)[::-1][allowed]) if allowed < len(self.score) else -np.inf


def distractor_scores(
  unit_pd: np.ndarray, embeddings: Embeddings, row_m: np.ndarray, ends: Sequence[int] = (),
) -> Iterator[tuple[int, np.ndarray]]:
  """Scores of all probes with blocks of distractors.

  Args:
    unit_pd: [P, D] float64, of length one.
    embeddings: of the distractors.
    row_m: [M] int64, rows of the distractors.
    ends: numbers of distractors at which a block must end.
  Returns:
    Yields (distractors so far, [P, B] float64).
  Raises:
    ValueError: an embedding that is zero or not finite.
  """
  for start, stop in pairwise(sorted({*range(0, len(row_m), BLOCK), *ends, len(row_m)})):
    rows = row_m[start:stop]
    yield stop, unit_pd @ unit_embeddings(embeddings, rows).T


__all__ = ["Highest", "distractor_scores"]
