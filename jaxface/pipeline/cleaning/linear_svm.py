"""Linear support-vector machines with squared hinge loss, solved in the primal by Newton's method."""

import numpy as np

_STEPS, _ENOUGH = 50, 1e-6


def fit_svm(x_nd: np.ndarray, positive_n: np.ndarray, *, cost: float = 1.0) -> tuple[np.ndarray, float]:
  """Minimises ½‖w‖² + ½ b² + C Σ max(0, 1 − y (w·x + b))², as liblinear does.

  The loss is quadratic on the rows inside the margin, so that each step solves a linear system of these rows; steps are halved where
  the loss would rise.

  Args:
    x_nd: [N, D] float.
    positive_n: [N] bool, y = 1; others have y = −1.
    cost: C.
  Returns:
    w [D] float64 and b.
  Raises:
    ValueError: only one kind of row, shapes that do not fit, or a cost that is not positive.
  Source: O. Chapelle, "Training a Support Vector Machine in the Primal", 2007, section 4.
  """
  positive_n = np.asarray(positive_n, bool)
  if x_nd.ndim != 2 or positive_n.shape != (len(x_nd),):
    raise ValueError(f"samples {x_nd.shape} and classes {positive_n.shape}: they must be [N, D] and [N]")
  if positive_n.all() or not positive_n.any():
    raise ValueError("a support-vector machine needs samples of both kinds")
  if not cost > 0:
    raise ValueError(f"cost is {cost}, must be above 0")
  wide_ne = np.concatenate([np.asarray(x_nd, np.float64), np.ones((len(x_nd), 1))], axis=1)
  sign_n = np.where(positive_n, 1.0, -1.0)
  w_e = np.zeros(wide_ne.shape[1])
  loss = _loss(w_e, wide_ne, sign_n, cost)
  for _ in range(_STEPS):
    active = sign_n * (wide_ne @ w_e) < 1
    rows = wide_ne[active]
    gradient_e = w_e + 2 * cost * (rows.T @ (rows @ w_e - sign_n[active]))
    if np.abs(gradient_e).max() < _ENOUGH * max(cost, 1.0):
      break
    step_e = np.linalg.solve(np.eye(len(w_e)) + 2 * cost * (rows.T @ rows), gradient_e)
    size = 1.0
    while (after := _loss(w_e - size * step_e, wide_ne, sign_n, cost)) > loss and size > 1e-6:
      size /= 2
    gained, loss = loss - after, after
    w_e = w_e - size * step_e
    if gained <= _ENOUGH**2 * loss:  # the sign of the last rounding error decides nothing
      break
  return w_e[:-1], float(w_e[-1])


def _loss(w_e: np.ndarray, wide_ne: np.ndarray, sign_n: np.ndarray, cost: float) -> float:
  return float(0.5 * w_e @ w_e + cost * (np.maximum(0.0, 1 - sign_n * (wide_ne @ w_e)) ** 2).sum())


__all__ = ["fit_svm"]
