"""The supervised descent method: regression in closed form against gradient descent, its stages, training and use."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.alignment import LandmarkFinder, SdmTraining, train_sdm
from jaxface.alignment.landmark_data import LandmarkSource, draw_squares
from jaxface.alignment.landmark_net import GREY_SQUARE, SIDE, mean_points
from jaxface.alignment.points import reduce_points
from jaxface.alignment.ridge import fit_ridge
from jaxface.alignment.sdm import sdm
from jaxface.alignment.similarity import transform_points
from jaxface.alignment.squares import point_square
from jaxface.descriptors import point_descriptors
from jaxface.evaluation import landmark_errors
from jaxface.formats import decode_image, read_landmarks, write_landmarks
from jaxface.models.saved import load_model
from jaxface.pipeline import train

# --- the regression


def loss(weight_dt, bias_t, x_nd, y_nt, penalty):
  return ((x_nd @ weight_dt + bias_t - y_nt) ** 2).sum(1).mean() + penalty * (weight_dt**2).sum()


@pytest.mark.parametrize("count", [40, 6])  # more and fewer rows than features
def test_the_closed_form_is_where_gradient_descent_ends(count):
  draw, penalty = np.random.default_rng(0), 0.3
  x_nd, y_nt = draw.normal(2, 1, (count, 9)), draw.normal(-1, 2, (count, 3))
  with jax.enable_x64(True):
    slope_of = jax.grad(lambda both: loss(both[0], both[1], x_nd, y_nt, penalty))
    # The inverse of the largest curvature: 2 σ² / N of the rows with a one for the bias, plus 2 λ.
    rate = 0.5 / (np.linalg.norm(np.c_[x_nd, np.ones(count)], 2) ** 2 / count + penalty)
    both = jax.jit(lambda both: jax.lax.fori_loop(0, 100_000, lambda _, at: jax.tree.map(lambda part, of: part - rate * of, at, slope_of(at)), both))(
      (jnp.zeros((9, 3)), jnp.zeros(3))
    )
    assert max(float(jnp.abs(of).max()) for of in slope_of(both)) < 1e-8
  weight_dt, bias_t = fit_ridge(x_nd, y_nt, penalty=penalty)
  np.testing.assert_allclose(weight_dt, both[0], atol=1e-6)
  np.testing.assert_allclose(bias_t, both[1], atol=1e-6)


@given(st.integers(2, 12), st.integers(1, 12), st.floats(0.01, 100), st.integers(0, 2**32 - 1))
def test_no_other_weights_have_a_smaller_loss(count, size, penalty, seed):
  draw = np.random.default_rng(seed)
  x_nd, y_nt = draw.normal(0, 1, (count, size)), draw.normal(0, 1, (count, 2))
  weight_dt, bias_t = fit_ridge(x_nd, y_nt, penalty=penalty)
  least = loss(weight_dt, bias_t, x_nd, y_nt, penalty)
  for _ in range(5):
    other = weight_dt + draw.normal(0, 0.1, weight_dt.shape), bias_t + draw.normal(0, 0.1, 2)
    assert loss(*other, x_nd, y_nt, penalty) > least


def test_limits_of_the_penalty():
  draw = np.random.default_rng(1)
  x_nd, true_dt = draw.normal(0, 1, (50, 4)), draw.normal(0, 1, (4, 2))
  weight_dt, bias_t = fit_ridge(x_nd, x_nd @ true_dt + 3, penalty=1e-12)
  np.testing.assert_allclose(weight_dt, true_dt, atol=1e-6)
  np.testing.assert_allclose(bias_t, 3, atol=1e-6)
  weight_dt, bias_t = fit_ridge(x_nd, x_nd @ true_dt + 3, penalty=1e12)
  np.testing.assert_allclose(weight_dt, 0, atol=1e-6)
  np.testing.assert_allclose(bias_t, (x_nd @ true_dt + 3).mean(0), atol=1e-6)
  with pytest.raises(ValueError, match="penalty is 0"):
    fit_ridge(np.zeros((3, 2)), np.zeros((3, 1)), penalty=0)
  with pytest.raises(ValueError, match="3 rows of features and 2"):
    fit_ridge(np.zeros((3, 2)), np.zeros((2, 1)), penalty=1)
  with pytest.raises(ValueError, match="not finite"):
    fit_ridge(np.full((2, 2), np.nan), np.zeros((2, 1)), penalty=1)


# --- the stages


def test_the_model_adds_what_each_stage_says():
  draw = np.random.default_rng(2)
  module = sdm(5, (6, 3))
  image = jnp.asarray(draw.uniform(-1, 1, (2, SIDE, SIDE, 1)), jnp.float32)
  params = {
    f"stage{stage}": {"kernel": draw.normal(0, 0.3, (5 * 128, 10)).astype(np.float32), "bias": draw.normal(0, 1, 10).astype(np.float32)} for stage in (1, 2)
  }
  got = jax.jit(module.apply)({"params": params}, image)
  point_bk2 = np.tile(mean_points(5), (2, 1, 1))
  for stage, cell in ((1, 6), (2, 3)):
    feature_bd = np.asarray(point_descriptors(image[..., 0], point_bk2, cell=cell)).reshape(2, -1)
    point_bk2 = point_bk2 + (feature_bd @ params[f"stage{stage}"]["kernel"] + params[f"stage{stage}"]["bias"]).reshape(2, 5, 2)
  np.testing.assert_allclose(got, point_bk2.reshape(2, -1), atol=2e-3)
  zeros = jax.tree.map(np.zeros_like, params)
  np.testing.assert_allclose(module.apply({"params": zeros}, image)[0].reshape(5, 2), mean_points(5), rtol=1e-6)


# --- training


def test_trained_points_are_nearer_than_the_mean_and_each_stage_helps(blob_photos, capsys):
  folder, faces = blob_photos
  saved = train_sdm(folder, faces[:20], SdmTraining(points=5, squares=6, cells=(8, 5, 4)))
  told = [float(line.split("mean error ")[1].split(" ")[0]) for line in capsys.readouterr().err.splitlines() if "mean error" in line]
  assert len(told) == 3 and told[0] > told[1] > told[2]
  held, apply = LandmarkSource(folder, faces[20:], 5), jax.jit(saved.module.apply)
  grey_nhw, true_nk2 = draw_squares(held, GREY_SQUARE, squares=6, seed=7)
  got = np.asarray(apply(saved.variables, grey_nhw[..., None])).reshape(-1, 5, 2)
  before = np.linalg.norm(mean_points(5) - true_nk2, axis=-1).mean()
  assert np.linalg.norm(got - true_nk2, axis=-1).mean() < before / 2
  # The result of training is what the saved model computes.
  grey_nhw, true_nk2 = draw_squares(LandmarkSource(folder, faces[:20], 5), GREY_SQUARE, squares=6, seed=0)
  got = np.asarray(apply(saved.variables, grey_nhw[..., None])).reshape(-1, 5, 2)
  assert np.linalg.norm(got - true_nk2, axis=-1).mean() == pytest.approx(told[-1], abs=0.02)


def test_squares_show_their_points(blob_photos):
  folder, faces = blob_photos
  grey_nhw, true_nk2 = draw_squares(LandmarkSource(folder, faces[:4], 5), GREY_SQUARE, squares=3, seed=0)
  assert grey_nhw.shape == (12, SIDE, SIDE) and np.abs(grey_nhw).max() <= 1.01
  for grey_hw, point_k2 in zip(grey_nhw, true_nk2):
    column, row = np.rint(point_k2).astype(int).T
    assert grey_hw[row, column].max() < np.median(grey_hw) - 0.15  # each point is a dark blob


def test_an_experiment_trains_and_its_model_finds_points(blob_photos, tmp_path):
  folder, faces = blob_photos
  write_landmarks(tmp_path / "faces.json", faces)
  (tmp_path / "mine.py").write_text('"""Mine."""\nfrom jaxface.alignment import SdmExperiment\nEXPERIMENT = SdmExperiment(points=5)\n')
  given = {"photos": str(folder), "annotations": str(tmp_path / "faces.json"), "entry": "points", "squares": 4, "cells": "8,4", "licence": "MIT"}
  result = train(tmp_path / "mine.py", tmp_path / "run", overrides=given)
  assert str(result) == f"model {tmp_path / 'run' / 'model'} · 5 points, 24 faces, 2 stages"
  assert load_model(tmp_path / "run/model").options == {"points": 5, "cells": [8, 4]}
  again = train_sdm(folder, read_landmarks(tmp_path / "faces.json"), SdmTraining(points=5, squares=4, cells=(8, 4)))
  jax.tree.map(np.testing.assert_array_equal, result.saved.variables, again.variables)
  finder = LandmarkFinder(tmp_path / "run/model", passes=2)
  face = faces[0]
  photo = decode_image((folder / face.file).read_bytes(), where=face.file)
  corner = np.linalg.inv(np.vstack([point_square(face.point_k2, upright=True), (0, 0, 1)]))[:2]
  low, high = np.asarray(transform_points(corner, np.array([[0.0, 0], [SIDE - 1, SIDE - 1]])))
  inner = (high - low) / 1.2
  middle = (low + high) / 2 - (0, 0.07 * inner[1])
  found = finder([photo], [np.concatenate([middle - inner / 2, middle + inner / 2])])
  assert landmark_errors(found, face.point_k2[None], normaliser="interpupil")[0] < 0.1


def test_mistakes_are_named(blob_photos, tmp_path):
  for settings, text in (({"points": 7}, "points is 7"), ({"squares": 0}, "squares"), ({"penalty": 0}, "penalty"), ({"cells": ()}, "cells is")):
    with pytest.raises(ValueError, match=text):
      SdmTraining(**settings)
  with pytest.raises(ValueError, match="a side of at least one pixel"):
    sdm(5, ())
  with pytest.raises(ValueError, match="68 points cannot be derived from 5"):
    train_sdm(*blob_photos, SdmTraining(points=68))


@pytest.mark.sweep
@pytest.mark.real_data
def test_21_points_of_real_photos(face_data):
  folder = face_data / "photos"
  saved = train_sdm(folder / "helen_train", read_landmarks(folder / "helen_train.json", points="points68")[:80], SdmTraining(points=21, squares=2, cells=(8, 5)))
  faces = [face for face in read_landmarks(folder / "helen_test.json", points="points68") if face.box is not None][:12]
  photos = [decode_image((folder / "helen_test" / face.file).read_bytes(), where=face.file) for face in faces]
  true_nk2 = np.asarray(reduce_points(np.stack([face.point_k2 for face in faces]), 21))
  still = replace(saved, variables=jax.tree.map(np.zeros_like, saved.variables))
  error, before = (
    landmark_errors(LandmarkFinder(each, passes=2)(photos, [face.box for face in faces]), true_nk2).mean() for each in (saved, still)
  )
  assert error < 0.1 and error < before / 2
