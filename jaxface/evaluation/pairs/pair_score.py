"""Scores of pairs of embeddings: their cosine, or another one."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from jaxface.evaluation.pairs.pair_names import check_unique, matched
from jaxface.formats.pairs import Pairs
from jaxface.formats.threshold import COSINE

CHUNK = 256  # pairs at a time: their float64 rows stay in the cache


class PairScore(Protocol):
  """A score of two embeddings, higher is more similar, such as a `jaxface.verifiers.Verifier`."""

  @property
  def name(self) -> str:
    """Name in tables and messages; "cosine" for the cosine of the embeddings alone."""
    ...

  @property
  def raw(self) -> bool:
    """Whether it takes the network's own numbers, not embeddings of length one."""
    ...

  def score(self, left_pd: np.ndarray, right_pd: np.ndarray) -> np.ndarray:
    """[P] float64 scores of pairs [P, D]."""
    ...

  def check_meta(self, meta: Mapping[str, Any], where: str) -> None:
    """Raises a ValueError if it does not apply to embeddings with these metadata, of the file or object `where`."""
    ...


class MatrixScore(PairScore, Protocol):
  """A score that also compares all embeddings of two sets."""

  def score_matrix(self, left_nd: np.ndarray, right_md: np.ndarray) -> np.ndarray:
    """[N, M] float64, the score of every row of `left_nd` [N, D] with every row of `right_md` [M, D]."""
    ...


def score_pairs(embedding_nd: np.ndarray, names: Sequence[str], pairs: Pairs, score: PairScore | None = None) -> tuple[Pairs, np.ndarray]:
  """The pairs with the names of the embeddings, and the score of each.

  Args:
    embedding_nd: [N, D] float, not necessarily normalised.
    names: N names.
    pairs: the pairs; a name may have a suffix that the embeddings' names lack, see `matched`.
    score: what scores them; None is the cosine.
  Returns:
    (pairs, [P] float64).
  Raises:
    ValueError: as `verify_pairs`.
  """
  if embedding_nd.ndim != 2 or len(embedding_nd) != len(names):
    raise ValueError(
      f"embeddings {embedding_nd.shape} with {len(names)} names: they must be [N, D] with N names"
    )
  pairs = matched(pairs, names)
  return pairs, _score(embedding_nd, names, *rows_of_pairs(names, pairs), pairs, score)


def rows_of_pairs(names: Sequence[str], pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
  """The rows of the embeddings of pairs.

  Args:
    names: N names of embeddings.
    pairs: P pairs under these names, see `matched`.
  Returns:
    ([P] int64, [P] int64).
  Raises:
    ValueError: an image of a pair without an embedding, or with two.
  """
  row_of = {name: row for row, name in enumerate(names)}
  absent = [
    pair for pair in range(len(pairs)) if pairs.left[pair] not in row_of or pairs.right[pair] not in row_of
  ]
  if absent:
    first = pairs.left[absent[0]] if pairs.left[absent[0]] not in row_of else pairs.right[absent[0]]
    have = ", ".join(repr(name) for name in list(names)[:3]) or "none at all"
    raise ValueError(
      f"{pairs.where(absent[0])}: no embedding is named {first!r} ({len(absent)} of {len(pairs)} pairs "
      f"lack one). The {len(names)} embeddings are named like {have}. Embed the images of the list, or ignore such pairs (skip_missing,"
      " --skip-missing)"
    )
  check_unique(names, {*pairs.left, *pairs.right})
  left_p, right_p = (np.array([row_of[name] for name in side], np.int64) for side in (pairs.left, pairs.right))
  return left_p, right_p


def cosine_of_pairs(embedding_nd: np.ndarray, left_p: np.ndarray, right_p: np.ndarray) -> np.ndarray:
  """Cosine of pairs of rows.

  Args:
    embedding_nd: [N, D] float.
    left_p: [P] int, rows.
    right_p: [P] int, rows.
  Returns:
    [P] float64 in [-1, 1], NaN if a row is zero or not finite.
  """
  cosine_p = np.empty(len(left_p))
  for start in range(0, len(left_p), CHUNK):
    here = slice(start, start + CHUNK)
    left_pd = np.asarray(embedding_nd[left_p[here]], np.float64)
    right_pd = np.asarray(embedding_nd[right_p[here]], np.float64)
    # A sum along the last axis adds every row in the same order for any number of rows; a matrix product
    # does not.
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
      square_p = (left_pd * left_pd).sum(1) * (right_pd * right_pd).sum(1)
      cosine_p[here] = np.clip((left_pd * right_pd).sum(1) / np.sqrt(square_p), -1.0, 1.0)
  return cosine_p


def _score(
  embedding_nd: np.ndarray, names: Sequence[str], left_p: np.ndarray, right_p: np.ndarray, pairs: Pairs, score: PairScore | None
) -> np.ndarray:
  score_p = cosine_of_pairs(embedding_nd, left_p, right_p)
  for pair in np.flatnonzero(~np.isfinite(score_p))[:1]:
    row = next((row for row in (left_p[pair], right_p[pair]) if not _sound(embedding_nd[row])), left_p[pair])
    raise ValueError(
      f"embedding {row} ({names[row]!r}) is zero or not finite: its direction is undefined. Embed its image again; or remove the row, and"
      " ignore its pairs (skip_missing, --skip-missing)"
    )
  if score is None:
    return score_p
  for start in range(0, len(pairs), CHUNK):
    here = slice(start, start + CHUNK)
    score_p[here] = score.score(embedding_nd[left_p[here]], embedding_nd[right_p[here]])
  for pair in np.flatnonzero(~np.isfinite(score_p))[:1]:
    raise ValueError(f"{pairs.where(pair)}: {score.name} scores {pairs.left[pair]!r} and {pairs.right[pair]!r} as {score_p[pair]}")
  return score_p


def _sound(embedding_d: np.ndarray) -> bool:
  return bool(np.isfinite(embedding_d).all() and embedding_d.any())


__all__ = ["COSINE", "MatrixScore", "PairScore", "cosine_of_pairs", "rows_of_pairs", "score_pairs"]
