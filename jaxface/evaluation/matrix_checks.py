"""Checks of scores between two sets, of embeddings, and of labels."""

from collections.abc import Sequence

import numpy as np

# Far above the rounding of an inner product in float64: cosines that are nearer than this are compared pair by pair, since
# a matrix product may round equal pairs differently.
NEAR = 1e-9


def check_score_matrix(score_nm: np.ndarray, rows: str, columns: str) -> np.ndarray:
  """Returns the scores as a float array [N, M], not copied if they are one.

  Args:
    score_nm: scores, higher is more similar.
    rows: what a row is, for messages ("probe").
    columns: what a column is, for messages ("gallery entry").
  Raises:
    ValueError: not a matrix, no rows, no columns, or a score that is not finite, which is named.
  """
  score_nm = np.asarray(score_nm)
  if score_nm.ndim != 2 or 0 in score_nm.shape:
    raise ValueError(
      f"scores {score_nm.shape}: they must be [N, M], a row for each {rows} and a column for each {columns}, "
      "at least one of each"
    )
  if not np.issubdtype(score_nm.dtype, np.floating):
    score_nm = score_nm.astype(np.float64)
  for row, score_m in enumerate(score_nm):
    if not np.isfinite(score_m).all():
      column = int(np.flatnonzero(~np.isfinite(score_m))[0])
      raise ValueError(f"the score of {rows} {row} with {columns} {column} is {score_m[column]}: it must be finite")
  return score_nm


def unit_rows(embedding_nd: np.ndarray, what: str = "embedding", names: Sequence[str] | None = None) -> np.ndarray:
  """Returns float64 rows of length one.

  Args:
    embedding_nd: [N, D] float.
    what: what a row is, for messages ("probe").
    names: N names, for messages; None numbers the rows.
  Raises:
    ValueError: not a matrix, empty, or a row that is zero or whose length is not finite, which is named.
  """
  embedding_nd = np.asarray(embedding_nd, np.float64)
  if embedding_nd.ndim != 2 or 0 in embedding_nd.shape:
    raise ValueError(f"{what} matrix {embedding_nd.shape}: it must be [N, D], at least one")
  with np.errstate(invalid="ignore", over="ignore"):
    length_n = np.sqrt((embedding_nd * embedding_nd).sum(1))
  for row in np.flatnonzero(~(np.isfinite(length_n) & (length_n > 0)))[:1]:
    which = f"{what} {row}" if names is None else f"the {what} of {names[row]!r}"
    raise ValueError(f"{which} is zero or not finite: its direction is undefined. Embed its image again, or leave it out")
  return embedding_nd / length_n[:, None]


def check_labels(*labels: tuple[np.ndarray, str, int | None]) -> list[np.ndarray]:
  """Returns labels as arrays, all of one kind.

  Args:
    *labels: (label_n, what, size): integers or text; what has them, for messages ("probe"); the necessary length, None
      for any from one on.
  Raises:
    ValueError: not a vector, empty, of another length, neither integers nor text, or integers with text.
  """
  arrays = []
  for label_n, what, size in labels:
    label_n = np.asarray(label_n)
    if label_n.ndim != 1 or not label_n.size:
      raise ValueError(f"{what} labels {label_n.shape}: they must be [N], at least one")
    if size is not None and label_n.size != size:
      raise ValueError(f"{label_n.size} {what} labels: there must be {size}")
    if label_n.dtype.kind not in "iuUS":
      raise ValueError(f"{what} labels are {label_n.dtype}: they must be integers or text")
    arrays.append(label_n)
  kinds = [array.dtype.kind.replace("u", "i") for array in arrays]
  if len(set(kinds)) > 1:
    named = " and ".join(f"{what} labels are {array.dtype}" for array, (_, what, _) in zip(arrays, labels))
    raise ValueError(f"{named}: they must be of one kind")
  return arrays


__all__ = ["NEAR", "check_labels", "check_score_matrix", "unit_rows"]
