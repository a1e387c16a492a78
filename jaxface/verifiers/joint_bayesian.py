"""Joint Bayesian: the log-likelihood ratio of two embeddings of one person and of two people."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np

from jaxface.verifiers.base import Rows, Verifier, identities
from jaxface.verifiers.front import Front
from jaxface.verifiers.joint_bayesian_em import Step, run_em, statistics

# Largest ratio of a variance between people to that within people, of all directions, that counts as none.
VANISHED = 1e-6
_log = logging.getLogger(__name__)


class _Diagonal(NamedTuple):
  """The ratio in coordinates where both covariances are diagonal: constant + Σ square_k (a_k² + b_k²) + Σ product_k a_k b_k."""

  in_kk: np.ndarray
  square_k: np.ndarray
  product_k: np.ndarray
  constant: float


@dataclass(frozen=True, eq=False, repr=False)
class JointBayesian(Verifier):
  """log p(a, b | one person) − log p(a, b | two people), in nats, with x = μ + ε, μ of a person and ε of an image.

  Above 0 one person is more likely, for as many mated as non-mated pairs.

  Attributes:
    mean_k: [K] float64, mean of the training images after `front`.
    between_kk: [K, K] float64, S_μ.
    within_kk: [K, K] float64, S_ε.
    likelihood_t: [T] float64, log-likelihood of an image in nats, before each iteration of EM.
  Source: Chen et al., "Bayesian Face Revisited: A Joint Formulation", 2012.
  """

  mean_k: np.ndarray
  between_kk: np.ndarray
  within_kk: np.ndarray
  likelihood_t: np.ndarray

  kind = "joint-bayesian"
  what = "log-likelihood ratio"
  learns = "labels"

  @classmethod
  def fit(
    cls, embedding_nd: Rows, target: Any = None, *, unit: bool = True, components: int | None = None, whiten: bool = False,
    update: str = "exact", iterations: int = 100, tolerance: float = 1e-4, say: Callable[[str], object] = _log.info,
  ) -> Self:
    """Fits both covariances by EM.

    Args:
      embedding_nd: [N, D] float, embeddings of a training set.
      target: [N] labels of identities, with any numbers of images; some need two or more.
      unit: scale each embedding to length one first.
      components: number of principal components (DeepID: 150, DeepID2: 180); None compares the embeddings.
      whiten: divide each component by its standard deviation; it changes the starting point of EM only by a change of coordinates, so the
        scores stay the same.
      update: "exact" or "published", see `run_em`.
      iterations: at most so many.
      tolerance: end when neither covariance changes by more than this share.
      say: called with a line for each iteration.
    Raises:
      ValueError: see `Front.fit` and `run_em`; labels that do not fit; S_μ vanished.
    """
    identity_n = identities(target, embedding_nd.shape[0], "Joint Bayesian")
    front = Front.fit(embedding_nd, unit=unit, components=components, whiten=whiten)
    row_nk = front.apply_all(embedding_nd)
    mean_k = row_nk.mean(0)

    def done(number: int, step: Step) -> None:
      say(f"EM {number}: log-likelihood {step.log_likelihood:.6f} an image, covariances changed by {step.change:.2e}")

    between_kk, within_kk, history = run_em(
      statistics(row_nk - mean_k, identity_n), update=update, iterations=iterations, tolerance=tolerance, done=done
    )
    if history[-1].change > tolerance:
      say(f"EM ended after {iterations} iterations before it converged (tolerance {tolerance:g})")
    made = cls(front, mean_k, between_kk, within_kk, np.array([step.log_likelihood for step in history]))
    if made._diagonal.product_k.max() < VANISHED:
      raise ValueError(
        "the covariance between people vanished: all scores would be equal. Either labels do not tell people apart, or people have too few images"
        f" for the update {update!r}" + ("; use the exact one" if update != "exact" else "")
      )
    return made

  def compare(self, left_pk: np.ndarray, right_pk: np.ndarray) -> np.ndarray:
    form = self._diagonal
    a_pk, b_pk = (left_pk - self.mean_k) @ form.in_kk.T, (right_pk - self.mean_k) @ form.in_kk.T
    return ((a_pk**2 + b_pk**2) * form.square_k + a_pk * b_pk * form.product_k).sum(1) + form.constant

  def compare_all(self, left_nk: np.ndarray, right_mk: np.ndarray) -> np.ndarray:
    form = self._diagonal
    a_nk, b_mk = (left_nk - self.mean_k) @ form.in_kk.T, (right_mk - self.mean_k) @ form.in_kk.T
    square_n, square_m = (a_nk**2) @ form.square_k, (b_mk**2) @ form.square_k
    return (a_nk * form.product_k) @ b_mk.T + square_n[:, None] + square_m + form.constant

  def ratio_matrices(self) -> tuple[np.ndarray, np.ndarray]:
    """A and G [K, K] of the paper's eq. 4, r = aᵀ A a + bᵀ A b − 2 aᵀ G b for rows around `mean_k`.

    `score` is r / 2 plus a constant that the paper drops, so that it is the ratio of the densities itself.
    """
    total_kk = self.between_kk + self.within_kk
    same = np.linalg.inv(np.block([[total_kk, self.between_kk], [self.between_kk, total_kk]]))
    size = len(total_kk)
    return np.linalg.inv(total_kk) - same[:size, :size], same[:size, size:]

  @cached_property
  def _diagonal(self) -> _Diagonal:
    # S_ε = T Tᵀ and S_μ = T diag(λ) Tᵀ. In y = T⁻¹ x one person has a + b ~ 2 (2 λ + 1) and a − b ~ 2, two people a and b ~ λ + 1 each.
    inverse_kk = np.linalg.inv(np.linalg.cholesky(self.within_kk))
    value_k, vector_kk = np.linalg.eigh(inverse_kk @ self.between_kk @ inverse_kk.T)
    value_k = np.maximum(value_k, 0)
    square_k = 0.5 / (value_k + 1) - 0.25 / (2 * value_k + 1) - 0.25
    return _Diagonal(
      vector_kk.T @ inverse_kk, square_k, value_k / (2 * value_k + 1), float((np.log(value_k + 1) - 0.5 * np.log(2 * value_k + 1)).sum())
    )

  def arrays(self) -> dict[str, np.ndarray]:
    return {"mean": self.mean_k, "between": self.between_kk, "within": self.within_kk, "likelihood": self.likelihood_t}

  @classmethod
  def restored(cls, front: Front, settings: Mapping[str, Any], array: Mapping[str, np.ndarray]) -> Self:
    size = front.output_size
    made = cls(front, array["mean"], array["between"], array["within"], array["likelihood"])
    shapes = made.mean_k.shape, made.between_kk.shape, made.within_kk.shape, made.likelihood_t.ndim
    if shapes != ((size,), (size, size), (size, size), 1):
      raise ValueError(f"its covariances are not [{size}, {size}]")
    try:
      _ = made._diagonal
    except np.linalg.LinAlgError as error:
      raise ValueError("its covariance within identities is not positive definite") from error
    return made


__all__ = ["JointBayesian"]
