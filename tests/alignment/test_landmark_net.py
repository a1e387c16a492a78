"""The landmark network: its squares, its training data, a run that is resumed, and finding points in photos."""

import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.alignment import (
  LandmarkFinder,
  LandmarkSource,
  LandmarkTraining,
  align_iteratively,
  mirror_points,
  template_points,
  train_landmarks,
  transform_points,
)
from jaxface.alignment.landmark_data import FRAME_SIDE, SquareJitter
from jaxface.alignment.landmark_net import SIDE, landmarknet, mean_points
from jaxface.alignment.squares import box_square, point_square
from jaxface.formats import AnnotatedFace, DamagedData, encode_jpeg, write_landmarks
from jaxface.models.saved import load_model
from jaxface.pipeline import train
from jaxface.training import load_experiment

TINY = LandmarkTraining(points=5, steps=4, batch_size=4, log_every=1, checkpoint_every=2, widths=(4, 4, 4), units=(1, 1, 1), ema=0, devices=1)


def dots(point_k2, height, width):
  """A photo with a dot at each point; the first is red, the others green."""
  y, x = np.mgrid[:height, :width]
  photo = np.zeros((height, width, 3))
  for index, (u, v) in enumerate(point_k2):
    photo[..., min(index, 1)] += 250 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 8)
  return photo.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  folder = tmp_path_factory.mktemp("photos")
  faces = []
  for index in range(4):
    point_k2 = template_points("arcface112", 5) * (0.8 + 0.1 * index) + (5 * index, 3)
    (folder / f"{index}.jpg").write_bytes(encode_jpeg(dots(point_k2, 120, 130)))
    faces.append(AnnotatedFace(f"{index}.jpg", point_k2))
  return folder, faces


# --- squares


def test_the_square_of_a_box_by_hand():
  # 100 × 140 about (60, 90): the square of 168 about (60, 99.8), so that its edges are those of the input's pixels.
  matrix = box_square((10, 20, 110, 160), side=84)
  corner = np.array([[60 - 84, 99.8 - 84], [60 + 84, 99.8 + 84]])
  np.testing.assert_allclose(corner @ matrix[:, :2].T + matrix[:, 2], [[-0.5, -0.5], [83.5, 83.5]], atol=1e-9)
  for box in ((0, 0, 0, 5), (0, 0, np.nan, 5), (5, 0, 1, 5)):
    with pytest.raises(ValueError, match="box"):
      box_square(box)


@pytest.mark.parametrize("count", [5, 68])
def test_the_square_of_points_brings_them_to_the_mean_face(count):
  mean = mean_points(count)
  turned = np.asarray(transform_points(np.array([[0.8, -0.6, 30], [0.6, 0.8, 9.0]]) * 2, mean))
  np.testing.assert_allclose(transform_points(point_square(turned), turned), mean, atol=1e-3)
  upright = point_square(turned, upright=True)
  assert upright[0, 1] == upright[1, 0] == 0 and upright[0, 0] == upright[1, 1]
  np.testing.assert_allclose(np.asarray(transform_points(upright, turned)).mean(0), mean.mean(0), atol=1e-3)


# --- training data


def place_of_dot(image_hwc, channel):
  weight = np.asarray(image_hwc[..., channel], np.float64)
  y, x = np.mgrid[: weight.shape[0], : weight.shape[1]]
  return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@functools.cache
def jitter():
  return jax.jit(SquareJitter(points=5, degrees=25, scale=1.2, shift=0.05))


@settings(max_examples=5)
@given(st.integers(0, 10**6))
def test_points_move_with_the_pixels(seed):
  point_k2 = np.array([[60.0, 70], [100, 72], [80, 90], [65, 105], [98, 104]])
  image = np.stack([dots(point_k2[index : index + 1], FRAME_SIDE, FRAME_SIDE) for index in range(5)])
  key_b = jnp.tile(jax.random.key(seed), 5)
  square, target = jitter()(image, np.tile(point_k2.reshape(1, -1), (5, 1)).astype(np.float32), key_b)
  assert square.shape == (5, SIDE, SIDE, 3)
  # One key, so one square; mirrored faces have their points in another order.
  found = np.stack([place_of_dot(each, 0) for each in square])
  expected = np.asarray(target[0]).reshape(5, 2)
  if np.abs(found - expected).max() > 0.3:
    found = found[[1, 0, 2, 4, 3]]
  np.testing.assert_allclose(found, expected, atol=0.3)


def test_frames_hold_their_points(photos):
  source = LandmarkSource(*photos, points=5)
  image = np.empty((4, *source.image_shape), np.uint8)
  assert source.read(np.arange(4), image) == [] and source.names() == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
  for each, target in zip(image, source.target_nt):
    # The left eye is the only red dot.
    np.testing.assert_allclose(place_of_dot(np.where(each > 60, each, 0), 0), target[:2], atol=0.6)


def test_faulty_data_are_named(photos, tmp_path):
  folder, faces = photos
  with pytest.raises(ValueError, match="no annotated face"):
    LandmarkSource(folder, [])
  with pytest.raises(ValueError, match="68 points cannot be derived from 5"):
    LandmarkSource(folder, faces, points=68)
  (tmp_path / "0.jpg").write_bytes(b"nothing")
  with pytest.raises(DamagedData, match=r"0\.jpg"):
    LandmarkSource(tmp_path, faces[:1], points=5)
  with pytest.raises(ValueError, match="points is 7"):
    LandmarkTraining(points=7)


# --- the network


def test_the_untrained_network_gives_the_mean_face():
  module = landmarknet(68, (4,), (1,), 8)
  image = jnp.zeros((2, SIDE, SIDE, 3))
  variables = module.init(jax.random.key(0), image, train=False)
  zeroed = jax.tree_util.tree_map_with_path(
    lambda path, leaf: leaf * 0 if "regression" in jax.tree_util.keystr(path) else leaf, variables
  )
  np.testing.assert_allclose(module.apply(zeroed, image, train=False)[1].reshape(68, 2), mean_points(68), rtol=1e-5)


def test_a_run_is_resumed_bitwise_and_its_network_is_used(photos, tmp_path):
  folder, faces = photos
  whole = train_landmarks(folder, faces, tmp_path / "run", TINY, licence="MIT")
  assert load_model(tmp_path / "run" / "model").meta["points"] == 5
  # As if killed between its two saved states.
  shutil.rmtree(tmp_path / "run/model")
  states = {int(folder.name): folder for folder in (tmp_path / "run/checkpoints/last").iterdir() if folder.name.isdigit()}
  assert sorted(states) == [2, 4]
  shutil.rmtree(states[4])
  again = train_landmarks(folder, faces, tmp_path / "run", TINY)
  assert jax.tree.all(jax.tree.map(np.array_equal, whole.variables, again.variables))
  with pytest.raises(ValueError, match="learning_rate"):
    train_landmarks(folder, faces, tmp_path / "run", LandmarkTraining(**{**vars(TINY), "learning_rate": 1.0}))

  finder = LandmarkFinder(tmp_path / "run/model", passes=1)
  photo, box = dots(faces[0].point_k2, 120, 130), np.array([20.0, 10, 90, 100])
  point = finder([photo, photo], [box, box + 3])
  assert point.shape == (2, 5, 2) and np.isfinite(point).all()
  np.testing.assert_allclose(finder([photo], [box]), point[:1], atol=1e-3)
  # The mirrored photo has the mirrored points.
  flipped = finder([photo[:, ::-1]], [np.array([129 - 90, 10, 129 - 20, 100])])
  np.testing.assert_allclose(mirror_points(flipped, 130), point[:1], atol=0.1)
  with pytest.raises(ValueError, match="face 1: box"):
    finder([photo, photo], [box, box[::-1]])


# --- repeated detection


def exact_finder(true_k2, photos_seen):
  """Finds the dots: the red one, and the others from it by their true geometry; shrinks the error fourfold at each pass."""

  def find(crops):
    photos_seen.append(len(crops))
    return np.stack([true_k2] * len(crops))

  return find


def test_iteration_ends_when_the_crop_stays():
  target = template_points("arcface112", 5)
  seen = []
  photo = dots(target, 112, 112)
  # Points that are where they should be: one pass, and the transform stays.
  found = align_iteratively([photo], [np.eye(2, 3)], exact_finder(target, seen), target, (112, 112), passes=5)
  assert found.passes_n.tolist() == [1] and seen == [1]
  np.testing.assert_allclose(found.matrix_n23[0], np.eye(2, 3), atol=1e-9)
  np.testing.assert_allclose(found.point_nk2[0], target, atol=1e-9)


def test_iteration_converges_with_a_finder_that_sees_half_of_the_error():
  # A finder whose points are half way between the template and the truth, as one trained near the template: the error halves.
  target = template_points("arcface112", 5)
  truth = np.asarray(transform_points(np.array([[0.95, -0.3, 20], [0.3, 0.95, -5.0]]), target), np.float64)
  photo = dots(truth, 140, 150)
  state = {"matrix": np.eye(2, 3)}

  def find(crops):
    in_crop = truth @ state["matrix"][:, :2].T + state["matrix"][:, 2]
    half = (in_crop + target) / 2
    from jaxface.alignment.similarity import fit_on_host

    step = fit_on_host(half, target)
    state["matrix"] = (np.vstack([step, (0, 0, 1)]) @ np.vstack([state["matrix"], (0, 0, 1)]))[:2]
    return half[None]

  found = align_iteratively([photo], [np.eye(2, 3)], find, target, (112, 112), passes=20, tolerance=0.05)
  assert 4 < found.passes_n[0] < 20
  aligned = truth @ found.matrix_n23[0, :, :2].T + found.matrix_n23[0, :, 2]
  assert np.abs(aligned - target).max() < 0.1


def test_faults_of_a_finder_are_named():
  target = template_points("arcface112", 5)
  photo = dots(target, 112, 112)
  with pytest.raises(ValueError, match="gave shape"):
    align_iteratively([photo], [np.eye(2, 3)], lambda crops: np.zeros((1, 4, 2)), target, (112, 112))
  with pytest.raises(ValueError, match="photo 0: all 5 points coincide"):
    align_iteratively([photo], [np.eye(2, 3)], lambda crops: np.ones((1, 5, 2)), target, (112, 112))
  with pytest.raises(ValueError, match="passes is 0"):
    align_iteratively([photo], [np.eye(2, 3)], lambda crops: None, target, (112, 112), passes=0)


def test_an_experiment_file_trains_a_landmark_network(photos, tmp_path):
  folder, faces = photos
  write_landmarks(tmp_path / "faces.json", faces)
  (tmp_path / "mine.py").write_text(
    '"""Mine."""\nfrom jaxface.alignment import LandmarkExperiment\n'
    "EXPERIMENT = LandmarkExperiment(points=5, batch_size=4, widths=(4, 4, 4), units=(1, 1, 1), log_every=1, devices=1, entry='points')\n"
  )
  given = {"steps": 2, "photos": str(folder), "annotations": str(tmp_path / "faces.json"), "checkpoint_every": 1}
  result = train(tmp_path / "mine.py", tmp_path / "run", overrides=given)
  assert str(result) == f"model {tmp_path / 'run' / 'model'} · 5 points, 4 faces, step 2"
  with pytest.raises(ValueError, match=r"(?s)other values.*steps"):
    train(tmp_path / "mine.py", tmp_path / "run", overrides={**given, "steps": 3})
  with pytest.raises(ValueError, match=r"has no field 'step'.*'steps'"):
    train(tmp_path / "mine.py", tmp_path / "run", overrides={"step": 3})
  with pytest.raises(ValueError, match=r"photos is .*NOWHERE_SET"):
    train(tmp_path / "mine.py", tmp_path / "other", overrides={**given, "photos": "$NOWHERE_SET/x"})
  with pytest.raises(ValueError, match="LandmarkExperiment, which trains no embedding"):
    load_experiment(str(tmp_path / "mine.py"))
