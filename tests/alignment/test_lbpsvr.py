"""LBP and SVR: the regression's optimum, one pass in loops of NumPy, repeated passes in closed form, training and use."""

import math
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.alignment import LandmarkFinder, LbpSvrTraining, reduce_points, train_lbpsvr
from jaxface.alignment.iterate import align_iteratively
from jaxface.alignment.landmark_data import LandmarkSource, draw_squares
from jaxface.alignment.landmark_net import GREY_SQUARE, SIDE, mean_points
from jaxface.alignment.lbpsvr import GREY_STEPS, lbpsvr
from jaxface.alignment.ridge import fit_ridge
from jaxface.alignment.squares import box_square
from jaxface.alignment.svr import fit_svr
from jaxface.evaluation import landmark_errors
from jaxface.formats import decode_image, read_landmarks, write_landmarks
from jaxface.models.saved import SavedModel, load_model
from jaxface.pipeline import train

# --- the regression


def loss(weight_dt, x_nd, y_nt, penalty, insensitive):
  """Of features and targets less their means."""
  over_nt = jnp.maximum(0, jnp.abs((x_nd - x_nd.mean(0)) @ weight_dt - (y_nt - y_nt.mean(0))) - insensitive)
  return (over_nt**2).sum(1).mean() + penalty * (weight_dt**2).sum()


def drawn(seed, count, size, targets=2):
  draw = np.random.default_rng(seed)
  return draw.normal(2, 1, (count, size)), draw.normal(-1, 2, (count, targets))


@given(st.integers(3, 30), st.integers(1, 12), st.floats(0.01, 10), st.floats(0, 1.5), st.integers(0, 2**32 - 1))
def test_the_slope_of_the_loss_is_zero_at_the_result(count, size, penalty, insensitive, seed):
  x_nd, y_nt = drawn(seed, count, size)
  weight_dt, bias_t = fit_svr(x_nd, y_nt, penalty=penalty, insensitive=insensitive)
  np.testing.assert_allclose(x_nd.mean(0) @ weight_dt + bias_t, y_nt.mean(0), atol=1e-9)
  with jax.enable_x64(True):
    slope = jax.jit(jax.grad(loss))
    slope_dt, first_dt = (np.asarray(slope(at, x_nd, y_nt, penalty, insensitive)) for at in (weight_dt, np.zeros_like(weight_dt)))
  assert (np.linalg.norm(slope_dt, axis=0) <= 1e-4 * np.linalg.norm(first_dt, axis=0) + 1e-12).all()


@pytest.mark.parametrize("count", [40, 6])  # more and fewer rows than features
def test_without_a_tolerance_it_is_ridge_regression(count):
  x_nd, y_nt = drawn(0, count, 9, 3)
  for got, want in zip(fit_svr(x_nd, y_nt, penalty=0.3, insensitive=0), fit_ridge(x_nd, y_nt, penalty=0.3)):
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_targets_within_the_tolerance_need_no_weights():
  x_nd, y_nt = drawn(1, 20, 4)
  weight_dt, bias_t = fit_svr(x_nd, y_nt, penalty=0.1, insensitive=float(np.abs(y_nt[:, 0] - y_nt[:, 0].mean()).max()) + 1e-9)
  assert not weight_dt[:, 0].any() and bias_t[0] == pytest.approx(y_nt[:, 0].mean())


def test_mistakes_of_the_regression_are_named(monkeypatch):
  x_nd, y_nt = drawn(2, 4, 3)
  for settings, text in (({"penalty": 0}, "penalty is 0"), ({"insensitive": -1}, "insensitive is -1"), ({"insensitive": math.nan}, "insensitive is nan")):
    with pytest.raises(ValueError, match=text):
      fit_svr(x_nd, y_nt, **{"penalty": 1, "insensitive": 0, **settings})
  with pytest.raises(ValueError, match="4 rows of features and 3"):
    fit_svr(x_nd, y_nt[:3], penalty=1, insensitive=0)
  with pytest.raises(ValueError, match="not finite"):
    fit_svr(np.full_like(x_nd, np.nan), y_nt, penalty=1, insensitive=0)
  monkeypatch.setitem(sys.modules, "sklearn.svm", None)
  with pytest.raises(ModuleNotFoundError, match=r"jaxface\[verifiers\]"):
    fit_svr(x_nd, y_nt, penalty=1, insensitive=0)


# --- one pass


def slow_features(grey_hw, cells, radius):
  """From the definition: roots of the share of each label in each cell."""
  height, width = grey_hw.shape
  padded = np.pad(grey_hw.astype(np.float64), 4)
  counts = np.zeros((cells, cells, 59))
  for y in range(height):
    for x in range(width):
      bits = []
      for p in range(8):
        down, right = -radius * math.sin(math.pi * p / 4), radius * math.cos(math.pi * p / 4)
        down, right = round(down, 5), round(right, 5)
        top, left = math.floor(down), math.floor(right)
        near = padded[y + 4 + top : y + 6 + top, x + 4 + left : x + 6 + left] - padded[y + 4, x + 4]
        part = np.outer([1 - down + top, down - top], [1 - right + left, right - left])
        bits.append(bool((near * part).sum() >= 0))
      begins = [p for p in range(8) if bits[p] and not bits[p - 1]]
      ones = sum(bits)
      if len(begins) > 1:
        label = 58
      elif ones in (0, 8):
        label = 0 if ones == 0 else 57
      else:
        label = 1 + (ones - 1) * 8 + (8 - begins[0]) % 8
      counts[y * cells // height, x * cells // width, label] += 1
  return np.sqrt(counts / counts.sum(-1, keepdims=True)).reshape(-1)


def saved_model(kernel_dt, bias_t, *, points=6, cells=4, radius=2.0):
  params = {"regression": {"kernel": np.asarray(kernel_dt, np.float32), "bias": np.asarray(bias_t, np.float32)}}
  return SavedModel("lbpsvr", {"points": points, "cells": cells, "radius": radius}, GREY_SQUARE, {"params": params}, {})


def random_model(draw, **options):
  return saved_model(draw.normal(0, 0.3, (16 * 59, 12)), draw.normal(0, 1, 12), **options)


def test_one_pass_is_a_loop_over_pixels_and_a_similarity():
  draw = np.random.default_rng(3)
  photo = np.repeat(draw.integers(0, 256, (SIDE, SIDE, 1), dtype=np.uint8), 3, -1)
  saved = random_model(draw)
  stay = np.eye(3)[:2]
  got = align_iteratively([photo], [stay], LandmarkFinder(saved, mirror=False).find_in_squares, mean_points(6), (SIDE, SIDE), passes=1)
  regression = saved.variables["params"]["regression"]
  grey_hw = np.round(np.asarray(GREY_SQUARE.apply(photo[None]))[0, ..., 0] * GREY_STEPS)
  point_k2 = mean_points(6) + (slow_features(grey_hw, 4, 2.0) @ regression["kernel"] + regression["bias"]).reshape(6, 2)
  np.testing.assert_allclose(got.point_nk2[0], point_k2, atol=1e-3)
  # The similarity to the anchors, as Umeyama has it: a singular value decomposition.
  source, target = point_k2 - point_k2.mean(0), mean_points(6) - mean_points(6).mean(0)
  left, size, right = np.linalg.svd(target.T @ source)
  sign = np.diag([1, np.sign(np.linalg.det(left @ right))])
  turn = (size * np.diag(sign)).sum() / (source**2).sum() * left @ sign @ right
  np.testing.assert_allclose(got.matrix_n23[0], np.c_[turn, mean_points(6).mean(0) - turn @ point_k2.mean(0)], atol=1e-4)


def test_contrast_changes_nothing():
  draw = np.random.default_rng(4)
  saved = random_model(draw)
  image = jnp.asarray(draw.integers(-128, 128, (3, SIDE, SIDE, 1)) / 128, jnp.float32)
  apply = jax.jit(saved.module.apply)
  np.testing.assert_array_equal(apply(saved.variables, image), apply(saved.variables, image / 4))


@given(st.integers(0, 40), st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_points_move_with_the_photo(right, down, seed):
  draw = np.random.default_rng(seed)
  finder = LandmarkFinder(random_model(np.random.default_rng(5)), passes=1)
  photo = draw.integers(0, 256, (150, 140, 3), dtype=np.uint8)
  canvas = draw.integers(0, 256, (190, 190, 3), dtype=np.uint8)
  canvas[down : down + 150, right : right + 140] = photo
  # A pixel of the square is a pixel of the photo, so that crops are copies.
  box_4 = np.array([30.5, 24.9, 110.5, 104.9])
  moved_4 = box_4 + np.array([right, down, right, down])
  np.testing.assert_allclose(box_square(box_4)[:, :2], np.eye(2), atol=1e-12)
  found_2k2 = finder([photo, canvas], [box_4, moved_4])
  np.testing.assert_allclose(found_2k2[1], found_2k2[0] + (right, down), atol=1e-3)


# --- passes


@given(
  st.floats(-0.2, 0.2), st.floats(0.9, 1.1), st.tuples(st.floats(-4, 4), st.floats(-4, 4)), st.integers(1, 3), st.integers(0, 2**32 - 1)
)
def test_a_regressor_that_always_sees_the_same_similarity_applies_it_at_each_pass(angle, factor, move, passes, seed):
  # Without weights the points of each square are S(anchors): after p passes they are Sᵖ(anchors) in the first square.
  cos, sin = factor * math.cos(angle), factor * math.sin(angle)
  step_33 = np.array([[cos, -sin, 2 * np.sign(move[0]) + move[0]], [sin, cos, 2 + abs(move[1])], [0, 0, 1]])
  anchor_3k = np.c_[mean_points(6), np.ones(6)].T
  bias_t = ((step_33 @ anchor_3k)[:2].T - mean_points(6)).reshape(-1)
  photo = np.random.default_rng(seed).integers(0, 256, (100, 120, 3), dtype=np.uint8)
  box_4 = np.array([20.0, 15.0, 90.0, 85.0])
  got = LandmarkFinder(saved_model(np.zeros((16 * 59, 12)), bias_t), passes=passes, mirror=False)([photo], [box_4])
  first_33 = np.linalg.inv(np.vstack([box_square(box_4), (0, 0, 1)]))
  want = (first_33 @ np.linalg.matrix_power(step_33, passes) @ anchor_3k)[:2].T
  np.testing.assert_allclose(got[0], want, atol=1e-3)


def test_anchors_that_are_found_are_the_end():
  photo = np.random.default_rng(6).integers(0, 256, (100, 120, 3), dtype=np.uint8)
  finder = LandmarkFinder(saved_model(np.zeros((16 * 59, 12)), np.zeros(12)), mirror=False)
  matrix_23 = box_square([20.0, 15.0, 90.0, 85.0])
  got = align_iteratively([photo], [matrix_23], finder.find_in_squares, mean_points(6), (SIDE, SIDE), passes=9)
  assert got.passes_n.tolist() == [1]
  np.testing.assert_allclose(got.matrix_n23[0], matrix_23, atol=1e-5)


# --- training


def test_trained_points_are_nearer_than_the_mean(blob_photos, capsys):
  folder, faces = blob_photos
  config = LbpSvrTraining(points=5, squares=8, cells=8, seed=1)
  saved = train_lbpsvr(folder, faces[:20], config)
  told = float(capsys.readouterr().err.split("mean error ")[1].split(" ")[0])
  apply = jax.jit(saved.module.apply)

  def error(some, seed):
    grey_nhw, true_nk2 = draw_squares(LandmarkSource(folder, some, 5), GREY_SQUARE, squares=8, seed=seed)
    got = np.asarray(apply(saved.variables, grey_nhw[..., None])).reshape(-1, 5, 2)
    return np.linalg.norm(got - true_nk2, axis=-1).mean(), np.linalg.norm(mean_points(5) - true_nk2, axis=-1).mean()

  # The result of training is what the saved model computes.
  assert error(faces[:20], 1)[0] == pytest.approx(told, abs=0.02)
  held, before = error(faces[20:], 7)
  assert held < 0.7 * before


def test_an_experiment_trains_and_its_model_finds_points(blob_photos, tmp_path):
  folder, faces = blob_photos
  write_landmarks(tmp_path / "faces.json", faces)
  (tmp_path / "mine.py").write_text('"""Mine."""\nfrom jaxface.alignment import LbpSvrExperiment\nEXPERIMENT = LbpSvrExperiment(points=5)\n')
  given = {"photos": str(folder), "annotations": str(tmp_path / "faces.json"), "entry": "points", "squares": 2, "cells": 6, "licence": "MIT"}
  result = train(tmp_path / "mine.py", tmp_path / "run", overrides=given)
  assert str(result) == f"model {tmp_path / 'run' / 'model'} · 5 points, 24 faces"
  saved = load_model(tmp_path / "run/model")
  assert saved.options == {"points": 5, "cells": 6, "radius": 3.0} and saved.meta["licence"] == "MIT"
  again = train_lbpsvr(folder, read_landmarks(tmp_path / "faces.json"), LbpSvrTraining(points=5, squares=2, cells=6))
  jax.tree.map(np.testing.assert_array_equal, result.saved.variables, again.variables)
  photo = decode_image((folder / faces[0].file).read_bytes(), where=faces[0].file)
  box_4 = [20.0, 20.0, 110.0, 110.0]
  np.testing.assert_array_equal(LandmarkFinder(tmp_path / "run/model")([photo], [box_4]), LandmarkFinder(again)([photo], [box_4]))


def test_mistakes_are_named(blob_photos):
  for settings, text in (
    ({"points": 7}, "points is 7"), ({"squares": 0}, "squares"), ({"penalty": 0}, "penalty"), ({"cells": 0}, "cells"), ({"radius": 0}, "radius"),
    ({"insensitive": -1}, "insensitive"),
  ):
    with pytest.raises(ValueError, match=text):
      LbpSvrTraining(**settings)
  with pytest.raises(ValueError, match="at least one cell"):
    lbpsvr(6, 0)
  with pytest.raises(ValueError, match="6 points cannot be derived from 5"):
    train_lbpsvr(*blob_photos, LbpSvrTraining())


@pytest.mark.real_data
def test_six_points_of_real_photos(face_data):
  folder = face_data / "photos"
  saved = train_lbpsvr(folder / "helen_train", read_landmarks(folder / "helen_train.json", points="points68")[:120], LbpSvrTraining(squares=2, cells=8))
  faces = [face for face in read_landmarks(folder / "helen_test.json", points="points68") if face.box is not None][:12]
  photos = [decode_image((folder / "helen_test" / face.file).read_bytes(), where=face.file) for face in faces]
  true_nk2 = np.asarray(reduce_points(np.stack([face.point_k2 for face in faces]), 6))
  still = replace(saved, variables=jax.tree.map(np.zeros_like, saved.variables))
  error, before = (
    landmark_errors(LandmarkFinder(each)(photos, [face.box for face in faces]), true_nk2, normaliser="interpupil").mean() for each in (saved, still)
  )
  assert error < 0.7 * before
