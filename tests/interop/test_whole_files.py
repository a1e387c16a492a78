"""A file of weights becomes a model, and a model a file, in one call each."""

import numpy as np
import pytest

import jaxface
from jaxface.inference import Model
from jaxface.interop import export_model, import_model, read_metadata


@pytest.fixture(scope="module")
def saved(random_model):
  return random_model("smallresnet", patch=2, widths=(4, 8), units=(1, 0), embedding_size=4)


def test_out_and_in_again_embeds_alike(saved, tmp_path):
  file = export_model(Model(saved), tmp_path / "new" / "net.safetensors")
  assert read_metadata(file)["jaxface.model"] == "smallresnet"
  model = import_model(file, out=tmp_path / "model", licence="MIT", origin="a test", template="none")
  assert (model.licence, model.origin, model.template) == ("MIT", "a test", "none")
  image_nhwc = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
  again = jaxface.load(tmp_path / "model")
  for one in (model, again):
    np.testing.assert_array_equal(one(image_nhwc), Model(saved)(image_nhwc))
  assert again.licence == "MIT"
  assert export_model(tmp_path / "model", tmp_path / "net.onnx", normalize=True, mirror="sum").is_file()


@pytest.mark.parametrize(
  ("more", "message"),
  [
    ({"format": "coreml"}, "choose one of onnx, safetensors"), ({"mirror": "twice"}, "choose one of sum, concat, none"),
    ({"format": "safetensors", "normalize": True}, "part of a graph"), ({"format": "safetensors", "mirror": "sum"}, "part of a graph"),
  ],
)
def test_what_cannot_be_exported_is_refused(saved, tmp_path, more, message):
  with pytest.raises(ValueError, match=message):
    export_model(Model(saved), tmp_path / "net.onnx", **more)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("name", "more", "message"),
  [
    ("net.zip", {"model": "iresnet18"}, "suffix .onnx, .safetensors, .pt"), ("net.pth", {}, "give it with --model"),
    ("net.onnx", {"model": "iresnet18", "key": "a"}, "for PyTorch's files"),
    ("net.pth", {"model": "iresnet18", "template": "round"}, "template is 'round'"),
  ],
)
def test_what_cannot_be_imported_is_refused(tmp_path, name, more, message):
  (tmp_path / name).write_bytes(b"")
  with pytest.raises(ValueError, match=message):
    import_model(tmp_path / name, out=tmp_path / "model", **more)
  assert not (tmp_path / "model").exists()
