"""The interface of a verifier."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from jaxface.evaluation.matrix_checks import check_labels
from jaxface.formats.embedding_rows import EmbeddingRows
from jaxface.formats.threshold import Threshold
from jaxface.verifiers.front import Front

CHUNK = 1024  # columns of a score matrix at a time

# Metadata of embeddings that must be equal where they are known: embeddings of another making have another distribution.
MADE_WITH = ("model", "model_digest", "preprocess", "template", "mirror", "raw")
_COMPARED = ("model_digest", "preprocess", "mirror", "raw")

Rows = np.ndarray | EmbeddingRows


class RowPairs(NamedTuple):
  """Pairs of rows of embeddings, whose label is known.

  Attributes:
    left_p: [P] int, rows.
    right_p: [P] int, rows.
    same_p: [P] bool, true for mated pairs.
  """

  left_p: np.ndarray
  right_p: np.ndarray
  same_p: np.ndarray


@dataclass(frozen=True, eq=False)
class Verifier(ABC):
  """A fitted score of two embeddings: higher is more similar.

  Attributes:
    kind: name of the kind.
    what: what its score is, for messages.
    learns: what it learns from: "nothing", "labels" or "pairs" (labels or pairs); components need embeddings only.
    front: transform of the embeddings before they are compared.
    made_from: what made the embeddings of the fit, and their numbers, plain JSON values.
    threshold: the measured threshold of its scores, see `jaxface threshold --verifier`; None for none.
  """

  kind: ClassVar[str]
  what: ClassVar[str]
  learns: ClassVar[str] = "nothing"

  front: Front
  made_from: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
  threshold: Threshold | None = field(default=None, kw_only=True)

  @classmethod
  @abstractmethod
  def fit(cls, embedding_nd: Rows, target: Any = None) -> Self:
    """Fits a verifier. Kinds have settings of their own beside these arguments.

    Args:
      embedding_nd: [N, D] float, embeddings of a training set, in memory or an `EmbeddingRows`.
      target: [N] labels of identities, integers or text, or a `RowPairs`; None where the kind learns from neither.
    """

  def score(self, left_pd: np.ndarray, right_pd: np.ndarray) -> np.ndarray:
    """Scores of pairs.

    Args:
      left_pd: [P, D] float.
      right_pd: [P, D] float.
    Returns:
      [P] float64, higher is more similar.
    Raises:
      ValueError: other sizes, or an embedding that is not finite, or zero where its direction counts; names it.
    """
    left_pd, right_pd = np.asarray(left_pd), np.asarray(right_pd)
    if left_pd.shape != right_pd.shape:
      raise ValueError(f"embeddings {left_pd.shape} and {right_pd.shape}: pairs need as many of both")
    return self.compare(self.front.apply(left_pd, "left embedding"), self.front.apply(right_pd, "right embedding"))

  def score_matrix(self, left_nd: np.ndarray, right_md: np.ndarray) -> np.ndarray:
    """[N, M] float64, the score of every row of `left_nd` [N, D] with every row of `right_md` [M, D].

    Raises:
      ValueError: as `score`.
    """
    return self.compare_all(self.front.apply(left_nd, "left embedding"), self.front.apply(right_md, "right embedding"))

  @abstractmethod
  def compare(self, left_pk: np.ndarray, right_pk: np.ndarray) -> np.ndarray:
    """[P] float64 scores of rows that went through `front`, [P, K] float64 each."""

  def compare_all(self, left_nk: np.ndarray, right_mk: np.ndarray) -> np.ndarray:
    """[N, M] float64 scores of rows that went through `front`."""
    score_nm = np.empty((len(left_nk), len(right_mk)))
    for row, left_k in enumerate(left_nk):
      for start in range(0, len(right_mk), CHUNK):
        here_mk = right_mk[start : start + CHUNK]
        score_nm[row, start : start + CHUNK] = self.compare(np.broadcast_to(left_k, here_mk.shape), here_mk)
    return score_nm

  def settings(self) -> dict[str, Any]:
    """The settings of the kind as plain JSON values; those of `front` are kept beside them."""
    return {}

  def arrays(self) -> dict[str, np.ndarray]:
    """The fitted arrays of the kind by name."""
    return {}

  @classmethod
  def restored(cls, front: Front, settings: Mapping[str, Any], array: Mapping[str, np.ndarray]) -> Self:
    """What `settings` and `arrays` describe.

    Raises:
      ValueError, KeyError, TypeError: they do not fit together.
    """
    return cls(front)

  @property
  def name(self) -> str:
    """Name of the score for tables and messages, such as "joint-bayesian, 150 components"."""
    parts = [self.kind]
    if self.front.components is not None:
      parts.append(f"{self.front.output_size} components" + (", whitened" if self.front.whiten else ""))
    return ", ".join(parts)

  @property
  def raw(self) -> bool:
    """Whether it was fitted on the network's own numbers, not on embeddings of length one."""
    return bool(self.made_from.get("raw", False))

  def check_meta(self, meta: Mapping[str, Any], where: str = "the embeddings") -> None:
    """Rejects embeddings that were made otherwise than those of the fit, as far as both say how.

    Args:
      meta: metadata of the embeddings.
      where: their file, for the message.
    Raises:
      ValueError: names each difference.
    """
    ours = self.made_from
    differ = [f"{name} {meta[name]!r}, not {ours[name]!r}" for name in _COMPARED if name in meta and name in ours and meta[name] != ours[name]]
    if differ:
      raise ValueError(f"{where}: made with {'; '.join(differ)}, as the embeddings that {self.name} was fitted on")

  def __repr__(self) -> str:
    return f"<verifier {self.name}, of embeddings of {self.front.size} numbers>"


def identities(target: Any, count: int, kind: str) -> np.ndarray:
  """The labels of identities as numbers from 0.

  Args:
    target: labels, as `Verifier.fit` takes them.
    count: number of embeddings.
    kind: name of the verifier, for messages.
  Returns:
    [N] int64.
  Raises:
    ValueError: no labels, pairs instead, or another number of them.
  """
  if target is None or isinstance(target, RowPairs):
    given = "pairs" if target is not None else "nothing"
    raise ValueError(f"{kind} learns from identities, {given} was given: give a label for each embedding")
  [label_n] = check_labels((np.asarray(target), "training", count))
  return np.unique(label_n, return_inverse=True)[1].astype(np.int64).reshape(-1)


def checked_pairs(pairs: RowPairs | Sequence, count: int) -> RowPairs:
  """Pairs as arrays.

  Raises:
    ValueError: other sizes, a row that does not exist, or pairs of one kind only.
  """
  left_p, right_p, same_p = (np.asarray(part) for part in pairs)
  if not left_p.ndim == 1 or not left_p.shape == right_p.shape == same_p.shape or left_p.dtype.kind not in "iu" or right_p.dtype.kind not in "iu":
    raise ValueError(f"pairs have shapes {left_p.shape}, {right_p.shape}, {same_p.shape}: they must be rows [P], rows [P] and labels [P]")
  row_p = np.concatenate([left_p, right_p])
  if row_p.size and (row_p.min() < 0 or row_p.max() >= count):
    raise ValueError(f"a pair has row {row_p.max() if row_p.max() >= count else row_p.min()}: there are {count:,} embeddings")
  same_p = same_p.astype(bool)
  if same_p.all() or not same_p.any():
    raise ValueError(f"{len(same_p):,} pairs of one kind: both mated and non-mated pairs are needed")
  return RowPairs(left_p.astype(np.int64), right_p.astype(np.int64), same_p)


__all__ = ["MADE_WITH", "RowPairs", "Rows", "Verifier", "checked_pairs", "identities"]
