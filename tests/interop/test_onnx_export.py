"""Exported networks: parity for any batch, metadata, no files left after a failure."""

import json
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

from jaxface.interop import onnx_export
from jaxface.interop.onnx_export import ParityError, export_onnx
from jaxface.layers import convolution

NETS = {
  "iresnet": {"units": (1, 1, 0, 0), "width": 0.0625, "embedding_size": 8},
  "mobilefacenet": {"units": (1, 0, 1, 0, 0), "width": 0.125, "embedding_size": 8, "activation": "prelu"},
  "separable": {
    "units": (1, 0, 1, 0, 0),
    "width": 0.125,
    "embedding_size": 8,
    "activation": "relu6",
    "variant": "separable",
  },
}


@pytest.fixture(scope="module", params=NETS)
def saved(request, random_model):
  name = "iresnet" if request.param == "iresnet" else "mobilefacenet"
  return random_model(name, preprocess="imagenet", size=32, **NETS[request.param])


def _run(path, image_bhwc):
  session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
  return session.run(None, {"image": image_bhwc})[0]


def test_preprocessing_is_inside_and_the_batch_is_free(saved, tmp_path):
  done = export_onnx(saved, tmp_path / "net.onnx")
  assert {batch for batch, _, _ in done.difference} == {1, 2, 3}
  assert max(done.difference.values()) < 1e-5
  image_bhwc = np.random.default_rng(3).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
  expected_bd = jax.jit(saved.embed)(saved.variables, image_bhwc)
  np.testing.assert_allclose(_run(done.path, image_bhwc), expected_bd, rtol=1e-4, atol=1e-4)
  model = onnx.load(done.path)
  assert [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [
    "batch",
    "height",
    "width",
    3,
  ]
  assert [d.dim_param or d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == [
    "batch",
    8,
  ]
  ops = Counter(node.op_type for node in model.graph.node)
  # One turn to channels first; the way back moves nothing (1×1 pixels), or feeds the dense layer.
  assert ops["Transpose"] <= 2
  # The norms that begin the two units and the head stay, all others are folded.
  assert ops["Mul"] == (3 if saved.name == "iresnet" else 0)


def test_float_input_normalised_output_and_metadata(saved, tmp_path):
  path = export_onnx(saved, tmp_path / "net.onnx", input_dtype="float32", normalize=True).path
  image_bhwc = np.random.default_rng(3).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
  embedding_bd = _run(path, image_bhwc)
  np.testing.assert_allclose(np.linalg.norm(embedding_bd, axis=-1), 1, rtol=1e-5)
  expected_bd = np.asarray(jax.jit(saved.embed)(saved.variables, image_bhwc))
  np.testing.assert_allclose(
    embedding_bd, expected_bd / np.linalg.norm(expected_bd, axis=-1, keepdims=True), rtol=1e-4, atol=1e-5
  )
  said = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
  assert said["jaxface.model"] == saved.name
  assert json.loads(said["jaxface.preprocess"])["name"] == "imagenet"
  assert said["jaxface.template"] == "arcface112"
  assert json.loads(said["jaxface.normalized"]) is True
  assert json.loads(said["jaxface.options"])["embedding_size"] == 8


def test_a_network_trained_in_bfloat16_is_exported_in_float32(random_model, tmp_path):
  options = NETS["iresnet"]
  low = random_model("iresnet", size=32, **options, dtype="bfloat16", remat=True)
  full = random_model("iresnet", size=32, **options)
  image_bhwc = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
  found_bd = _run(export_onnx(low, tmp_path / "net.onnx").path, image_bhwc)
  np.testing.assert_allclose(found_bd, jax.jit(full.embed)(full.variables, image_bhwc), rtol=1e-4, atol=1e-4)


def test_convolutions_are_one_node_however_jax_computes_them(random_model, tmp_path, monkeypatch):
  saved = random_model("mobilefacenet", size=32, **NETS["separable"])
  slow = convolution.conv
  monkeypatch.setattr(convolution, "conv", lambda *args, **kwargs: 2 * jnp.sort(slow(*args, **kwargs)))
  done = export_onnx(saved, tmp_path / "net.onnx", check=False)
  ops = Counter(node.op_type for node in onnx.load(done.path).graph.node)
  assert ops["Conv"] == sum(
    path[-1].key == "kernel" for path, _ in jax.tree_util.tree_leaves_with_path(saved.variables)
  )


def test_a_file_that_disagrees_never_appears(random_model, tmp_path, monkeypatch):
  saved = random_model("iresnet", size=32, **NETS["iresnet"])
  (tmp_path / "net.onnx").write_bytes(b"an older file")
  other = random_model("iresnet", size=32, **NETS["iresnet"])
  other.variables["params"]["head_dense"]["kernel"][:] += 0.1
  network = onnx_export.traced_network
  monkeypatch.setattr(onnx_export, "traced_network", lambda _, *given: network(other, *given))
  with pytest.raises(ParityError, match=r"net\.onnx"):
    export_onnx(saved, tmp_path / "net.onnx")
  assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
  assert (tmp_path / "net.onnx").read_bytes() == b"an older file"


def test_options_are_checked_and_a_missing_package_says_how_to_get_it(saved, tmp_path, monkeypatch):
  with pytest.raises(ValueError, match=r"'int8'.*'uint8' or 'float32'"):
    export_onnx(saved, tmp_path / "net.onnx", input_dtype="int8")
  monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
  with pytest.raises(ImportError, match=r"pip install onnxruntime"):
    export_onnx(saved, tmp_path / "net.onnx")
  assert not list(tmp_path.iterdir())
