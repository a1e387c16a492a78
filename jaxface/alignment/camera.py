"""An affine camera from points of a known shape, by generalised least squares, and the pose that it shows."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

_HIGHEST = jax.lax.Precision.HIGHEST


def fit_camera(point_bk2: ArrayLike, shape_bk3: ArrayLike, covariance: ArrayLike) -> Array:
  """The affine camera P that minimises rᵀ Σ⁻¹ r, with the residual r = x − P X of all points.

  With Σ = L Lᵀ this is the ordinary least squares of L⁻¹ x; it is solved by a QR decomposition.

  Args:
    point_bk2: [B, K, 2] points x of each face, K ≥ 4.
    shape_bk3: [B, K, 3] or [K, 3] points X of the shape.
    covariance: [2K, 2K] Σ, symmetric and positive, in the order x₀, y₀, x₁, y₁ and so on.
  Returns:
    [B, 2, 4] float32: eight numbers of each face. Not finite where the shape lies in a plane.
  Raises:
    ValueError: other shapes.
  Source: Taigman et al., "DeepFace: Closing the Gap to Human-Level Performance in Face Verification", 2014, section 2.2.
  """
  point_bk2, shape_bk3 = jnp.asarray(point_bk2, jnp.float32), jnp.asarray(shape_bk3, jnp.float32)
  covariance = jnp.asarray(covariance, jnp.float32)
  if point_bk2.ndim != 3 or point_bk2.shape[-1] != 2 or shape_bk3.shape[-2:] != (point_bk2.shape[1], 3) or point_bk2.shape[1] < 4:
    raise ValueError(f"points have shape {point_bk2.shape} and the shape {shape_bk3.shape}: needs [B, K, 2] and [K, 3] with K at least 4")
  count = 2 * point_bk2.shape[1]
  if covariance.shape != (count, count):
    raise ValueError(f"the covariance has shape {covariance.shape}: needs [{count}, {count}]")
  factor = jnp.linalg.cholesky(covariance)
  shape_bk3 = jnp.broadcast_to(shape_bk3, (len(point_bk2), *shape_bk3.shape[-2:]))
  # About its middle, so that the columns of the system have similar lengths.
  middle_b13 = shape_bk3.mean(1, keepdims=True)
  ones_bk1 = jnp.full_like(shape_bk3[..., :1], jnp.sqrt(jnp.square(shape_bk3 - middle_b13).mean()))
  column_bk4 = jnp.concatenate([shape_bk3 - middle_b13, ones_bk1], -1)
  zero_bk4 = jnp.zeros_like(column_bk4)
  system_bm8 = jnp.stack([jnp.concatenate([column_bk4, zero_bk4], -1), jnp.concatenate([zero_bk4, column_bk4], -1)], 2)
  system_bm8 = system_bm8.reshape(len(point_bk2), count, 8)

  def solve(system_m8: Array, point_m: Array) -> Array:
    q, r = jnp.linalg.qr(jax.scipy.linalg.solve_triangular(factor, system_m8, lower=True))
    white_m = jax.scipy.linalg.solve_triangular(factor, point_m, lower=True)
    return jax.scipy.linalg.solve_triangular(r, jnp.matmul(q.T, white_m, precision=_HIGHEST))

  camera_b24 = jax.vmap(solve)(system_bm8, point_bk2.reshape(len(point_bk2), count)).reshape(-1, 2, 4)
  turn_b23 = camera_b24[..., :3]
  move_b2 = camera_b24[..., 3] * ones_bk1[:, 0] - jnp.einsum("bij,bj->bi", turn_b23, middle_b13[:, 0], precision=_HIGHEST)
  return jnp.concatenate([turn_b23, move_b2[..., None]], -1)


def project(camera_b24: ArrayLike, shape_bk3: ArrayLike) -> Array:
  """Points of a shape as a camera shows them.

  Args:
    camera_b24: [B, 2, 4].
    shape_bk3: [B, K, 3] or [K, 3].
  Returns:
    [B, K, 2].
  """
  camera_b24 = jnp.asarray(camera_b24)
  seen = jnp.einsum("bij,kj->bki" if jnp.ndim(shape_bk3) < 3 else "bij,bkj->bki", camera_b24[..., :3], shape_bk3, precision=_HIGHEST)
  return seen + camera_b24[:, None, :, 3]


def rotation_of(camera_b24: ArrayLike) -> Array:
  """The rotation [B, 3, 3] nearest to a camera's: its third row is the direction towards the viewer, in the frame of the shape."""
  left_b22, _, right_b23 = jnp.linalg.svd(jnp.asarray(camera_b24)[..., :3], full_matrices=False)
  two_b23 = jnp.matmul(left_b22, right_b23, precision=_HIGHEST)
  return jnp.concatenate([two_b23, jnp.cross(two_b23[:, 0], two_b23[:, 1])[:, None]], 1)


def pose_of(camera_b24: ArrayLike) -> Array:
  """Yaw, pitch and roll of a head, [B, 3] in degrees.

  The shape's x points to the right of the image, y down, z to the viewer. The head is first turned about the vertical (yaw above 0: its
  nose points to the right of the image), then about the horizontal (pitch above 0: up), then in the image (roll above 0: clockwise).

  Args:
    camera_b24: [B, 2, 4].
  """
  turn_b33 = rotation_of(camera_b24)
  yaw_b = jnp.arctan2(-turn_b33[:, 2, 0], turn_b33[:, 2, 2])
  pitch_b = jnp.arcsin(jnp.clip(turn_b33[:, 2, 1], -1, 1))
  roll_b = jnp.arctan2(-turn_b33[:, 0, 1], turn_b33[:, 1, 1])
  return jnp.rad2deg(jnp.stack([yaw_b, pitch_b, roll_b], -1))


__all__ = ["fit_camera", "pose_of", "project", "rotation_of"]
