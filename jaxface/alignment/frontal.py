"""Frontalisation as in DeepFace: a camera of a generic face, a warp by triangles to its frontal view, and mirrored texture where it was hidden."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxface.alignment.camera import fit_camera, pose_of, project, rotation_of
from jaxface.alignment.generic_shape import JAW, GenericShape, generic_shape, to_67
from jaxface.alignment.mesh_warp import interpolate, locate, sample
from jaxface.alignment.photo_crops import align_matrix, warp_photos
from jaxface.alignment.points import reduce_points
from jaxface.alignment.similarity import transform_points
from jaxface.geometry import template as find_template

# Faces of one compiled call.
BATCH = 8
# How often the jaw's points are moved along the head and the camera fitted again.
ROUNDS = 3
# The crop from which texture is taken, about the template: pixels per pixel of the template, and its margin as a share of the template's size.
_FINER, _MARGIN = 1.25, 0.2
# Cosines of the angle between surface and viewer below which texture counts as hidden, and above which as seen.
_HIDDEN, _SEEN = 0.15, 0.45


class Frontalised(NamedTuple):
  """Faces seen from the front.

  Attributes:
    image_nhwc: [N, H, W, C] uint8 in the frame of the template; black beyond the face.
    pose_n3: [N, 3] float64 yaw, pitch and roll in the photo in degrees, see `pose_of`.
    visible_n: [N] float64, share of the face's pixels that the photo shows; the others need the mirrored side.
    point_nk2: [N, 67, 2] float32, the points (`to_67`) in the image; hidden ones of the outline are the generic face's.
  """

  image_nhwc: np.ndarray
  pose_n3: np.ndarray
  visible_n: np.ndarray
  point_nk2: np.ndarray


def frontalise_faces(
  photos: Sequence[np.ndarray], points: Sequence[np.ndarray], *, template: str = "arcface112", mirror: bool = True
) -> Frontalised:
  """One face of each photo as seen from the front; a photo with several faces is given several times.

  Args:
    photos: [H, W, C] uint8 each, of any size.
    points: [68, 2] each, see `LandmarkFinder`.
    template: one of `jaxface.geometry.TEMPLATES`.
    mirror: where the face was turned away, take the texture of its other side.
  Returns:
    Images, poses, and how much of each face was seen.
  Raises:
    ValueError: points of another shape or not finite, or a face outside of its photo, with its number; lists that differ in length.
    KeyError: no such template.
  Source: Taigman et al., "DeepFace: Closing the Gap to Human-Level Performance in Face Verification", 2014, section 2.2. The generic face is
    ours. The paper's 67 points are not published; its forehead has no points, ours has unmeasured ones.
  """
  if len(photos) != len(points):
    raise ValueError(f"{len(photos)} photos and {len(points)} sets of points: needs one set for each photo")
  size, shape = find_template(template).size, generic_shape(template)
  matrices, placed = [], [np.zeros((0, 67, 2), np.float32)]
  for index, point_k2 in enumerate(points):
    if np.shape(point_k2) != (68, 2):
      raise ValueError(f"face {index}: points have shape {np.shape(point_k2)}: frontalisation needs 68 points")
    matrices.append(align_matrix(np.asarray(reduce_points(np.asarray(point_k2, np.float64), 5)), template, where=f"face {index}"))
    placed.append(to_67(transform_points(matrices[-1], np.asarray(point_k2, np.float32)))[None])
  margin = _MARGIN * max(size)
  to_crop_23 = np.array([[_FINER, 0, _FINER * margin], [0, _FINER, _FINER * margin]])
  crop_size = (int(np.ceil(_FINER * (size[0] + 2 * margin))), int(np.ceil(_FINER * (size[1] + 2 * margin))))
  crop_nhwc = warp_photos(photos, [to_crop_23 @ np.vstack([matrix, (0, 0, 1)]) for matrix in matrices], crop_size, border="replicate")
  point_nk2, parts = np.concatenate(placed), []
  for start in range(0, len(photos), BATCH):
    rows = min(BATCH, len(photos) - start)
    filled = [np.concatenate([part[start : start + rows], np.repeat(part[start : start + 1], BATCH - rows, 0)]) for part in (crop_nhwc, point_nk2)]
    found = _frontal_batch(*filled, shape._asdict(), to_crop_23.astype(np.float32), size=size, mirror=mirror)
    parts.append([np.asarray(part)[:rows] for part in found])
  if not parts:
    return Frontalised(np.zeros((0, *size, 3), np.uint8), np.zeros((0, 3)), np.zeros(0), np.zeros((0, 67, 2), np.float32))
  image_nhwc, camera_n24, visible_n, front_nk2 = (np.concatenate(part) for part in zip(*parts))
  # The pose is that in the photo: the similarity to the template had turned it.
  back = np.linalg.inv(np.stack(matrices)[:, :, :2])
  pose_n3 = np.asarray(pose_of(np.concatenate([back @ camera_n24[..., :3], camera_n24[..., 3:]], -1)), np.float64)
  return Frontalised(np.clip(np.rint(image_nhwc), 0, 255).astype(np.uint8), pose_n3, visible_n.astype(np.float64), front_nk2)


def march(point_bk2: ArrayLike, shape: Any, covariance: ArrayLike) -> Array:
  """The measured points on the face, the jaw's moved to where the outline of the turned head is.

  On the side that is turned away the outline is not the jaw but a line nearer to the nose. Each point of the jaw becomes that of its row
  which the camera shows farthest out, and the camera is fitted again.

  Args:
    point_bk2: [B, 67, 2] measured points.
    shape: a `GenericShape`.
    covariance: see `fit_camera`.
  Returns:
    [B, 67, 3].
  """
  point_bk2, jaw_cj3 = jnp.asarray(point_bk2, jnp.float32), jnp.asarray(shape.jaw_cj3, jnp.float32)
  count = point_bk2.shape[1]
  rest_k3 = jnp.asarray(shape.vertex_v3, jnp.float32)[:count]
  shape_bk3 = jnp.broadcast_to(rest_k3, (len(point_bk2), count, 3))
  # Left and right of the chin, as far from it as along the jaw.
  side_c = np.sign(np.arange(JAW) - JAW // 2)
  for _ in range(ROUNDS):
    camera_b24 = fit_camera(point_bk2, shape_bk3, covariance)
    down_b2 = camera_b24[:, :, 1]
    across_b2 = jnp.stack([down_b2[:, 1], -down_b2[:, 0]], -1)
    seen_bcj2 = project(camera_b24, jaw_cj3.reshape(-1, 3)).reshape(-1, *jaw_cj3.shape[:2], 2)
    out_bcj = side_c[:, None] * jnp.einsum("bcji,bi->bcj", seen_bcj2, across_b2, precision=jax.lax.Precision.HIGHEST)
    best_bc = jnp.argmax(out_bcj, -1)  # of equal ones, such as the chin's, the jaw itself
    shape_bk3 = shape_bk3.at[:, :JAW].set(jaw_cj3[jnp.arange(JAW), best_bc])
  return shape_bk3


@partial(jax.jit, static_argnames=("size", "mirror"))
def _frontal_batch(
  crop_bhwc: Array, point_bk2: Array, shape_parts: dict[str, Array], to_crop_23: Array, size: tuple[int, int], mirror: bool
) -> tuple[Array, Array, Array, Array]:
  """Images [B, *size, C] float32, cameras [B, 2, 4] to the template's frame, shares of visible pixels [B], and points [B, 67, 2] in the images."""
  whole = ("mirror_v", "triangle_t3")
  parts: dict[str, Any] = {name: jnp.asarray(part, jnp.int32 if name in whole else jnp.float32) for name, part in shape_parts.items()}
  shape = GenericShape(**parts)
  count = point_bk2.shape[1]
  fitted_bk3 = march(point_bk2, shape, shape.covariance)
  camera_b24 = fit_camera(point_bk2, fitted_bk3, shape.covariance)
  # What the camera does not explain is the person's own shape: it is kept, in the frame of the face.
  turn_b33 = rotation_of(camera_b24)
  scale_b = jnp.sqrt(jnp.square(camera_b24[..., :3]).sum((1, 2)) / 2)
  roll_b = jnp.arctan2(-turn_b33[:, 0, 1], turn_b33[:, 1, 1])
  rest_bk2 = (point_bk2 - project(camera_b24, fitted_bk3)) / scale_b[:, None, None]
  cos_b1, sin_b1 = jnp.cos(roll_b)[:, None], jnp.sin(roll_b)[:, None]
  own_bk2 = jnp.stack([cos_b1 * rest_bk2[..., 0] + sin_b1 * rest_bk2[..., 1], cos_b1 * rest_bk2[..., 1] - sin_b1 * rest_bk2[..., 0]], -1)
  # Points of the jaw that were not measured, since the outline hides them, are where the camera shows them.
  measured_bk1 = (fitted_bk3 == shape.vertex_v3[:count]).all(-1, keepdims=True)
  seen_bv2 = project(camera_b24, shape.vertex_v3)
  source_bv2 = seen_bv2.at[:, :count].set(jnp.where(measured_bk1, point_bk2, seen_bv2[:, :count]))
  target_bv2 = jnp.broadcast_to(shape.vertex_v3[:, :2], seen_bv2.shape).at[:, :count].add(jnp.where(measured_bk1, own_bk2, 0))
  facing_bv = jnp.einsum("vi,bi->bv", shape.normal_v3, turn_b33[:, 2], precision=jax.lax.Precision.HIGHEST)
  place_bv2 = transform_points(to_crop_23, source_bv2)

  def one(given: tuple[Array, ...]) -> tuple[Array, Array]:
    crop_hwc, place_v2, target_v2, facing_v = given
    vertex_hw3, share_hw3, inside_hw = locate(target_v2, jnp.asarray(shape.triangle_t3), size)
    per_v = jnp.concatenate([place_v2, facing_v[:, None]], -1)
    own_hw3 = interpolate(per_v, vertex_hw3, share_hw3)
    other_hw3 = interpolate(per_v, shape.mirror_v[vertex_hw3], share_hw3)
    own_hw1, other_hw1 = (jnp.clip((part[..., 2:] - _HIDDEN) / (_SEEN - _HIDDEN), 0, 1) for part in (own_hw3, other_hw3))
    # All of the own texture where it is seen, or where neither side is.
    seen_hw1 = 1 - (1 - own_hw1) * other_hw1
    weight_hw1 = seen_hw1 if mirror else jnp.ones_like(seen_hw1)
    image_hwc = weight_hw1 * sample(crop_hwc, own_hw3[..., :2]) + (1 - weight_hw1) * sample(crop_hwc, other_hw3[..., :2])
    visible = jnp.where(inside_hw, seen_hw1[..., 0], 0).sum() / jnp.maximum(inside_hw.sum(), 1)
    return jnp.where(inside_hw[..., None], image_hwc, 0), visible

  image_bhwc, visible_b = jax.lax.map(one, (jnp.asarray(crop_bhwc, jnp.float32), place_bv2, target_bv2, facing_bv))
  return image_bhwc, camera_b24, visible_b, target_bv2[:, :count]


__all__ = ["BATCH", "Frontalised", "frontalise_faces", "march"]
