"""Scores without training, and the same on principal components: inner product, distance, cosine."""

from typing import Any, Self

import numpy as np

from jaxface.evaluation.pairs.pair_score import cosine_of_pairs
from jaxface.verifiers.base import Rows, Verifier
from jaxface.verifiers.front import Front


class _Plain(Verifier):
  """A score that learns from the embeddings at most their principal components."""

  @classmethod
  def fit(cls, embedding_nd: Rows, target: Any = None, *, unit: bool = False, components: int | None = None, whiten: bool = False) -> Self:
    """Fits the principal components, if there are any.

    Args:
      embedding_nd: [N, D] float, embeddings of a training set; without components only their size is used.
      target: not used.
      unit: scale each embedding to length one first.
      components: number of principal components that are compared; None compares the embeddings.
      whiten: divide each component by its standard deviation.
    Raises:
      ValueError: see `Front.fit`.
    """
    return cls(Front.fit(embedding_nd, unit=unit, components=components, whiten=whiten))


class InnerProduct(_Plain):
  """Inner product of both embeddings."""

  kind = "inner-product"
  what = "inner product"

  def compare(self, left_pk: np.ndarray, right_pk: np.ndarray) -> np.ndarray:
    return (left_pk * right_pk).sum(1)


class L2(_Plain):
  """Euclidean distance of both embeddings, with a minus sign, so that higher is more similar."""

  kind = "l2"
  what = "minus the Euclidean distance"

  def compare(self, left_pk: np.ndarray, right_pk: np.ndarray) -> np.ndarray:
    return -np.sqrt(((left_pk - right_pk) ** 2).sum(1))


class Cosine(_Plain):
  """Cosine of both embeddings; on principal components that of the directions from the mean of the training set."""

  kind = "cosine"
  what = "cosine"

  def compare(self, left_pk: np.ndarray, right_pk: np.ndarray) -> np.ndarray:
    row_p = np.arange(len(left_pk))
    cosine_p = cosine_of_pairs(np.concatenate([left_pk, right_pk]), row_p, row_p + len(left_pk))
    for pair in np.flatnonzero(~np.isfinite(cosine_p))[:1]:
      raise ValueError(f"pair {pair}: an embedding is zero, or the mean of the training set: its direction is undefined")
    return cosine_p


__all__ = ["L2", "Cosine", "InnerProduct"]
