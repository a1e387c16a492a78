"""An exported graph crops and resizes: for images of any size it matches the model's `embed`."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from jaxface.inference.embed import make_embedder
from jaxface.interop.onnx_export import export_onnx
from jaxface.interop.onnx_import import import_onnx
from jaxface.models.preprocess import changed

TINY = {"widths": (8, 16), "units": (1, 1), "embedding_size": 8}
GREY = {"width": 0.125, "embedding_size": 8}
# Height and width of the images: as they are, larger, taller, wider, and where the network scales also smaller ones.
LARGER = [(32, 32), (48, 48), (33, 61), (70, 34), (112, 112)]
SMALLER = [(16, 16), (31, 32), (20, 50), (7, 5), (300, 200)]


@pytest.fixture(scope="module", params=["crop", "resize", "grey"])
def model(request, random_model, tmp_path_factory):
  """A network of 32×32 pixels, and its file in ONNX Runtime."""
  if request.param == "grey":
    saved = random_model("lightcnn9", preprocess="lightcnn", size=32, **GREY)
  else:
    saved = random_model("smallresnet", size=32, **TINY)
    saved = replace(saved, preprocess=changed(saved.preprocess, fit=request.param))
  path = tmp_path_factory.mktemp("sizes") / "net.onnx"
  export_onnx(saved, path)
  return saved, run(path)


def run(path):
  session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
  return lambda image_bhwc: session.run(["embedding"], {"image": image_bhwc})[0]


def images(count, height, width, seed=0):
  """Smooth images, as photographs are, with some noise."""
  draw = np.random.default_rng(seed)
  y, x = np.mgrid[:height, :width] / max(height, width)
  waves = [np.sin(2 * np.pi * (draw.uniform(0.5, 3) * x + draw.uniform(0.5, 3) * y)) for _ in range(count * 3)]
  smooth = np.stack(waves).reshape(count, 3, height, width).transpose(0, 2, 3, 1) * 100 + 128
  return np.clip(smooth + draw.normal(0, 10, smooth.shape), 0, 255).astype(np.uint8)


def unit(embedding_bd):
  return embedding_bd / np.linalg.norm(embedding_bd, axis=-1, keepdims=True)


@pytest.mark.parametrize("size", LARGER + SMALLER, ids=str)
@pytest.mark.parametrize("count", [1, 4])
def test_images_of_any_size_give_what_the_model_gives(model, size, count):
  saved, graph = model
  image_bhwc = images(count, *size)
  if saved.preprocess.fit == "crop" and size in SMALLER and min(size) < 32:
    with pytest.raises(ValueError, match=r"H >= 32, W >= 32.*got"):
      saved.embed(saved.variables, image_bhwc)
    with pytest.raises(Exception, match="image_has_at_least_32x32_pixels"):
      graph(image_bhwc)
    return
  expected_bd = np.asarray(jax.jit(saved.embed)(saved.variables, image_bhwc))
  np.testing.assert_allclose(unit(graph(image_bhwc)), unit(expected_bd), atol=1e-5, rtol=0)


def test_sizes_of_the_input_are_free(random_model, tmp_path):
  path = export_onnx(random_model("smallresnet", size=32, **TINY), tmp_path / "net.onnx").path
  (value,) = onnx.load(path).graph.input
  assert [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] == ["batch", "height", "width", 3]


@pytest.mark.parametrize("mirror", ["none", "sum", "concat"])
def test_unit_length_and_mirror_as_embed_has_them(random_model, tmp_path, mirror):
  saved = random_model("smallresnet", size=32, **TINY)
  path = export_onnx(saved, tmp_path / "net.onnx", normalize=True, mirror=mirror).path
  image_bhwc = images(3, 40, 36)
  expected_bd = np.asarray(make_embedder(saved.module, saved.preprocess, mirror=mirror)(saved.variables, image_bhwc))
  np.testing.assert_allclose(run(path)(image_bhwc), expected_bd, atol=1e-5, rtol=0)
  said = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
  assert said["jaxface.mirror"] == mirror and json.loads(said["jaxface.normalized"]) is True


def test_a_mirror_that_is_none_lists_the_names(random_model, tmp_path):
  with pytest.raises(ValueError, match="sum, concat, none"):
    export_onnx(random_model("smallresnet", size=32, **TINY), tmp_path / "net.onnx", mirror="both")


def test_the_documented_example_works_as_it_is_pasted(random_model, tmp_path, monkeypatch, capsys):
  saved = random_model("smallresnet", size=32, **TINY)
  export_onnx(saved, tmp_path / "mine.onnx", normalize=True)
  pixels = images(2, 40, 40)
  for name, image in zip(("one", "other"), pixels):
    Image.fromarray(image).save(tmp_path / f"{name}.jpg", quality=100)
  file = Path(__file__).parents[2] / "docs" / "export.md"
  if not file.is_file():  # tests of an installed package have no checkout around them
    pytest.skip(f"NO DOCUMENTS HERE: {file} was not tested")
  page = file.read_text()
  code = page.split("```python\n")[1].split("```")[0]
  monkeypatch.chdir(tmp_path)
  exec(compile(code, "docs/export.md", "exec"), {})
  shown = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
  assert shown["template"] == "arcface112" and shown["size"] == "[32, 32]" and shown["fit"] == "crop"
  assert shown["licence"] == shown["origin"] == "unknown" and shown["mirror"] == "none" and shown["normalized"] == "true"
  stored = np.stack([np.asarray(Image.open(tmp_path / f"{name}.jpg")) for name in ("one", "other")])
  one_d, other_d = unit(np.asarray(saved.embed(saved.variables, stored)))
  assert abs(float(shown["cosine"]) - one_d @ other_d) < 1e-5


@pytest.mark.parametrize("opset", [13, 17])
def test_scaling_takes_every_opset(random_model, tmp_path, opset):
  saved = random_model("smallresnet", size=32, **TINY)
  scaled = replace(saved, preprocess=changed(saved.preprocess, fit="resize"))
  done = export_onnx(scaled, tmp_path / "net.onnx", opset=opset)
  assert max(done.difference.values()) < 1e-5 and len(done.difference) == 4


@pytest.mark.real_data
@pytest.mark.parametrize("fit", ["crop", "resize"])
def test_photographs_of_any_size_through_published_weights(pretrained_onnx, face_data, tmp_path, fit):
  saved = import_onnx(pretrained_onnx, model="mobilefacenet", preprocess="imagenet")
  saved = replace(saved, preprocess=changed(saved.preprocess, fit=fit))
  path = export_onnx(saved, tmp_path / "net.onnx").path
  photos = [Image.open(file).convert("RGB") for file in sorted((face_data / "celeba_aligned112").rglob("*.jpg"))[:4]]
  assert len(photos) == 4
  for height, width in [(112, 112), (250, 200), *([(60, 80)] if fit == "resize" else [])]:
    image_bhwc = np.stack([np.asarray(photo.resize((width, height))) for photo in photos])
    expected_bd = np.asarray(jax.jit(saved.embed)(saved.variables, image_bhwc))
    np.testing.assert_allclose(unit(run(path)(image_bhwc)), unit(expected_bd), atol=1e-5, rtol=0)
