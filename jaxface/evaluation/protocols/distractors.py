"""Scores of probes with distractors, in blocks, of which only the highest are kept."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from jaxface.evaluation.protocols.base import rows_of, unit_embeddings
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


def probes_and_distractors(
  embeddings: Embeddings, probes: Sequence[str], distractors: Sequence[str], *, skip_missing: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
  """The embeddings of probes, and the rows of distractors.

  Args:
    embeddings: named embeddings.
    probes: names of the probes.
    distractors: names of the distractors.
    skip_missing: see `rows_of`.
  Returns:
    ([P, D] float64 of length one, of probes with an embedding; [number of probes] bool, which have one; [M] int64, rows of the
    distractors with an embedding; notes).
  Raises:
    ValueError: as `rows_of` and `unit_embeddings`.
  """
  row_p, notes = rows_of(embeddings, probes, skip_missing=skip_missing)
  row_m, more = rows_of(embeddings, distractors, skip_missing=skip_missing)
  there_p = row_p >= 0
  return unit_embeddings(embeddings, row_p[there_p]), there_p, row_m[row_m >= 0], [*notes, *more]


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


__all__ = ["Highest", "distractor_scores", "probes_and_distractors"]
