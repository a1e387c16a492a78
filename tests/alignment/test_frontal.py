"""Frontalisation: the camera against a direct solve, warps against loops and their inverses, and a rendered head of known pose."""

import functools
import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.alignment import (
  align,
  fit_camera,
  frontalise_faces,
  piecewise_affine,
  pose_of,
  project,
  warp,
)
from jaxface.alignment.camera import rotation_of
from jaxface.alignment.frontal import march
from jaxface.alignment.generic_shape import (
  _EXTRA,
  _JAW_1,
  _JAW_2,
  _JAW_3,
  _POINTS_68,
  generic_shape,
  to_67,
)
from jaxface.alignment.points import MIRROR_ORDER, reduce_points
from jaxface.formats import decode_image, read_landmarks
from jaxface.geometry import template


def some_camera(draw, count=12):
  """Points of a shape, a camera, and a covariance."""
  shape_k3 = draw.normal(0, 20, (count, 3)) + np.array([50, 60, 10])
  camera_24 = np.concatenate([draw.normal(0, 1, (2, 3)), draw.normal(0, 30, (2, 1))], 1)
  root = draw.normal(0, 1, (2 * count, 2 * count))
  return shape_k3, camera_24, root @ root.T / count + 0.3 * np.eye(2 * count)


def direct_camera(point_k2, shape_k3, covariance):
  """(AᵀΣ⁻¹A)⁻¹ AᵀΣ⁻¹ x in float64."""
  rows = []
  for x, y, z in shape_k3:
    rows += [[x, y, z, 1, 0, 0, 0, 0], [0, 0, 0, 0, x, y, z, 1]]
  system, weight = np.array(rows), np.linalg.inv(covariance)
  return np.linalg.solve(system.T @ weight @ system, system.T @ weight @ point_k2.reshape(-1)).reshape(2, 4)


# --- the camera


@given(st.integers(0, 2**32 - 1))
def test_generalised_least_squares_equal_a_direct_solve(seed):
  draw = np.random.default_rng(seed)
  shape_k3, camera_24, covariance = some_camera(draw)
  point_bk2 = np.stack([shape_k3 @ camera_24[:, :3].T + camera_24[:, 3] + draw.normal(0, 3, (12, 2)) for _ in range(2)])
  got = jax.jit(fit_camera)(point_bk2, shape_k3, covariance)
  for point_k2, found in zip(point_bk2, got):
    np.testing.assert_allclose(found, direct_camera(point_k2, shape_k3, covariance), rtol=5e-3, atol=5e-3)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_exact_points_give_their_camera_for_any_covariance(seed, factor):
  draw = np.random.default_rng(seed)
  shape_k3, camera_24, covariance = some_camera(draw)
  point_bk2 = np.asarray(project(np.stack([camera_24, 2 * camera_24]), shape_k3))
  for scale, point_k2 in zip((1, 2), point_bk2):
    np.testing.assert_allclose(point_k2, scale * (shape_k3 @ camera_24[:, :3].T + camera_24[:, 3]), rtol=1e-4, atol=1e-3)
  np.testing.assert_allclose(fit_camera(point_bk2, shape_k3, factor * covariance)[0], camera_24, atol=2e-2)


def test_an_uncertain_point_counts_less():
  draw = np.random.default_rng(0)
  shape_k3, camera_24, _ = some_camera(draw)
  point_bk2 = np.asarray(project(camera_24[None], shape_k3)) + np.zeros((1, 12, 1))
  point_bk2[0, 3] += 30
  deviation = np.ones(24)
  errors = []
  for spread in (1.0, 10.0, 1000.0):
    deviation[6:8] = spread
    errors.append(np.abs(np.asarray(fit_camera(point_bk2, shape_k3, np.diag(deviation**2))[0]) - camera_24)[:, :3].max())
  assert errors[0] > 5 * errors[1] > 25 * errors[2]


def turn_of(yaw, pitch, roll):
  """Yaw about the vertical, then pitch about the horizontal, then roll in the image; degrees."""
  yaw, pitch, roll = np.deg2rad([yaw, pitch, roll])
  about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
  about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
  about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
  return about_z @ about_x @ about_y


@given(st.floats(-80, 80), st.floats(-60, 60), st.floats(-170, 170), st.floats(0.1, 5))
def test_the_pose_of_a_turned_camera(yaw, pitch, roll, scale):
  turn_33 = turn_of(yaw, pitch, roll)
  camera_124 = np.concatenate([scale * turn_33[:2], [[5.0], [7.0]]], 1)[None]
  np.testing.assert_allclose(pose_of(camera_124)[0], [yaw, pitch, roll], atol=0.05)
  np.testing.assert_allclose(rotation_of(camera_124)[0], turn_33, atol=1e-4)


def test_signs_of_the_pose():
  nose = np.array([0.0, 0, 1])
  assert (turn_of(20, 0, 0) @ nose)[0] > 0  # to the right of the image
  assert (turn_of(0, 20, 0) @ nose)[1] < 0  # up
  assert (turn_of(0, 0, 20) @ [1.0, 0, 0])[1] > 0  # clockwise


# --- the warp


def slow_warp(image_hw, source_v2, target_v2, triangle_t3, size):
  found = np.full(size, -1.0)
  for y in range(size[0]):
    for x in range(size[1]):
      best = -1e-4
      for triangle in triangle_t3:
        corner = np.concatenate([target_v2[triangle].T, np.ones((1, 3))])
        share = np.linalg.solve(corner, [x, y, 1])
        if share.min() >= best:
          best, (u, v) = share.min(), share @ source_v2[triangle]
          left, top = int(np.floor(u)), int(np.floor(v))
          total = 0.0
          for row, row_weight in ((top, top + 1 - v), (top + 1, v - top)):
            for column, column_weight in ((left, left + 1 - u), (left + 1, u - left)):
              inside = np.clip(row, 0, image_hw.shape[0] - 1), np.clip(column, 0, image_hw.shape[1] - 1)
              total += row_weight * column_weight * image_hw[inside]
          found[y, x] = total
  return found


SQUARE = np.array([[0.0, 0], [19, 0], [19, 19], [0, 19], [9.3, 10.1]])
FOUR = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])


def test_the_warp_against_a_loop():
  draw = np.random.default_rng(1)
  image_bhw = draw.uniform(0, 255, (2, 20, 20))
  source_bv2 = SQUARE + draw.normal(0, 2, (2, 5, 2))
  target_bv2 = SQUARE * 0.8 + 2 + draw.normal(0, 1, (2, 5, 2))
  got = np.asarray(piecewise_affine(image_bhw[..., None], source_bv2, target_bv2, FOUR, (22, 18), value=-1.0))[..., 0]
  for found, *given_one in zip(got, image_bhw, source_bv2, target_bv2):
    expected = slow_warp(*given_one, FOUR, (22, 18))
    assert ((found == -1) == (expected == -1)).all() and (found == -1).any()
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_warps_and_their_inverses():
  y, x = np.mgrid[:40, :40] / 6.0
  image = (127 + 60 * np.sin(x) + 60 * np.cos(1.3 * y))[None, ..., None]
  source, moved = SQUARE * 39 / 19, SQUARE * 39 / 19 + np.array([[0, 0], [0, 0], [0, 0], [0, 0], [4, -3]])
  np.testing.assert_allclose(piecewise_affine(image, source[None], source[None], FOUR, (40, 40)), image, atol=0.05)
  there = piecewise_affine(image, source[None], moved[None], FOUR, (40, 40))
  assert np.abs(there - image).mean() > 5
  back = piecewise_affine(there, moved[None], source[None], FOUR, (40, 40))
  assert np.abs(back - image).max() < 3  # interpolated twice


def test_one_affine_map_of_all_vertices_is_the_plain_warp():
  image = np.random.default_rng(2).uniform(0, 255, (1, 24, 24, 3)).astype(np.float32)
  matrix_23 = np.array([[1.1, 0.2, -2.0], [-0.15, 1.05, 1.5]])
  source = SQUARE * 23 / 19
  got = np.asarray(piecewise_affine(image, source[None], (source @ matrix_23[:, :2].T + matrix_23[:, 2])[None], FOUR, (24, 24), value=np.nan))
  expected = np.asarray(warp(image, matrix_23[None], (24, 24), border="replicate", antialias=False))
  inside = np.isfinite(got)
  assert inside.mean() > 0.7
  np.testing.assert_allclose(got[inside], expected[inside], atol=0.1)


# --- the generic face


@functools.cache
def script():
  """The script that made the numbers."""
  spec = importlib.util.spec_from_file_location("make_generic_shape", Path(__file__).parents[2] / "docs/make_generic_shape.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_its_numbers_are_those_of_the_synthetic_head():
  made = script()
  mean_k2 = np.array(made.MEAN_SHAPE_68)
  np.testing.assert_allclose(_POINTS_68, made.on_head(mean_k2), atol=0.02)
  np.testing.assert_allclose(_EXTRA, made.on_head(np.array(made.EXTRA)), atol=0.02)
  for share, numbers in zip(made.MOVED[1:], (_JAW_1, _JAW_2, _JAW_3)):
    np.testing.assert_allclose(numbers, made.on_head(mean_k2[:17], share), atol=0.02)


@pytest.mark.parametrize("name", ["arcface112", "lightcnn128", "sphereface96x112"])
def test_it_is_symmetric_and_in_the_frame_of_the_template(name):
  shape = generic_shape(name)
  mirrored_v3 = shape.vertex_v3[shape.mirror_v]
  middle = shape.vertex_v3[[27, 28, 29, 30]].mean(0)[0]
  np.testing.assert_allclose(mirrored_v3, shape.vertex_v3 * (-1, 1, 1) + (2 * middle, 0, 0), atol=0.05)
  assert (shape.mirror_v[shape.mirror_v] == np.arange(len(shape.mirror_v))).all()
  five_k2 = np.asarray(reduce_points(np.insert(shape.vertex_v3[:67, :2], 66, shape.vertex_v3[62, :2], 0), 5))
  assert np.abs(five_k2 - template(name).point_k2).max() < 2 * template(name).size[0] / 112
  assert (shape.normal_v3[:, 2] > 0).all() and np.allclose(np.linalg.norm(shape.normal_v3, axis=1), 1)
  np.linalg.cholesky(shape.covariance)
  assert shape.vertex_v3[30, 2] == shape.vertex_v3[:, 2].max()  # the tip of the nose is nearest to the viewer


def test_67_points_merge_the_middles_of_the_inner_lips():
  point_k2 = np.random.default_rng(0).normal(0, 1, (68, 2)).astype(np.float32)
  got = np.asarray(to_67(point_k2))
  np.testing.assert_allclose(got[62], (point_k2[62] + point_k2[66]) / 2, rtol=1e-6)
  np.testing.assert_array_equal(got[[0, 61, 63, 65, 66]], point_k2[[0, 61, 63, 65, 67]])
  mirrored = np.asarray(to_67(point_k2[list(MIRROR_ORDER[68])]))
  np.testing.assert_allclose(mirrored, got[generic_shape().mirror_v[:67]], rtol=1e-6)
  with pytest.raises(ValueError, match="needs 68 points"):
    to_67(np.zeros((67, 2)))


# --- a rendered head


def rendered(*pose, size=224):
  """The mean head in flat light, and its 68 points in the image."""
  return script().rendered(*pose, size=size)


POSES = [(0, 0, 0), (20, 0, 0), (-35, 5, 0), (45, -10, 8), (0, 15, -12)]


@pytest.mark.parametrize("pose", POSES)
def test_the_pose_of_a_rendered_head_is_found(pose):
  image, point_k2 = rendered(*pose)
  found = frontalise_faces([image], [point_k2])
  assert np.abs(found.pose_n3[0, :2] - pose[:2]).max() < 1
  # The renderer turns the image so that its five points fit the template: the roll in the image is another one.
  turned = np.rot90(image)
  turned_k2 = np.stack([point_k2[:, 1], image.shape[1] - 1 - point_k2[:, 0]], -1)
  again = frontalise_faces([turned], [turned_k2])
  np.testing.assert_allclose(again.pose_n3[0], found.pose_n3[0] + (0, 0, -90), atol=0.5)
  assert np.abs(again.image_nhwc.astype(int) - found.image_nhwc).mean() < 2


@pytest.mark.parametrize(("pose", "most"), [((20, 0, 0), 5), ((-35, 5, 0), 6), ((45, -10, 0), 7)])
def test_a_turned_head_looks_like_the_frontal_one(pose, most):
  front, front_k2 = rendered(0, 0, 0)
  image, point_k2 = rendered(*pose)
  straight = frontalise_faces([front], [front_k2])
  wanted = straight.image_nhwc[0].astype(float)
  found = frontalise_faces([image], [point_k2])
  plain = align(image, np.asarray(reduce_points(point_k2, 5))).astype(float)
  mask = (wanted > 0).any(-1)
  error = np.abs(found.image_nhwc[0] - wanted)[mask].mean()
  assert error < most and error < 0.3 * np.abs(plain - wanted)[mask].mean()
  # Without the mirrored side the hidden cheek is smeared.
  hidden = np.abs(frontalise_faces([image], [point_k2], mirror=False).image_nhwc[0] - wanted)[mask].mean()
  assert abs(pose[0]) < 30 or error < hidden
  assert np.abs(found.point_nk2 - straight.point_nk2)[:, 17:].max() < 0.05
  assert found.visible_n[0] < 0.97 if abs(pose[0]) > 30 else found.visible_n[0] > 0.9


def test_a_mirrored_photo_gives_the_mirrored_face():
  image, point_k2 = rendered(30, 5, 4)
  mirrored_k2 = np.asarray(point_k2)[list(MIRROR_ORDER[68])] * (-1, 1) + (image.shape[1] - 1, 0)
  one, other = frontalise_faces([image, np.ascontiguousarray(image[:, ::-1])], [point_k2, mirrored_k2]).pose_n3
  np.testing.assert_allclose(other, one * (-1, 1, -1), atol=0.6)


def test_neighbours_in_a_batch_do_not_matter():
  faces = [rendered(*pose) for pose in POSES[:3]]
  photos, points = [image for image, _ in faces] * 3, [point for _, point in faces] * 3
  together = frontalise_faces(photos, points)
  alone = frontalise_faces(photos[1:2], points[1:2])
  assert together.image_nhwc.shape == (9, 112, 112, 3)
  np.testing.assert_allclose(together.pose_n3[[1, 4, 7]], alone.pose_n3[[0, 0, 0]], atol=1e-3)
  assert np.abs(together.image_nhwc[7].astype(int) - alone.image_nhwc[0]).max() <= 1


def test_the_jaw_moves_on_the_far_side_only():
  shape = generic_shape()
  for pose, far in (((40, 0, 0), slice(9, 17)), ((-40, 0, 0), slice(0, 8))):
    _, point_k2 = rendered(*pose, size=112)
    moved = np.asarray(march(to_67(point_k2)[None], shape, shape.covariance))[0]
    changed = (np.abs(moved - shape.vertex_v3[:67]) > 1e-3).any(-1)
    near = np.setdiff1d(np.arange(67), np.arange(67)[far])
    assert changed[far].sum() >= 4 and not changed[near].any()


def test_mistakes_are_named():
  image = np.zeros((50, 50, 3), np.uint8)
  with pytest.raises(ValueError, match=r"face 0: points have shape \(5, 2\): frontalisation needs 68"):
    frontalise_faces([image], [np.zeros((5, 2))])
  with pytest.raises(ValueError, match="face 0: all 5 points coincide"):
    frontalise_faces([image], [np.zeros((68, 2))])
  with pytest.raises(ValueError, match="1 photos and 0 sets"):
    frontalise_faces([image], [])
  with pytest.raises(ValueError, match="needs \\[B, K, 2\\]"):
    fit_camera(np.zeros((1, 3, 2)), np.zeros((3, 3)), np.eye(6))
  with pytest.raises(ValueError, match=r"covariance has shape \(3, 3\)"):
    fit_camera(np.zeros((1, 5, 2)), np.zeros((5, 3)), np.eye(3))
  assert frontalise_faces([], []).image_nhwc.shape == (0, 112, 112, 3)


@pytest.mark.real_data
def test_mirrored_real_photos_have_mirrored_poses_and_faces(face_data):
  faces = read_landmarks(face_data / "photos/helen_test.json", points="points68")[:6]
  photos = [decode_image((face_data / "photos/helen_test" / face.file).read_bytes(), where=face.file) for face in faces]
  one = frontalise_faces(photos, [face.point_k2 for face in faces])
  mirrored = [face.point_k2[list(MIRROR_ORDER[68])] * (-1, 1) + np.array([photo.shape[1] - 1, 0]) for photo, face in zip(photos, faces)]
  other = frontalise_faces([np.ascontiguousarray(photo[:, ::-1]) for photo in photos], mirrored)
  np.testing.assert_allclose(other.pose_n3, one.pose_n3 * (-1, 1, -1), atol=1.5)
  assert (np.abs(one.pose_n3) < (60, 35, 40)).all() and (one.visible_n > 0.5).all()
  # The middle of the template is not quite that of the image: compare the middle part, moved by a pixel at most.
  assert all(np.abs(a[40:100, 30:82].astype(int) - b[40:100, ::-1][:, 30:82]).mean() < 16 for a, b in zip(one.image_nhwc, other.image_nhwc))
