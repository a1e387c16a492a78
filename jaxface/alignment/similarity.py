"""Transforms between point sets by least squares, in closed form: batched, differentiable, for use inside `jit`.

A transform is a matrix [2, 3]: (x, y) goes to matrix · (x, y, 1).
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike


def fit_similarity(source_bk2: ArrayLike, target_bk2: ArrayLike, weight_bk: ArrayLike | None = None) -> Array:
  """The rotation, scale and translation without reflection that brings points closest to others.

  Minimises Σ_k w_k ‖s·R·source_k + t − target_k‖². In the plane the minimum is a quotient of complex numbers, and equals that of
  Umeyama's singular value decomposition.

  Args:
    source_bk2: [..., K, 2] points, K ≥ 2.
    target_bk2: [..., K, 2] where they should go; leading axes broadcast.
    weight_bk: [..., K] weights ≥ 0 of the points; None for equal ones.
  Returns:
    matrix [..., 2, 3] in the float type of the points, at least float32. NaN where all source points of positive weight coincide.
  Raises:
    ValueError: the shapes are no points, or fewer than 2, or differ.
  Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991, eq. 40-43.
  """
  source, target, weight = _checked(source_bk2, target_bk2, weight_bk, least=2)
  source_mean, target_mean = _mean(source, weight), _mean(target, weight)
  x, y = _parts(source - source_mean[..., None, :])
  u, v = _parts(target - target_mean[..., None, :])
  spread = _sum(weight * (x * x + y * y))
  cos = _sum(weight * (x * u + y * v)) / spread
  sin = _sum(weight * (x * v - y * u)) / spread
  return _with_translation(cos, -sin, sin, cos, source_mean, target_mean)


def fit_on_host(source_k2: np.ndarray, target_k2: np.ndarray) -> np.ndarray:
  """`fit_similarity` of one set of points in NumPy and float64, without a device.

  Args:
    source_k2: [K, 2] points, K ≥ 2.
    target_k2: [K, 2] where they should go.
  Returns:
    matrix [2, 3] float64.
  Raises:
    ValueError: coordinates that are not finite, or source points that all coincide.
  """
  if not (np.isfinite(source_k2).all() and np.isfinite(target_k2).all()):
    raise ValueError(f"points are not finite: {np.asarray(source_k2).tolist()}")
  source, target = (np.asarray(point_k2, np.float64) @ (1, 1j) for point_k2 in (source_k2, target_k2))
  centred = source - source.mean()
  spread = (abs(centred) ** 2).sum()
  if spread <= 1e-12 * max(1.0, (abs(source) ** 2).sum()):
    raise ValueError(f"all {len(source)} points coincide at {tuple(np.asarray(source_k2)[0].tolist())}: they define no transform")
  turn = (centred.conj() * (target - target.mean())).sum() / spread
  move = target.mean() - turn * source.mean()
  return np.array([[turn.real, -turn.imag, move.real], [turn.imag, turn.real, move.imag]])


def fit_affine(source_bk2: ArrayLike, target_bk2: ArrayLike, weight_bk: ArrayLike | None = None) -> Array:
  """The affine transform that brings points closest to others.

  Args:
    source_bk2: [..., K, 2] points, K ≥ 3.
    target_bk2: [..., K, 2] where they should go; leading axes broadcast.
    weight_bk: [..., K] weights ≥ 0 of the points; None for equal ones.
  Returns:
    matrix [..., 2, 3]. Not finite where all source points of positive weight are on one line.
  Raises:
    ValueError: the shapes are no points, or fewer than 3, or differ.
  """
  source, target, weight = _checked(source_bk2, target_bk2, weight_bk, least=3)
  source_mean, target_mean = _mean(source, weight), _mean(target, weight)
  x, y = _parts(source - source_mean[..., None, :])
  u, v = _parts(target - target_mean[..., None, :])
  xx, xy, yy = _sum(weight * x * x), _sum(weight * x * y), _sum(weight * y * y)
  xu, yu, xv, yv = _sum(weight * x * u), _sum(weight * y * u), _sum(weight * x * v), _sum(weight * y * v)
  det = xx * yy - xy * xy
  return _with_translation(
    (xu * yy - yu * xy) / det, (yu * xx - xu * xy) / det, (xv * yy - yv * xy) / det, (yv * xx - xv * xy) / det,
    source_mean, target_mean,
  )


def transform_points(matrix_b23: ArrayLike, point_bk2: ArrayLike) -> Array:
  """Points after a transform.

  Args:
    matrix_b23: [..., 2, 3].
    point_bk2: [..., K, 2]; leading axes broadcast.
  Returns:
    [..., K, 2].
  """
  matrix, point = jnp.asarray(matrix_b23), jnp.asarray(point_bk2)
  # Written out: a matrix product may be computed in bfloat16 on accelerators.
  x, y = point[..., 0], point[..., 1]
  rows = [
    matrix[..., row, 0, None] * x + matrix[..., row, 1, None] * y + matrix[..., row, 2, None] for row in (0, 1)
  ]
  return jnp.stack(rows, axis=-1)


def invert(matrix_b23: ArrayLike) -> Array:
  """The inverse transform [..., 2, 3]; not finite where there is none."""
  a, b, tx, c, d, ty = _entries(jnp.asarray(matrix_b23))
  det = a * d - b * c
  a, b, c, d = d / det, -b / det, -c / det, a / det
  return _matrix(a, b, -(a * tx + b * ty), c, d, -(c * tx + d * ty))


def compose(second_b23: ArrayLike, first_b23: ArrayLike) -> Array:
  """The transform [..., 2, 3] that applies `first_b23`, then `second_b23`."""
  a, b, tx, c, d, ty = _entries(jnp.asarray(second_b23))
  e, f, ux, g, h, uy = _entries(jnp.asarray(first_b23))
  return _matrix(
    a * e + b * g, a * f + b * h, a * ux + b * uy + tx, c * e + d * g, c * f + d * h, c * ux + d * uy + ty
  )


def scale_of(matrix_b23: ArrayLike) -> Array:
  """Factor [...] by which a transform changes lengths: the root of the change of areas."""
  a, b, _, c, d, _ = _entries(jnp.asarray(matrix_b23))
  return jnp.sqrt(jnp.abs(a * d - b * c))


def _checked(source: ArrayLike, target: ArrayLike, weight: ArrayLike | None, *, least: int) -> tuple[Array, Array, Array]:
  source, target = jnp.asarray(source), jnp.asarray(target)
  dtype = jnp.promote_types(jnp.promote_types(source.dtype, target.dtype), jnp.float32)
  for name, point in (("source", source), ("target", target)):
    if point.ndim < 2 or point.shape[-1] != 2 or point.shape[-2] < least:
      raise ValueError(f"{name} points have shape {point.shape}: needs [..., K, 2] with K at least {least}")
  if source.shape[-2] != target.shape[-2]:
    raise ValueError(f"{source.shape[-2]} source points and {target.shape[-2]} target points: needs the same number")
  if weight is None:
    return source.astype(dtype), target.astype(dtype), jnp.ones(source.shape[-2], dtype)
  weight = jnp.asarray(weight)
  if weight.shape[-1:] != source.shape[-2:-1]:
    raise ValueError(f"weights have shape {weight.shape} for {source.shape[-2]} points: needs one for each")
  return source.astype(dtype), target.astype(dtype), weight.astype(dtype)


def _sum(value: Array) -> Array:
  return value.sum(-1)


def _mean(point: Array, weight: Array) -> Array:
  return (weight[..., None] * point).sum(-2) / weight.sum(-1)[..., None]


def _parts(point: Array) -> tuple[Array, Array]:
  return point[..., 0], point[..., 1]


def _entries(matrix: Array) -> tuple[Array, ...]:
  return tuple(matrix[..., row, column] for row in (0, 1) for column in (0, 1, 2))


def _matrix(*entries: Array) -> Array:
  flat = jnp.stack(jnp.broadcast_arrays(*entries), axis=-1)
  return flat.reshape(*flat.shape[:-1], 2, 3)


def _with_translation(a: Array, b: Array, c: Array, d: Array, source_mean: Array, target_mean: Array) -> Array:
  (x, y), (u, v) = _parts(source_mean), _parts(target_mean)
  return _matrix(a, b, u - a * x - b * y, c, d, v - c * x - d * y)


__all__ = ["compose", "fit_affine", "fit_on_host", "fit_similarity", "invert", "scale_of", "transform_points"]
