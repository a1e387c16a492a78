"""Verification figures from embeddings and pairs in any supported form."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxface.evaluation.pairs.verification import Verification, verify_pairs
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.formats.pairs import Pairs, read_pairs

PAIR_FORMS = "a path of a pair list, a Pairs, or (left, right, same) of equal length, with rows or names"


def verify(
  embeddings: Embeddings | np.ndarray | str | Path,
  pairs: Pairs | str | Path | tuple[Sequence, Sequence, Sequence],
  *,
  names: Sequence[str] | None = None,
) -> Verification:
  """Verification figures of embeddings on pairs.

  Args:
    embeddings: an `Embeddings`, the path of a file (.npz, .parquet), or an array [N, D] of any float type, not
      necessarily normalised.
    pairs: the path of a pair list, a `Pairs`, or three sequences of length P: left, right, and whether both are the same
      person. Left and right are names, or row numbers of `embeddings`. Three sequences make one fold.
    names: names of the rows of an array [N, D], for pairs of names.
  Returns:
    `Verification`: accuracy, AUC, EER, TAR at FAR, thresholds; `summary()` has them in one line.
  Raises:
    ValueError: a pair refers to a missing name or row; an unsupported form.
    DamagedData: a file that cannot be read.
  """
  if isinstance(embeddings, (str, Path)):
    embeddings = read_embeddings(embeddings)
  if isinstance(embeddings, Embeddings):
    if names is not None:
      raise ValueError("names are given twice: the embeddings carry their own")
    embedding_nd, names = embeddings.embedding_nd, embeddings.names
  else:
    embedding_nd = np.asarray(embeddings)
    if embedding_nd.ndim != 2 or embedding_nd.dtype.kind not in "fiu":
      raise ValueError(f"embeddings are {embedding_nd.dtype} {embedding_nd.shape}: they must be numbers [N, D]")
    if names is not None:
      names = [name.decode() if isinstance(name, bytes) else name for name in names]
      if wrong := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"name {wrong[0]!r} is {type(wrong[0]).__name__}: names must be str, such as 'Person/Person_0001'")
    if names is not None and len(names) != len(embedding_nd):
      raise ValueError(f"{len(names)} names for {len(embedding_nd)} embeddings")
  if isinstance(pairs, (str, Path)):
    pairs = read_pairs(pairs)
  if not isinstance(pairs, Pairs):
    pairs, names = _from_sequences(pairs, names, len(embedding_nd))
  if names is None:
    raise ValueError("the pairs have names, the embeddings have none: give names=[...], one for each row")
  return verify_pairs(embedding_nd, names, pairs)


def _from_sequences(
  given: tuple[Sequence, Sequence, Sequence], names: Sequence[str] | None, rows: int
) -> tuple[Pairs, Sequence[str] | None]:
  """Three sequences as `Pairs`, and the names that these refer to."""
  if not isinstance(given, (tuple, list)) or len(given) != 3:
    raise ValueError(f"pairs are {type(given).__name__}: expected {PAIR_FORMS}")
  left, right, same = (np.asarray(part) for part in given)
  if {part.ndim for part in (left, right, same)} != {1} or not len(left) == len(right) == len(same):
    raise ValueError(f"pairs have shapes {left.shape}, {right.shape}, {same.shape}: expected {PAIR_FORMS}")
  if same.dtype.kind not in "biu" or not np.isin(same, (0, 1)).all():
    raise ValueError(f"same is {same.dtype}: expected true or false (1 or 0) for each pair")
  if left.dtype.kind in "iu" and right.dtype.kind in "iu":
    for side, row_p in (("left", left), ("right", right)):
      wrong = np.flatnonzero((row_p < 0) | (row_p >= rows))
      if len(wrong):
        raise ValueError(f"pair {wrong[0]}: {side} is row {row_p[wrong[0]]}, the embeddings have rows 0 to {rows - 1}")
    if names is None or len(set(names)) < rows:
      names = [str(row) for row in range(rows)]
    left, right = np.asarray(names)[left], np.asarray(names)[right]
  elif left.dtype.kind not in "UT" or right.dtype.kind not in "UT":
    raise ValueError(f"left and right are {left.dtype} and {right.dtype}: expected {PAIR_FORMS}")
  fold = np.zeros(len(left), np.int64)
  return Pairs([str(a) for a in left], [str(b) for b in right], same.astype(np.bool_), fold), names


__all__ = ["verify"]
