"""χ² similarity of features that are not negative, with equal weights or with those of a support vector machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from jaxface.evaluation.pairs.normalisation import EPSILON, LargestFeatures
from jaxface.losses.ranges import check_name
from jaxface.verifiers.base import Rows, Verifier
from jaxface.verifiers.drawn_pairs import training_pairs
from jaxface.verifiers.front import Front
from jaxface.verifiers.linear import Linear, fit_svm

WEIGHTS = ("svm", "equal")


@dataclass(frozen=True, eq=False, repr=False)
class ChiSquare(Verifier):
  """Σ w_k (a_k − b_k)² / (a_k + b_k) + bias: DeepFace's weighted χ² similarity, for features that are not negative.

  A support vector machine gives weights that are mostly negative, so that higher is more similar; equal weights are −1, without a bias. Where
  both features are 0 the term is 0.

  Attributes:
    largest: DeepFace's normalisation: features are divided by their maxima over the training set, then rows are scaled to length one; None
      compares the features themselves.
    split: compares the positive and the negative parts of signed embeddings as 2 D features.
    linear: weights of the K terms, and the bias.
  Source: Taigman et al., "DeepFace: Closing the Gap to Human-Level Performance in Face Verification", 2014, §3.3, §4.1.
  """

  largest: LargestFeatures | None
  split: bool
  linear: Linear

  kind = "chi-square"
  what = "χ² similarity"
  learns = "pairs"

  @classmethod
  def fit(
    cls, embedding_nd: Rows, target: Any = None, *, unit: bool = False, weights: str = "svm", normalise: bool = True, epsilon: float = EPSILON,
    split: bool = False, penalty: float = 1.0, pairs: int | None = None, seed: int = 0,
  ) -> Self:
    """Fits the maxima and the weights. There are no principal components: they are negative.

    Args:
      embedding_nd: [N, D] float, embeddings of a training set, not negative unless `split`.
      target: [N] labels of identities, from which pairs are drawn, or a `RowPairs`; not used for equal weights.
      unit: scale each embedding to length one first.
      weights: "svm" or "equal".
      normalise: divide features by their maxima, then scale rows to length one.
      epsilon: smallest divisor, in units of the features.
      split: compare positive and negative parts, [max(x, 0), max(−x, 0)]; not in the paper, for networks that do not end with a ReLU.
      penalty: weight of the penalty of the support vector machine, see `fit_svm`.
      pairs: number of pairs to draw from labels, see `draw_pairs`.
      seed: of the draw.
    Raises:
      ValueError: a negative feature, which is named with its row; see `Front.fit`, `draw_pairs` and `fit_svm`.
      ModuleNotFoundError: scikit-learn is not installed (for "svm").
    """
    check_name("weights", weights, WEIGHTS)
    front = Front.fit(embedding_nd, unit=unit)
    row_nk = _features(front.apply_all(embedding_nd), split, "embedding")
    largest = LargestFeatures.fit(row_nk, epsilon=epsilon) if normalise else None
    if weights == "equal":
      return cls(front, largest, split, Linear(np.full(row_nk.shape[1], -1.0), 0.0))
    drawn = training_pairs(target, len(row_nk), pairs=pairs, seed=seed, kind=cls.kind)
    row_nk = row_nk if largest is None else largest.apply(row_nk)
    term_pk = chi_square_terms(row_nk[drawn.left_p], row_nk[drawn.right_p])
    return cls(front, largest, split, fit_svm(term_pk, drawn.same_p, penalty=penalty))

  def compare(self, left_pk: np.ndarray, right_pk: np.ndarray) -> np.ndarray:
    return self.linear(chi_square_terms(self._rows(left_pk, "left embedding"), self._rows(right_pk, "right embedding")))

  def compare_all(self, left_nk: np.ndarray, right_mk: np.ndarray) -> np.ndarray:
    left_nk, right_mk = self._rows(left_nk, "left embedding"), self._rows(right_mk, "right embedding")
    return np.array([self.linear(chi_square_terms(left_k, right_mk)) for left_k in left_nk]).reshape(len(left_nk), len(right_mk))

  def _rows(self, row_nk: np.ndarray, what: str) -> np.ndarray:
    row_nk = _features(row_nk, self.split, what)
    return row_nk if self.largest is None else self.largest.apply(row_nk).astype(np.float64)

  def settings(self) -> dict[str, Any]:
    return {"split": self.split, "epsilon": None if self.largest is None else self.largest.epsilon}

  def arrays(self) -> dict[str, np.ndarray]:
    largest = {} if self.largest is None else {"largest": self.largest.largest_d}
    return {"weight": self.linear.weight_k, "bias": np.array(self.linear.bias), **largest}

  @classmethod
  def restored(cls, front: Front, settings: Mapping[str, Any], array: Mapping[str, np.ndarray]) -> Self:
    split, epsilon = settings["split"], settings["epsilon"]
    size = front.size * (2 if split else 1)
    if not isinstance(split, bool) or array["weight"].shape != (size,) or array["bias"].shape != ():
      raise ValueError(f"its weights are not [{size}], with one bias")
    largest = None
    if epsilon is not None:
      if array["largest"].shape != (size,) or not epsilon > 0:
        raise ValueError(f"its maxima are not [{size}], with a positive epsilon")
      largest = LargestFeatures(array["largest"].astype(np.float32), float(epsilon))
    return cls(front, largest, split, Linear(array["weight"], float(array["bias"])))


def chi_square_terms(left_pk: np.ndarray, right_pk: np.ndarray) -> np.ndarray:
  """[P, K] float64, (a − b)² / (a + b), 0 where both are 0; neither may be negative. Sizes broadcast."""
  difference_pk = np.asarray(left_pk, np.float64) - right_pk
  sum_pk = np.asarray(left_pk, np.float64) + right_pk
  # Divided first: the square of a tiny difference would be 0.
  share_pk = np.divide(difference_pk, sum_pk, out=np.zeros_like(sum_pk), where=sum_pk > 0)
  return share_pk * difference_pk


def _features(row_nk: np.ndarray, split: bool, what: str) -> np.ndarray:
  if split:
    return np.concatenate([np.maximum(row_nk, 0), np.maximum(-row_nk, 0)], axis=1)
  for row, feature in np.argwhere(row_nk < 0)[:1]:
    raise ValueError(
      f"{what} {row}: feature {feature} is {row_nk[row, feature]:g}: χ² compares features that are not negative, as of networks that end with a"
      " ReLU; split=True compares positive and negative parts"
    )
  return row_nk


__all__ = ["WEIGHTS", "ChiSquare", "chi_square_terms"]
