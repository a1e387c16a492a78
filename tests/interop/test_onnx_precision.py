"""ONNX graphs in float16 and int8: types, sizes, embeddings, and what is refused."""

import jax
import numpy as np
import onnx
import onnxruntime
import pytest

from jaxface.inference.model import Model
from jaxface.interop import onnx_export
from jaxface.interop.export_file import export_model
from jaxface.interop.onnx_export import export_onnx
from jaxface.interop.onnx_precision import split_batches
from jaxface.interop.traced import ParityError, unit


@pytest.fixture(scope="module")
def saved(random_model):
  return random_model(
    "mobilefacenet", preprocess="unit", size=32, units=(1, 0, 1, 0, 0), width=0.25, embedding_size=16, activation="prelu"
  )


def _run(path, image_bhwc):
  session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
  return session.run(None, {"image": image_bhwc})[0]


def _weights(path) -> dict[int, int]:
  """Elements of the initialisers by type."""
  count: dict[int, int] = {}
  for tensor in onnx.load(path).graph.initializer:
    count[tensor.data_type] = count.get(tensor.data_type, 0) + int(np.prod(tensor.dims))
  return count


def test_float16_halves_the_file_and_keeps_the_ends(saved, tmp_path):
  full = export_onnx(saved, tmp_path / "full.onnx")
  half = export_onnx(saved, tmp_path / "half.onnx", precision="float16")
  assert 0 < max(half.difference.values()) < 5e-3
  counts = _weights(half.path)
  assert counts[onnx.TensorProto.FLOAT16] > 0.95 * _weights(full.path)[onnx.TensorProto.FLOAT]
  image_bhwc = np.random.default_rng(1).integers(0, 256, (4, 40, 36, 3)).astype(np.uint8)
  embedding_bd = _run(half.path, image_bhwc)
  assert embedding_bd.dtype == np.float32
  np.testing.assert_allclose(unit(embedding_bd), unit(_run(full.path, image_bhwc)), atol=5e-3)
  said = {entry.key: entry.value for entry in onnx.load(half.path).metadata_props}
  assert said["jaxface.precision"] == "float16"


def test_int8_keeps_the_direction_of_embeddings(saved, make_folder, tmp_path):
  faces, lines = make_folder(images=(8, 8, 8), height=40, width=40), []
  out = export_model(Model(saved), tmp_path / "small.onnx", precision="int8", calibrate=faces, say=lines.append)
  assert "mean cosine" in lines[-1] and float(lines[-1].split()[-1]) > 0.95
  counts = _weights(out)
  full = _weights(export_onnx(saved, tmp_path / "full.onnx").path)
  assert counts[onnx.TensorProto.INT8] > 0.8 * full[onnx.TensorProto.FLOAT]
  image_bhwc = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
  expected_bd = unit(np.asarray(jax.jit(saved.embed)(saved.variables, image_bhwc)))
  cosine_b = (unit(_run(out, image_bhwc)) * expected_bd).sum(-1)
  assert cosine_b.min() > 0.8
  said = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
  assert said["jaxface.precision"] == "int8" and "jaxface.threshold" not in said


def test_an_int8_graph_unlike_the_model_is_not_written(saved, tmp_path, monkeypatch):
  monkeypatch.setattr(onnx_export, "MIN_COSINE", 1.1)
  batch_bhwc = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
  with pytest.raises(ParityError, match="mean cosine"):
    export_onnx(saved, tmp_path / "net.onnx", precision="int8", calibration=[batch_bhwc])
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("options", "message"), [
  ({"precision": "int8"}, "needs images to calibrate on"),
  ({"precision": "float16", "calibrate": "faces"}, "are for precision int8"),
  ({"precision": "int4"}, "precision = 'int4' is unknown"),
  ({"precision": "float16", "format": "stablehlo"}, "form of format onnx"),
  ({"format": "safetensors", "mirror": "sum"}, "part of a graph"),
])
def test_combinations_without_meaning_are_refused(saved, tmp_path, options, message):
  with pytest.raises(ValueError, match=message):
    export_model(Model(saved), tmp_path / "net", **options)
  assert not list(tmp_path.iterdir())


def test_every_fourth_batch_measures_the_result():
  batches = [np.full((1, 1, 1, 3), number, np.uint8) for number in range(9)]
  used, kept = split_batches(batches)
  assert [int(b.flat[0]) for b in used] == [0, 1, 2, 4, 5, 6, 8] and [int(b.flat[0]) for b in kept] == [3, 7]
  assert split_batches(batches[:3]) == (batches[:3], batches[:3])
