"""Import against ONNX Runtime: an iresnet written node by node here, and the published MobileFaceNet on real
faces."""

from functools import partial

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_writer import OPTIONS, Writer

from jaxface.formats.errors import DamagedData, UnsafePath
from jaxface.interop.onnx_import import WrongWeights, import_onnx
from jaxface.models.registry import create


@pytest.mark.parametrize("folded", [False, True])
def test_iresnet_equals_onnx_runtime(folded, tmp_path):
  model = Writer(folded).model()
  onnx.checker.check_model(model)
  onnx.save(model, tmp_path / "net.onnx")
  saved = import_onnx(tmp_path / "net.onnx", "iresnet", "unit", OPTIONS)
  assert saved.options["embedding_size"] == 7
  assert saved.preprocess.size == (32, 48)
  assert saved.preprocess.template == "unknown"  # no graph says how faces were aligned
  assert saved.meta["source"]["file"] == "net.onnx"
  x_bchw = np.random.default_rng(1).normal(size=(1, 3, 32, 48)).astype(np.float32)
  session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
  (expected_bd,) = session.run(None, {"input": x_bchw})
  apply = jax.jit(partial(create("iresnet", **saved.options).apply, train=False))
  np.testing.assert_allclose(
    apply(saved.variables, x_bchw.transpose(0, 2, 3, 1)), expected_bd, rtol=1e-4, atol=1e-4
  )
  if folded:
    stats = saved.variables["batch_stats"]["stem"]["norm"]
    assert not stats["mean"].any()
    np.testing.assert_allclose(stats["var"], 1 - 1e-5)


def _first(model, op):
  return next(node for node in model.graph.node if node.op_type == op)


def _attribute(model, op, name, value):
  next(a for a in _first(model, op).attribute if a.name == name).CopyFrom(helper.make_attribute(name, value))


def _reshape(model, index, shape):
  tensor = model.graph.initializer[index]
  tensor.CopyFrom(numpy_helper.from_array(np.zeros(shape, np.float32), tensor.name))


def _insert(model, op):
  """Put an operation between the stem and the rest."""
  relu = _first(model, "PRelu")
  model.graph.node.insert(
    list(model.graph.node).index(relu) + 1, helper.make_node(op, relu.output, ["odd"], name="odd")
  )


def _skip_residual(model):
  add = _first(model, "Add")
  add.op_type = "Identity"
  del add.input[1]


@pytest.mark.parametrize(
  ("damage", "words"),
  [
    (
      lambda m: _reshape(m, 0, (4, 3, 5, 5)),
      ["'Conv_0'", "'weight_0'", "stem/conv", "(4, 3, 5, 5)", "(4, 3, 3, 3)"],
    ),
    (lambda m: _reshape(m, 1, (5,)), ["'Conv_0'", "'weight_1'", "(5,)", "(4,)"]),
    (lambda m: _attribute(m, "Conv", "strides", [2, 2]), ["'Conv_0'", "strides [2, 2]", "[1, 1]"]),
    (lambda m: _attribute(m, "Conv", "pads", [0, 0, 1, 1]), ["'Conv_0'", "pads [0, 0, 1, 1]"]),
    (lambda m: _attribute(m, "Gemm", "transB", 0), ["Gemm", "head_dense", "(7, 192)", "(192, 7)"]),
    (lambda m: setattr(_first(m, "PRelu"), "op_type", "Relu"), ["is a Relu, expected a PRelu", "stem/act"]),
    (lambda m: _insert(m, "Softmax"), ["'odd'", "Softmax", "BatchNormalization"]),
    (lambda m: _insert(m, "Relu"), ["'odd'", "is a Relu, expected a BatchNormalization"]),
    (_skip_residual, ["4 nodes add", "adds 5 times"]),
  ],
)
def test_another_network_is_refused_by_node_and_shapes(damage, words, tmp_path):
  model = Writer(True).model()
  damage(model)
  (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
  with pytest.raises(WrongWeights) as error:
    import_onnx(tmp_path / "net.onnx", "iresnet", "unit", {**OPTIONS, "embedding_size": 7})
  for word in ["net.onnx", *words]:
    assert word in str(error.value)


def test_a_longer_and_a_shorter_network_are_refused(tmp_path):
  (tmp_path / "net.onnx").write_bytes(Writer(True).model().SerializeToString())
  with pytest.raises(WrongWeights, match=r"BatchNormalization|Conv"):
    import_onnx(tmp_path / "net.onnx", "iresnet", "unit", {**OPTIONS, "units": (1, 2, 1, 2)})
  with pytest.raises(WrongWeights, match="mobilefacenet"):
    import_onnx(tmp_path / "net.onnx", "mobilefacenet", "unit")
  with pytest.raises(ValueError, match="'mobilefacenet'"):
    import_onnx(tmp_path / "net.onnx", "mobilfacenet", "unit")


def _external(location):
  def damage(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)

  return damage


def _truncate(model):
  tensor = model.graph.initializer[0]
  tensor.raw_data = tensor.raw_data[:-4]


def _huge(model):
  model.graph.initializer[0].dims[0] = 2**40


@pytest.mark.parametrize(
  ("damage", "kind", "words"),
  [
    (_external("../secret.bin"), UnsafePath, ["weight_0", "../secret.bin", "outside"]),
    (_external("/etc/passwd"), UnsafePath, ["weight_0", "/etc/passwd"]),
    (_external("link.bin"), UnsafePath, ["weight_0", "link.bin"]),
    (_external("short.bin"), DamagedData, ["weight_0", "short.bin", "432"]),
    (_truncate, DamagedData, ["weight_0", "432", "428"]),
    (_huge, DamagedData, ["weight_0", "at most"]),
    (lambda m: m.graph.node.insert(0, m.graph.node.pop(5)), DamagedData, ["which no earlier node outputs"]),
  ],
)
def test_damaged_and_hostile_files_are_refused(damage, kind, words, tmp_path):
  (tmp_path / "secret.bin").write_bytes(bytes(432))
  folder = tmp_path / "net"
  folder.mkdir()
  (folder / "short.bin").write_bytes(bytes(100))
  (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
  model = Writer(True).model()
  damage(model)
  (folder / "net.onnx").write_bytes(model.SerializeToString())
  with pytest.raises(kind) as error:
    import_onnx(folder / "net.onnx", "iresnet", "unit", OPTIONS)
  for word in ["net.onnx", *words]:
    assert word in str(error.value)


def test_external_data_beside_the_file_is_read(tmp_path):
  model = Writer(True).model()
  numbers = model.graph.initializer[0].raw_data
  (tmp_path / "numbers.bin").write_bytes(b"ahead" + numbers)
  _external("numbers.bin")(model)
  model.graph.initializer[0].external_data.add(key="offset", value="5")
  (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
  saved = import_onnx(tmp_path / "net.onnx", "iresnet", "unit", OPTIONS)
  kernel_oihw = np.frombuffer(numbers, np.float32).reshape(4, 3, 3, 3)
  np.testing.assert_array_equal(
    saved.variables["params"]["stem"]["conv"]["kernel"].transpose(3, 2, 0, 1), kernel_oihw
  )


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x08\x08"])
def test_what_is_not_onnx_is_refused(content, tmp_path):
  (tmp_path / "net.onnx").write_bytes(content)
  with pytest.raises(DamagedData, match=r"net\.onnx: not an ONNX file"):
    import_onnx(tmp_path / "net.onnx", "iresnet", "unit")
