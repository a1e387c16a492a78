"""Test-time crops: the mean over corners, middle and mirror images at several sizes, against loops in NumPy."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.commands.main import main
from jaxface.data import FolderSource
from jaxface.evaluation.config import CROP_NAMES, VerificationConfig
from jaxface.formats.embeddings import read_embeddings
from jaxface.formats.pairs import Pairs
from jaxface.inference.crops import CROPS, crop_places, mean_of_crops
from jaxface.inference.embed import make_embedder
from jaxface.inference.verify import VerificationHook
from jaxface.models.config import ModelConfig, make_model
from jaxface.models.preprocess import PREPROCESS, changed
from jaxface.models.saved import save_model

SMALL = changed(PREPROCESS["unit"], size=(14, 12))
SIZES = {"ten": [(16, 14)], "thirty": [(16, 14), (24, 21), (32, 27)]}  # 256, 384 and 512 of 224, of 14 and 12 pixels, rounded


class Line(nn.Module):
  """A network whose output depends on the place of every pixel."""

  @nn.compact
  def __call__(self, x, train=False):
    return nn.Dense(5)(x.reshape(len(x), -1))


def enlarged(image_hwc, rows, columns):
  """Linear interpolation between pixel centres, one output pixel at a time; edges repeat."""
  height, width, _ = image_hwc.shape
  out = np.empty((rows, columns, 3))
  for row in range(rows):
    for column in range(columns):
      y = min(max((row + 0.5) * height / rows - 0.5, 0), height - 1)
      x = min(max((column + 0.5) * width / columns - 0.5, 0), width - 1)
      top, left = int(y), int(x)
      bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
      above = (1 - x + left) * image_hwc[top, left] + (x - left) * image_hwc[top, right]
      below = (1 - x + left) * image_hwc[bottom, left] + (x - left) * image_hwc[bottom, right]
      out[row, column] = (1 - y + top) * above + (y - top) * below
  return out


def oracle(network, image_hwc, crops, mirror):
  """Embedding by the description in the paper."""
  found = []
  for rows, columns in SIZES[crops]:
    face = enlarged(image_hwc.astype(np.float64), rows, columns)
    bottom, right = rows - 14, columns - 12
    for top, left in ((0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)):
      crop = face[top : top + 14, left : left + 12]
      straight, turned = ((part - 127.5) / 127.5 for part in (crop, crop[:, ::-1]))
      found.append(network(straight) + network(turned) if mirror else network(straight))
  return sum(found) / len(found)


@pytest.fixture(scope="module")
def line():
  module = Line()
  return module, module.init(jax.random.key(0), jnp.zeros((1, 14, 12, 3)))


@pytest.mark.parametrize("crops", ["ten", "thirty"])
@pytest.mark.parametrize("mirror", ["sum", "none"])
def test_the_embedding_is_the_mean_over_the_crops(line, crops, mirror):
  module, variables = line
  kernel, bias = (np.asarray(variables["params"]["Dense_0"][key], np.float64) for key in ("kernel", "bias"))
  image = np.random.default_rng(0).integers(0, 256, (3, 14, 12, 3), dtype=np.uint8)
  made = make_embedder(module, SMALL, mirror=mirror, raw=True, crops=crops)(variables, image)
  want = [oracle(lambda x: x.reshape(-1) @ kernel + bias, one, crops, mirror == "sum") for one in image]
  np.testing.assert_allclose(made, want, rtol=1e-4, atol=1e-4)


def test_larger_images_of_a_resizing_network_are_resized_to_each_size():
  resizing = replace(SMALL, fit="resize")
  image = np.random.default_rng(1).integers(0, 256, (2, 60, 41, 3), dtype=np.uint8)  # the middle 48 rows have the aspect ratio
  seen = jax.jit(lambda x: mean_of_crops(lambda crop: crop.reshape(len(crop), -1), x, resizing, "thirty"))(image)
  middle = image[:, 6:54].astype(np.float32)
  want = []
  for rows, columns in SIZES["thirty"]:
    face = np.asarray(jax.image.resize(middle, (2, rows, columns, 3), "linear"))
    for (place, (top, left)) in crop_places((14, 12), CROPS["thirty"]):
      if place == (rows, columns):
        want.append((face[:, top : top + 14, left : left + 12] - 127.5) / 127.5)
  assert len(want) == 15
  np.testing.assert_allclose(seen, np.mean(want, 0).reshape(2, -1), atol=2e-4)


def test_one_crop_is_the_embedding_without_crops(line):
  image = np.random.default_rng(2).integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
  seen = mean_of_crops(lambda crop: crop.sum((1, 2)), image, SMALL, "one")
  np.testing.assert_allclose(seen, SMALL.apply(image).sum((1, 2)))


def test_a_face_of_one_colour_has_the_same_embedding_with_all_crops(line):
  module, variables = line
  image = np.full((1, 14, 12, 3), 90, np.uint8)
  made = [make_embedder(module, SMALL, raw=True, crops=crops)(variables, image) for crops in CROPS]
  np.testing.assert_allclose(made[1], made[0], atol=1e-5)
  np.testing.assert_allclose(made[2], made[0], atol=1e-5)


def test_the_network_is_compiled_once_for_all_crops(line):
  calls = []

  def network(x):
    calls.append(x.shape)
    return x.sum((1, 2))

  image = np.zeros((2, 14, 12, 3), np.uint8)
  jax.jit(lambda x: mean_of_crops(network, x, SMALL, "thirty")).lower(image)
  assert len(calls) <= 3 and set(calls) == {(2, 14, 12, 3)}  # traced for its shape and for the loop, not 15 times


def test_unknown_crops_and_images_too_small_are_errors(line):
  module, _ = line
  with pytest.raises(ValueError, match="crops = 'five' is unknown: choose one of one, ten, thirty"):
    make_embedder(module, SMALL, crops="five")
  with pytest.raises(ValueError, match="got 10x12 pixels"):
    mean_of_crops(lambda x: x, np.zeros((1, 10, 12, 3), np.uint8), SMALL, "ten")


@pytest.mark.real_data
def test_the_command_embeds_real_faces_with_crops(random_model, face_data, tmp_path):
  saved = random_model("smallresnet", size=96, embedding_size=8)
  save_model(tmp_path / "model", saved)
  person = next(folder for folder in sorted((face_data / "lfw_aligned112").iterdir()) if len(list(folder.iterdir())) > 2)
  made = {}
  for crops in ("one", "ten"):
    out = tmp_path / f"{crops}.npz"
    assert main(["embed", "--model", str(tmp_path / "model"), "--images", str(person), "--out", str(out), "--crops", crops, "--batch-size", "8"]) == 0
    made[crops] = read_embeddings(out)
  assert made["ten"].meta["crops"] == "ten" and "crops" not in made["one"].meta
  assert made["ten"].names == made["one"].names
  np.testing.assert_allclose(np.linalg.norm(made["ten"].embedding_nd, axis=1), 1, rtol=1e-5)
  assert np.abs(made["ten"].embedding_nd - made["one"].embedding_nd).max() > 1e-4


def test_an_evaluation_set_of_a_run_takes_crops(make_folder):
  assert tuple(CROPS) == CROP_NAMES
  with pytest.raises(ValueError, match="crops"):
    VerificationConfig(crops="nine")
  config = ModelConfig("smallresnet", size=8, embedding_size=8, options={"widths": (4,), "units": (1,)})
  module, _, preprocess = make_model(config, "none")
  source = FolderSource(str(make_folder([2, 2], height=8, width=8)), size=(8, 8), template="none")
  image_nhwc = np.zeros((4, 8, 8, 3), np.uint8)
  assert not source.read(np.arange(4), image_nhwc)
  left, right, names = [0, 2, 0, 1], [1, 3, 2, 3], source.names()
  pairs = Pairs([names[row] for row in left], [names[row] for row in right], np.array([True, True, False, False]), np.array([0, 1, 0, 1]))
  variables = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)
  hook, plain = (VerificationHook(VerificationConfig("set", crops=crops), source, pairs, config, devices=1) for crops in ("ten", "one"))
  hook(1, variables)
  unit_nd = np.asarray(make_embedder(module, preprocess, crops="ten")(variables, image_nhwc), np.float64)
  np.testing.assert_allclose(hook.found.score_p, (unit_nd[left] * unit_nd[right]).sum(1), atol=1e-5)
  one_nd = np.asarray(make_embedder(module, preprocess)(variables, image_nhwc), np.float64)
  assert np.abs(hook.found.score_p - (one_nd[left] * one_nd[right]).sum(1)).max() > 1e-3
  assert hook.fingerprint() == {**plain.fingerprint(), "crops": "ten"}  # "one" has no entry, so that runs of earlier versions resume
