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
  """A linear support vector machine on features that are divided by their standard deviations: mean of max(0, 1 − y s)², plus ½ λ (‖w‖² + bias²).

  The solver is LIBLINEAR's, by scikit-learn.

  Args:
    feature_pk: [P, K] float64, finite.
    same_p: [P] bool, both kinds present.
    penalty: λ > 0; C of scikit-learn is 1 / (λ P).
  Raises:
    ValueError: a penalty that is not positive; features that are all constant; no convergence.
    ModuleNotFoundError: scikit-learn is not installed.
  """
  scale_k = _scale(feature_pk, penalty)
  svm = _svm()(C=1 / (penalty * len(same_p)), dual=False, tol=1e-6, max_iter=10_000)
  svm.fit(feature_pk / scale_k, same_p)
  if svm.n_iter_ >= 10_000:
    raise ValueError(f"the support vector machine did not converge in 10,000 iterations: use a larger penalty than {penalty:g}")
  return Linear(svm.coef_[0] / scale_k, float(svm.intercept_[0]))


def fit_logistic(feature_pk: np.ndarray, same_p: np.ndarray, *, penalty: float, iterations: int = 500) -> Linear:
  """Logistic regression on features that are divided by their standard deviations: mean cross-entropy + ½ λ ‖w‖², the bias free.

  Solved by L-BFGS in float64.

  Args:
    feature_pk: [P, K] float64, finite.
    same_p: [P] bool, both kinds present.
    penalty: λ > 0: without it, pairs that can be separated have no finite solution.
    iterations: at most so many.
  Raises:
    ValueError: a penalty that is not positive; features that are all constant; no convergence.
  """
  import jax

  scale_k = _scale(feature_pk, penalty)
  with jax.enable_x64(True):
    (weight_k, bias), slope, used = _solver(iterations)(feature_pk / scale_k, np.asarray(same_p, bool), np.float64(penalty))
    slope, used = float(slope), int(used)
  if not slope <= TOLERANCE:
    raise ValueError(
      f"logistic regression did not converge in {used:,} iterations (largest slope {slope:.1e}, to be below {TOLERANCE:g}): use a larger penalty"
      f" than {penalty:g}"
    )
  return Linear(np.asarray(weight_k) / scale_k, float(bias))


# Largest slope of the mean loss at which L-BFGS ends.
TOLERANCE = 1e-7


def logistic_loss(parameters: Any, feature_pk: Any, same_p: Any, penalty: Any) -> Any:
  """Mean cross-entropy of "same" plus ½ penalty ‖w‖²; `parameters` are (weight_k, bias)."""
  weight_k, bias = parameters
  return siamese_logistic(-(feature_pk @ weight_k), same_p, bias=bias).mean() + 0.5 * penalty * (weight_k**2).sum()


@cache
def _solver(iterations: int) -> Callable:
  import jax
  import jax.numpy as jnp
  import optax

  method = optax.lbfgs(memory_size=20)

  def slope_of(state: Any) -> Any:
    return jnp.max(jnp.abs(jnp.concatenate([jnp.ravel(part) for part in jax.tree.leaves(optax.tree.get(state, "grad"))])))

  @jax.jit
  def solve(feature_pk, same_p, penalty):  # noqa: ANN001
    def loss(parameters):  # noqa: ANN001
      return logistic_loss(parameters, feature_pk, same_p, penalty)

    value_and_slope = optax.value_and_grad_from_state(loss)

    def step(carry):  # noqa: ANN001
      parameters, state, _, number = carry
      value, slope = value_and_slope(parameters, state=state)
      update, state = method.update(slope, state, parameters, value=value, grad=slope, value_fn=loss)
      return optax.apply_updates(parameters, update), state, slope_of(state), number + 1

    start = jnp.zeros(feature_pk.shape[1]), jnp.zeros(())
    carry = start, method.init(start), jnp.array(jnp.inf), 0
    found, _, slope, number = jax.lax.while_loop(lambda carry: (carry[2] > TOLERANCE) & (carry[3] < iterations), step, carry)
    return found, slope, number

  return solve


def _scale(feature_pk: np.ndarray, penalty: float) -> np.ndarray:
  """Standard deviations of the features; 1 for those that are constant."""
  if not (np.isfinite(penalty) and penalty > 0):
    raise ValueError(f"the penalty is {penalty}: it must be a positive number")
  scale_k = feature_pk.std(0)
  constant_k = scale_k <= 1e-12 * np.abs(feature_pk).max(0, initial=0)
  if constant_k.all():
    raise ValueError(f"all {len(feature_pk):,} pairs have the same features: there is nothing to learn from")
  return np.where(constant_k, 1.0, scale_k)


def _svm() -> Any:
  try:
    from sklearn.svm import LinearSVC
  except ModuleNotFoundError:
    raise ModuleNotFoundError(
      "support vector machines need scikit-learn: pip install 'jaxface[verifiers]'. Only their fit does; a fitted verifier scores without it"
    ) from None
  return LinearSVC


__all__ = ["Linear", "fit_logistic", "fit_svm", "logistic_loss"]
