"""Distances between all rows of two sets, as [N, M] matrices: at least float32, finite gradients, no N×M×D arrays."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxface.losses.unit import at_least_float32, unit_rows

# Two features whose absolute values sum to less than this count as equal: their χ² would be smaller still.
_NOTHING = 1e-15


def _sets(x_nd: Array, y_md: Array | None) -> tuple[Array, Array]:
  """Both sets in a common dtype of at least float32; the second defaults to the first."""
  y_md = x_nd if y_md is None else y_md
  chex.assert_rank([x_nd, y_md], [2, 2])
  chex.assert_equal(x_nd.shape[1], y_md.shape[1])
  dtype = jnp.promote_types(jnp.promote_types(x_nd.dtype, y_md.dtype), jnp.float32)
  return x_nd.astype(dtype), y_md.astype(dtype)


def _dots(x_nd: Array, y_md: Array) -> Array:
  # Reduced precision, the default of some accelerators, would distort comparisons of distances.
  return jnp.matmul(x_nd, y_md.T, precision=lax.Precision.HIGHEST)


def squared_l2(x_nd: Array, y_md: Array | None = None) -> Array:
  """‖x − y‖², one matrix product.

  Computed as ‖x‖² + ‖y‖² − 2x·y about the mean of the rows: features with a common offset (from a ReLU, or a collapsed
  net) would otherwise lose precision to cancellation.

  Args:
    x_nd: [N, D] float.
    y_md: [M, D] float; `x_nd` by default, and then the diagonal is exactly 0.
  Returns:
    [N, M] ≥ 0, at least float32. The gradient at distance 0 is 0.
  Raises:
    AssertionError: ranks or embedding sizes differ.
  """
  if y_md is None:
    return _among_themselves(_sets(x_nd, None)[0])
  x_nd, y_md = _sets(x_nd, y_md)
  # A constant shift changes neither the distances nor the gradient.
  middle_d = lax.stop_gradient(y_md.mean(0))
  return _squares(x_nd - middle_d, y_md - middle_d)


def _squares(x_nd: Array, y_md: Array) -> Array:
  square_nm = (x_nd * x_nd).sum(1)[:, None] + (y_md * y_md).sum(1)[None, :] - 2.0 * _dots(x_nd, y_md)
  return jnp.maximum(square_nm, 0.0)


@jax.custom_jvp
def _among_themselves(x_nd: Array) -> Array:
  """Squared distances of the rows of one set; the gradient is two matrix products without another N×N array."""
  x_nd = x_nd - x_nd.mean(0)
  return jnp.where(jnp.eye(len(x_nd), dtype=bool), 0.0, _squares(x_nd, x_nd))


@_among_themselves.defjvp
def _among_themselves_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
  (x_nd,), (turn_nd,) = primals, tangents
  # Subtracting the mean does not change distances, and preserves the precision of rows that are close together.
  middle_nd = x_nd - x_nd.mean(0)
  own_n = (middle_nd * turn_nd).sum(1)
  # The two products are transposes of each other; as one product, the gradient would first sum an N×N array.
  mixed_nn = _dots(middle_nd, turn_nd) + _dots(turn_nd, middle_nd)
  return _among_themselves(x_nd), 2.0 * (own_n[:, None] + own_n[None, :] - mixed_nn)


def root(square: Array) -> Array:
  """Square root with gradient 0 at 0 instead of an infinite one.

  Args:
    square: any shape, float, ≥ 0.
  Returns:
    An array with the shape and dtype of `square`.
  """
  positive = square > 0.0
  return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def l2(x_nd: Array, y_md: Array | None = None) -> Array:
  """‖x − y‖; arguments, result and errors as of `squared_l2`, with gradient 0 at distance 0."""
  return root(squared_l2(x_nd, y_md))


def cosine(x_nd: Array, y_md: Array | None = None) -> Array:
  """The cosine of the angle between x and y, a similarity; 1 − cosine is a distance.

  Args:
    x_nd: [N, D] float.
    y_md: [M, D] float; `x_nd` by default.
  Returns:
    [N, M] in [−1, 1], at least float32; 0, with gradient 0, to a row of zeros.
  Raises:
    AssertionError: ranks or embedding sizes differ.
  """
  x_nd, y_md = _sets(x_nd, y_md)
  # Where rounding leaves [−1, 1] the true slope is 0, as is the slope of the clip.
  return jnp.clip(_dots(unit_rows(x_nd)[0], unit_rows(y_md)[0]), -1.0, 1.0)


def _by_feature(
  part: Callable[[Array, Array], Array], x_nd: Array, y_md: Array | None, weight_d: Array | None
) -> Array:
  """Σ_d w_d·part(x_d, y_d), feature by feature.

  The gradient recomputes every part from x_d and y_d: storing them would take N×M×D numbers.
  """
  x_nd, y_md = _sets(x_nd, y_md)
  size = x_nd.shape[1]
  weight_d = jnp.ones(size, x_nd.dtype) if weight_d is None else at_least_float32(weight_d)
  chex.assert_shape(weight_d, (size,))

  @jax.checkpoint
  def weighted(x_n: Array, y_m: Array, weight: Array) -> Array:
    return weight * part(x_n[:, None], y_m[None, :])

  zeros_nm = jnp.zeros((len(x_nd), len(y_md)), jnp.promote_types(x_nd.dtype, weight_d.dtype))
  # Unrolled, the loop takes three times as long on a CPU.
  total_nm, _ = lax.scan(lambda sum_nm, row: (sum_nm + weighted(*row), None), zeros_nm, (x_nd.T, y_md.T, weight_d))
  return total_nm


def _l1_part(x: Array, y: Array) -> Array:
  # |x − y| with slope 0 where both are equal; the slope of `abs` is 1 there.
  return (x - y) * jnp.sign(x - y)


def l1(x_nd: Array, y_md: Array | None = None, *, weight_d: Array | None = None) -> Array:
  """Σ w|x − y|.

  Args:
    x_nd: [N, D] float.
    y_md: [M, D] float; `x_nd` by default.
    weight_d: [D] float of any sign, 1 by default.
  Returns:
    [N, M], at least float32. Where two features are equal their gradient is 0.
  Raises:
    AssertionError: ranks or embedding sizes differ.
  """
  return _by_feature(_l1_part, x_nd, y_md, weight_d)


def _chi2_part(x: Array, y: Array) -> Array:
  size = jnp.abs(x) + jnp.abs(y)
  something = size > _NOTHING
  difference = jnp.where(something, x - y, 0.0)
  return difference * (difference / jnp.where(something, size, 1.0))


def chi2(x_nd: Array, y_md: Array | None = None, *, weight_d: Array | None = None) -> Array:
  """Σ w(x − y)²/(|x| + |y|): the χ² distance of histograms and of features that are not negative.

  The absolute values in the denominator change nothing there and make a negative feature harmless.

  Args:
    x_nd: [N, D] float.
    y_md: [M, D] float; `x_nd` by default.
    weight_d: [D] float of any sign, 1 by default.
  Returns:
    [N, M], at least float32. Two zeros differ by 0, with gradient 0.
  Raises:
    AssertionError: ranks or embedding sizes differ.
  Source: Taigman et al., "DeepFace: Closing the Gap to Human-Level Performance in Face Verification", 2014, §4.1.
  """
  return _by_feature(_chi2_part, x_nd, y_md, weight_d)


__all__ = ["chi2", "cosine", "l1", "l2", "root", "squared_l2"]
