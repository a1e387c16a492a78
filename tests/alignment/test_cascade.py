"""The five-point cascade: its pieces against loops of NumPy and finite differences, the levels by hand, training and use."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxface.alignment import CascadeTraining, LandmarkFinder, train_cascade
from jaxface.alignment.cascade import BOX, PATCH_SIDES, REGIONS, PointCascade, cascade, mean_of_regions
from jaxface.alignment.cascade_nets import PatchNet, abs_tanh, cut_patches, even_contrast
from jaxface.alignment.cascade_training import initial_params, level_errors
from jaxface.alignment.landmark_data import LandmarkSource, draw_squares
from jaxface.alignment.landmark_net import GREY_SQUARE, SIDE, mean_points
from jaxface.formats import AnnotatedFace, decode_image, read_landmarks, write_landmarks
from jaxface.models.saved import load_model
from jaxface.pipeline import train

# --- the pieces


@given(st.floats(-4, 4))
def test_the_slope_of_the_nonlinearity_is_that_of_finite_differences(x):
  assert float(abs_tanh(jnp.float32(x))) == pytest.approx(abs(np.tanh(x)), abs=1e-6)
  slope = float(jax.grad(abs_tanh)(jnp.float32(x)))
  if abs(x) < 1e-3:
    assert abs(slope) <= 1
  else:
    step = min(1e-4, abs(x) / 2)
    assert slope == pytest.approx((abs(np.tanh(x + step)) - abs(np.tanh(x - step))) / (2 * step), abs=1e-3)


def test_gradients_of_the_nonlinearity():
  with jax.enable_x64(True):
    check_grads(abs_tanh, (jnp.array([-2.0, -0.3, 0.4, 1.5]),), order=1, modes=["rev"])
  assert float(jax.grad(abs_tanh)(0.0)) == 0


def slow_patch(grey_hw, x, y, side, pixels):
  """One patch in loops: bilinear, with the position moved into the image."""
  height, width = grey_hw.shape
  out = np.zeros((pixels, pixels))
  for i in range(pixels):
    for j in range(pixels):
      down = min(max(y + (i - (pixels - 1) / 2) * side / pixels, 0), height - 1)
      right = min(max(x + (j - (pixels - 1) / 2) * side / pixels, 0), width - 1)
      top, left = min(int(down), height - 2), min(int(right), width - 2)
      v, u = down - top, right - left
      square = grey_hw[top : top + 2, left : left + 2].astype(np.float64)
      out[i, j] = np.array([1 - v, v]) @ square @ np.array([1 - u, u])
  return out


@given(st.integers(0, 2**32 - 1), st.floats(2, 20), st.sampled_from([4, 5]))
def test_patches_are_those_of_a_loop(seed, side, pixels):
  draw = np.random.default_rng(seed)
  grey_bhw = draw.normal(0, 1, (2, 12, 14)).astype(np.float32)
  point_bk2 = draw.uniform(-3, 16, (2, 3, 2)).astype(np.float32)
  found = np.asarray(jax.jit(cut_patches, static_argnums=3)(grey_bhw, point_bk2, jnp.float32(side), pixels))
  for b in range(2):
    for k in range(3):
      np.testing.assert_allclose(found[b, k], slow_patch(grey_bhw[b], *point_bk2[b, k], side, pixels), atol=1e-3)


def test_contrast_is_evened():
  image = np.random.default_rng(0).normal(2, 3, (4, 9, 7))
  want = (image - image.mean((1, 2), keepdims=True)) / image.std((1, 2), keepdims=True)
  np.testing.assert_allclose(even_contrast(jnp.asarray(image)), want, atol=1e-4)
  np.testing.assert_array_equal(even_contrast(jnp.full((1, 5, 5), 0.5)), np.zeros((1, 5, 5)))


def test_a_point_is_the_mean_of_the_networks_that_give_it():
  draw = np.random.default_rng(1)
  found = {name: draw.normal(0, 1, (3, len(points), 2)) for name, (_, _, points, _) in REGIONS.items()}
  got = np.asarray(mean_of_regions({name: jnp.asarray(each) for name, each in found.items()}))
  for b in range(3):
    for k in range(5):
      each = [found["f1"][b, k]]
      if k <= 2:  # eyes and nose
        each.append(found["en1"][b, k])
      if k >= 2:  # nose and mouth
        each.append(found["nm1"][b, k - 2])
      np.testing.assert_allclose(got[b, k], np.mean(each, 0), atol=1e-6)


# --- the levels


@pytest.fixture(scope="module")
def run():
  """One compiled function of images [2, SIDE, SIDE], points and moves, with random variables: all that the levels compute."""
  draw = np.random.default_rng(2)
  params = jax.tree.map_with_path(
    lambda path, leaf: 10 * leaf if path[-2].key == "regression" else leaf, initial_params(3, draw)
  )
  module, variables = cascade(3), {"params": params}

  def apply(method, *arguments):
    return module.apply(variables, *arguments, method=method)

  def alone(grey_bhw, point_bk2, number, size, point):
    """The displacement by one network, with its own part of the parameters."""
    side = BOX * PATCH_SIDES[number][size]
    mine = jax.tree.map(lambda leaf: leaf[5 * size + point], params[f"level{number + 2}"])
    return PatchNet().apply({"params": mine}, cut_patches(grey_bhw, point_bk2[:, point : point + 1], side)[:, 0]) * side / 10

  def everything(grey_bhw, true_bk2, shift_lbk2):
    by_level = apply("by_level", grey_bhw[..., None])
    return {
      "regions": apply("of_regions", grey_bhw), "by_level": by_level, "found": module.apply(variables, grey_bhw[..., None]),
      "steps": [apply("moves", grey_bhw, by_level[number], number) for number in (0, 1)],
      "moves": [apply("moves", grey_bhw, true_bk2 + shift_lbk2[number], number) for number in (0, 1)],
      "alone": {key: alone(grey_bhw, by_level[key[0]], *key) for key in ((0, 0, 3), (1, 1, 2))},
      "squares": apply("squares", grey_bhw, true_bk2, shift_lbk2),
    }

  compiled = jax.jit(everything)
  return lambda *arguments: jax.tree.map(np.asarray, compiled(*map(jnp.float32, arguments)))


def inputs(seed):
  draw = np.random.default_rng(seed)
  return draw.uniform(-1, 1, (2, SIDE, SIDE)), mean_points(5) + draw.normal(0, 2, (2, 5, 2)), draw.uniform(-3, 3, (2, 2, 5, 2))


def test_levels_add_the_mean_of_their_two_networks(run):
  got = run(*inputs(0))
  point_bk2 = np.asarray(mean_of_regions(got["regions"]))
  np.testing.assert_allclose(got["by_level"][0], point_bk2, atol=1e-3)
  for level in (1, 2):
    moved_2bk2 = got["steps"][level - 1]
    assert np.abs(moved_2bk2).max() > 0.1
    point_bk2 = point_bk2 + (moved_2bk2[0] + moved_2bk2[1]) / 2
    np.testing.assert_allclose(got["by_level"][level], point_bk2, atol=2e-3)
  np.testing.assert_allclose(got["found"], got["by_level"][2].reshape(2, 10), atol=1e-3)
  # A network of the ten is the network alone.
  for (number, size, point), alone_b2 in got["alone"].items():
    np.testing.assert_allclose(got["steps"][number][size, :, point], alone_b2, atol=2e-3)


def test_networks_see_their_own_part_of_the_face(run):
  grey_bhw, point_bk2, _ = inputs(1)
  point_bk2[:] = [[20, 20], [76, 20], [48, 48], [20, 76], [76, 76]]
  still, other = np.zeros((2, 2, 5, 2)), grey_bhw.copy()
  before = run(grey_bhw, point_bk2, still)
  other[:, 40:57, 40:57] *= -1  # about the third point
  after = run(other, point_bk2, still)
  for moved, unmoved in zip(after["moves"], before["moves"]):
    changed_k = np.abs(moved - unmoved).max((0, 1, 3))
    assert changed_k[2] > 1e-3 and not changed_k[[0, 1, 3, 4]].any()
  other = grey_bhw.copy()
  other[:, 84:] *= -1  # the chin
  after = run(other, point_bk2, still)
  np.testing.assert_array_equal(before["regions"]["en1"], after["regions"]["en1"])
  assert min(np.abs(before["regions"][name] - after["regions"][name]).max() for name in ("f1", "nm1")) > 1e-3


def test_what_is_minimised_is_the_squared_distance_of_each_network(run):
  grey_bhw, true_bk2, shift_lbk2 = inputs(2)
  got = run(grey_bhw, true_bk2, shift_lbk2)
  want, far = 0.0, []
  for name, found in got["regions"].items():
    want += (((found - true_bk2[:, list(REGIONS[name][2])]) / SIDE) ** 2).sum(-1).mean()
  for number in (0, 1):
    error_2bk2 = got["moves"][number] + shift_lbk2[number]
    far.append(np.linalg.norm(error_2bk2.mean(0), axis=-1).mean())
    for k in range(5):
      for size in (0, 1):
        want += ((error_2bk2[size, :, k] / (BOX * PATCH_SIDES[number][size])) ** 2).sum(-1).mean()
  total, pixels = got["squares"]
  assert float(total) == pytest.approx(want, rel=1e-3)
  np.testing.assert_allclose(pixels, far, rtol=1e-3)


# --- training


def test_initial_weights_sum_to_zero_and_have_their_spread():
  for path, leaf in jax.tree.leaves_with_path(initial_params(2, np.random.default_rng(5))):
    layer, kind = path[-2].key, path[-1].key
    if kind == "bias":
      assert not leaf.any()
    elif layer == "regression":
      assert leaf.std() == pytest.approx(0.01, rel=0.3)
    else:
      inputs = (-4, -3, -2) if layer.startswith("conv") else (-2,)
      count = np.prod([leaf.shape[axis] for axis in inputs])
      np.testing.assert_allclose(leaf.sum(inputs), 0, atol=1e-4)
      # One degree of freedom is lost to the sum.
      assert leaf.std() * np.sqrt(count) == pytest.approx((1 if layer == "conv1" else 2) * np.sqrt(1 - 1 / count), rel=0.1)


def trained(blob_photos, tmp_path, **settings):
  """The result of an experiment on twenty photos."""
  folder, faces = blob_photos
  write_landmarks(tmp_path / "faces.json", faces[:20])
  (tmp_path / "mine.py").write_text('"""Mine."""\nfrom jaxface.alignment import CascadeExperiment\nEXPERIMENT = CascadeExperiment(entry="points")\n')
  given = {"photos": str(folder), "annotations": str(tmp_path / "faces.json"), "licence": "MIT", **settings}
  return train(tmp_path / "mine.py", tmp_path / "run", overrides=given)


def errors_of(text):
  return [float(line.split("mean error ")[1].split(" ")[0]) for line in text.splitlines() if "mean error" in line]


def test_a_short_training_lowers_the_error_from_level_to_level(blob_photos, tmp_path, capsys, monkeypatch):
  # One network at level 1 instead of three: less to compile.
  monkeypatch.setattr("jaxface.alignment.cascade.REGIONS", {"f1": REGIONS["f1"]})
  result = trained(blob_photos, tmp_path, levels="2", squares="4", steps="40", batch_size="16", learning_rate="0.004")
  first, second = errors_of(capsys.readouterr().err)
  assert str(result) == f"model {tmp_path / 'run' / 'model'} · 5 points, 20 faces, 2 stages"
  _, true_nk2 = draw_squares(LandmarkSource(blob_photos[0], blob_photos[1][:20], 5), GREY_SQUARE, squares=4, seed=0)
  before = np.linalg.norm(mean_points(5) - true_nk2, axis=-1).mean()
  assert second < first and second < 0.8 * before
  saved = load_model(tmp_path / "run/model")
  assert saved.options == {"levels": 2} and saved.meta["licence"] == "MIT" and LandmarkFinder(saved).points == 5
  jax.tree.map(np.testing.assert_array_equal, saved.variables, result.saved.variables)


@pytest.mark.sweep
def test_a_model_finds_points_of_held_out_photos(blob_photos, tmp_path):
  folder, faces = blob_photos
  saved = trained(blob_photos, tmp_path, squares="6", steps="100").saved
  grey_nhw, true_nk2 = draw_squares(LandmarkSource(folder, faces[20:], 5), GREY_SQUARE, squares=6, seed=7)
  held = level_errors(saved.variables, grey_nhw, true_nk2, 3)
  assert held[2] < 0.6 * np.linalg.norm(mean_points(5) - true_nk2, axis=-1).mean()
  photo, box_4 = decode_image((folder / faces[0].file).read_bytes(), where=faces[0].file), [20.0, 20.0, 110.0, 110.0]
  found = LandmarkFinder(tmp_path / "run/model")([photo], [box_4])
  assert found.shape == (1, 5, 2) and np.isfinite(found).all()
  # Fewer levels are the first ones.
  first = replace(saved, options={"levels": 1})
  grey_bhwc = grey_nhw[:2, ..., None]
  np.testing.assert_allclose(
    first.module.apply(saved.variables, grey_bhwc).reshape(2, 5, 2), saved.module.apply(saved.variables, grey_bhwc, method="by_level")[0], atol=1e-3
  )


def test_mistakes_are_named(blob_photos):
  for settings, text in (
    ({"levels": 4}, "levels"), ({"levels": 0}, "levels"), ({"squares": 0}, "squares"), ({"steps": 0}, "steps"), ({"moved": (0.05,)}, "moved is"),
    ({"moved": (0.05, 0.0)}, "moved is"), ({"learning_rate": 0}, "learning_rate"),
  ):
    with pytest.raises(ValueError, match=text):
      CascadeTraining(**settings)
  with pytest.raises(ValueError, match="cascade has 4 levels"):
    cascade(4)
  assert PointCascade.points == 5
  two = [AnnotatedFace("0.jpg", np.array([[1.0, 2], [3, 2]]))]
  with pytest.raises(ValueError, match="5 points cannot be derived from 2"):
    train_cascade(blob_photos[0], two)


@pytest.mark.sweep
@pytest.mark.real_data
def test_errors_of_real_photos_fall_from_level_to_level(face_data, capsys):
  folder = face_data / "photos"
  faces = read_landmarks(folder / "helen_train.json", points="points68")
  train_cascade(folder / "helen_train", faces[:200], CascadeTraining(squares=4, steps=300))
  told = errors_of(capsys.readouterr().err)
  assert told[0] > told[1] > told[2]
