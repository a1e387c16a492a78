"""Linear classifiers of pairs: a support vector machine, and logistic regression."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from jaxface.losses.siamese import siamese_logistic


class Linear(NamedTuple):
  """A linear score Σ weight_k feature_k + bias, above 0 for pairs that it takes for mated.

  Attributes:
    weight_k: [K] float64.
    bias: a number.
  """

  weight_k: np.ndarray
  bias: float

  def __call__(self, feature_pk: np.ndarray) -> np.ndarray:
    """[P] float64 scores of [P, K] features."""
    return feature_pk @ self.weight_k + self.bias


def fit_svm(feature_pk: np.ndarray, same_p: np.ndarray, *, penalty: float) -> Linear:
  """A linear support vector machine on features with mean 0 and deviation 1: mean of max(0, 1 − y s)², plus ½ λ (‖w‖² + bias²).

  The solver is LIBLINEAR's, by scikit-learn.

  Args:
    feature_pk: [P, K] float64, finite.
    same_p: [P] bool, both kinds present.
    penalty: λ > 0; C of scikit-learn is 1 / (λ P).
  Raises:
    ValueError: a penalty that is not positive; features that are all constant; no convergence.
    ModuleNotFoundError: scikit-learn is not installed.
  """
  mean_k, scale_k = _moments(feature_pk, penalty)
  # The solver penalises the bias too: the terms of pairs have means far from 0, which the bias must cancel.
  svm = linear_svc()(C=1 / (penalty * len(same_p)), dual=False, tol=1e-6, max_iter=10_000)
  svm.fit((feature_pk - mean_k) / scale_k, same_p)
  if svm.n_iter_ >= 10_000:
    raise ValueError(f"the support vector machine did not converge in 10,000 iterations: use a larger penalty than {penalty:g}")
  return _moved(svm.coef_[0], svm.intercept_[0], mean_k, scale_k)


def fit_logistic(feature_pk: np.ndarray, same_p: np.ndarray, *, penalty: float, iterations: int = 500) -> Linear:
  """Logistic regression on features with mean 0 and deviation 1: mean cross-entropy + ½ λ ‖w‖², the bias free.

  L-BFGS (SciPy's) of the compiled loss and its gradient, in float64.

  Args:
    feature_pk: [P, K] float64, finite.
    same_p: [P] bool, both kinds present.
    penalty: λ > 0: without it, pairs that can be separated have no finite solution.
    iterations: at most so many.
  Raises:
    ValueError: a penalty that is not positive; features that are all constant; no convergence.
  """
  import jax
  from scipy.optimize import minimize

  mean_k, scale_k = _moments(feature_pk, penalty)
  with jax.enable_x64(True):
    given = jax.device_put(((feature_pk - mean_k) / scale_k, np.asarray(same_p, bool), np.float64(penalty)))

    def value_and_slope(point: np.ndarray) -> tuple[float, np.ndarray]:
      value, slope = _value_and_slope()(point, *given)
      return float(value), np.asarray(slope)

    # Ends by the slope alone (ftol 0), which is checked below: the line search may end first where rounding hides the descent.
    found = minimize(
      value_and_slope, np.zeros(feature_pk.shape[1] + 1), jac=True, method="L-BFGS-B",
      options={"maxiter": iterations, "maxfun": 20 * iterations, "maxcor": 20, "gtol": TOLERANCE / 100, "ftol": 0},
    )
  slope = float(np.abs(found.jac).max())
  if not slope <= TOLERANCE:
    raise ValueError(
      f"logistic regression did not converge in {found.nit:,} iterations (largest slope {slope:.1e}, to be at most {TOLERANCE:g}): use a larger penalty"
      f" than {penalty:g}"
    )
  return _moved(found.x[:-1], found.x[-1], mean_k, scale_k)


# Largest slope of the loss at a solution.
TOLERANCE = 1e-6


def logistic_loss(point: Any, feature_pk: Any, same_p: Any, penalty: Any) -> Any:
  """Mean cross-entropy of "same" plus ½ penalty ‖w‖²; `point` [K + 1] are the weights and the bias."""
  weight_k, bias = point[:-1], point[-1]
  return siamese_logistic(-(feature_pk @ weight_k), same_p, bias=bias).mean() + 0.5 * penalty * (weight_k**2).sum()


@cache
def _value_and_slope() -> Callable:
  import jax

  return jax.jit(jax.value_and_grad(logistic_loss))


def _moments(feature_pk: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
  """Means and standard deviations of the features; a deviation of 1 for those that are constant."""
  if not (np.isfinite(penalty) and penalty > 0):
    raise ValueError(f"the penalty is {penalty}: it must be a positive number")
  mean_k, scale_k = feature_pk.mean(0), feature_pk.std(0)
  constant_k = scale_k <= 1e-12 * np.abs(feature_pk).max(0, initial=0)
  if constant_k.all():
    raise ValueError(f"all {len(feature_pk):,} pairs have the same features: there is nothing to learn from")
  return mean_k, np.where(constant_k, 1.0, scale_k)


def _moved(weight_k: np.ndarray, bias: Any, mean_k: np.ndarray, scale_k: np.ndarray) -> Linear:
  """The score of the features themselves."""
  weight_k = weight_k / scale_k
  return Linear(weight_k, float(bias) - float(weight_k @ mean_k))


def linear_svc() -> Any:
  """scikit-learn's `LinearSVC`.

  Raises:
    ModuleNotFoundError: scikit-learn is not installed; says how to get it.
  """
  try:
    from sklearn.svm import LinearSVC
  except ModuleNotFoundError:
    raise ModuleNotFoundError(
      "support vector machines need scikit-learn: pip install 'jaxface[verifiers]'. Only their fit does; what was fitted scores without it"
    ) from None
  return LinearSVC


__all__ = ["Linear", "fit_logistic", "fit_svm", "linear_svc", "logistic_loss"]
