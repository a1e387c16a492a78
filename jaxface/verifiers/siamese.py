"""The weighted L1 distance of a Siamese network on frozen embeddings, with weights from logistic regression."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from jaxface.verifiers.base import Rows, Verifier
from jaxface.verifiers.drawn_pairs import training_pairs
from jaxface.verifiers.front import Front
from jaxface.verifiers.linear import fit_logistic


@dataclass(frozen=True, eq=False, repr=False)
class Siamese(Verifier):
  """bias − Σ α_k |a_k − b_k|: the logit of "one person", for as many mated as non-mated pairs as in the fit.

  Attributes:
    alpha_k: [K] float64, weights of the distance, of any sign.
    bias: the distance at which both answers are equally probable.
  Source: Taigman et al., "DeepFace: Closing the Gap to Human-Level Performance in Face Verification", 2014, §4.2.
  """

  alpha_k: np.ndarray
  bias: float

  kind = "siamese"
  what = "logit of one person"
  learns = "pairs"

  @classmethod
  def fit(
    cls, embedding_nd: Rows, target: Any = None, *, unit: bool = True, components: int | None = None, whiten: bool = False,
    penalty: float = 0.1, pairs: int | None = None, seed: int = 0,
  ) -> Self:
    """Fits the weights by logistic regression.

    Args:
      embedding_nd: [N, D] float, embeddings of a training set.
      target: [N] labels of identities, from which pairs are drawn, or a `RowPairs`.
      unit: scale each embedding to length one first.
      components: compare that many principal components; None compares the embeddings.
      whiten: divide each component by its standard deviation.
      penalty: weight of ½ ‖w‖² against the mean cross-entropy, w the weights of |a − b| in units of their standard deviations.
      pairs: number of pairs to draw from labels, see `draw_pairs`.
      seed: of the draw.
    Raises:
      ValueError: see `Front.fit`, `draw_pairs` and `fit_logistic`.
    """
    drawn = training_pairs(target, embedding_nd.shape[0], pairs=pairs, seed=seed, kind=cls.kind)
    front = Front.fit(embedding_nd, unit=unit, components=components, whiten=whiten)
    row_nk = front.apply_all(embedding_nd)
    found = fit_logistic(np.abs(row_nk[drawn.left_p] - row_nk[drawn.right_p]), drawn.same_p, penalty=penalty)
    return cls(front, -found.weight_k, found.bias)

  @classmethod
  def of_term(cls, params: Mapping[str, Any], *, unit: bool = True) -> Self:
    """The score that a network was trained with by `PairLoss(SiameseLogistic(distance="l1"))`.

    Args:
      params: parameters of the term: `weight_d` [D] and `bias`.
      unit: setting `unit` of the form.
    Raises:
      ValueError: other parameters.
    """
    if set(params) != {"weight_d", "bias"}:
      raise ValueError(f"parameters {sorted(params)}: those of SiameseLogistic are bias and weight_d")
    alpha_d = np.asarray(params["weight_d"], np.float64)
    return cls(Front(len(alpha_d), unit), alpha_d, float(params["bias"]))

  def compare(self, left_pk: np.ndarray, right_pk: np.ndarray) -> np.ndarray:
    return self.bias - np.abs(left_pk - right_pk) @ self.alpha_k

  def arrays(self) -> dict[str, np.ndarray]:
    return {"alpha": self.alpha_k, "bias": np.array(self.bias)}

  @classmethod
  def restored(cls, front: Front, settings: Mapping[str, Any], array: Mapping[str, np.ndarray]) -> Self:
    if array["alpha"].shape != (front.output_size,) or array["bias"].shape != ():
      raise ValueError(f"its weights are not [{front.output_size}], with one bias")
    return cls(front, array["alpha"], float(array["bias"]))


__all__ = ["Siamese"]
