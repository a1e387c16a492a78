"""Graphs that normalise their input or their result, against ONNX Runtime."""

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnx_writer import OPTIONS, Writer

from jaxface.interop.onnx_import import import_onnx
from jaxface.interop.weights import WrongWeights
from jaxface.models.preprocess import get_preprocess

MEAN, STD = np.float32([0.485, 0.456, 0.406]).reshape(3, 1, 1), np.float32([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
FRONTS = {
  "pixels": [("Sub", 127.5), ("Div", 127.5)],
  "factor": [("Mul", 1 / 127.5), ("Add", -1.0)],
  "channels": [("Sub", MEAN), ("Div", STD)],
  "norm": [("BatchNormalization", [1 / 64, -2, 0, 1])],
}


def with_front(model, steps):
  """The graph behind arithmetic on its input."""
  value, nodes = "input", []
  for index, (op, number) in enumerate(steps):
    names = []
    for place, array in enumerate([np.full(3, n) for n in number] if op == "BatchNormalization" else [number]):
      names.append(f"front_{index}_{place}")
      model.graph.initializer.append(numpy_helper.from_array(np.asarray(array, np.float32), names[-1]))
    nodes.append(helper.make_node(op, [value, *names], [f"front_{index}"], name=f"front {op}"))
    value = f"front_{index}"
  for node in model.graph.node:
    node.input[:] = [value if name == "input" else name for name in node.input]
  for node in reversed(nodes):
    model.graph.node.insert(0, node)
  return model


def with_length_one(model, kind):
  """The graph with its result divided by its length, in one of the ways of exporters."""
  result = model.graph.output[0].name
  for name, array in (("two", np.float32(2)), ("axis", np.int64([1])), ("tiny", np.float32(1e-12)), ("other", np.int64([0]))):
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
  make = helper.make_node
  nodes = {
    "lp": [make("LpNormalization", [result], ["unit"], axis=1, p=2)],
    "reduce": [make("ReduceL2", [result], ["norm"], axes=[1], keepdims=1), make("Div", [result, "norm"], ["unit"])],
    "guarded": [
      make("ReduceL2", [result], ["norm"], axes=[-1], keepdims=1), make("Clip", ["norm", "tiny"], ["clipped"]),
      make("Shape", [result], ["shape"]), make("Expand", ["clipped", "shape"], ["wide"]), make("Div", [result, "wide"], ["unit"]),
    ],
    "written out": [
      make("Pow", [result, "two"], ["square"]), make("ReduceSum", ["square", "axis"], ["sum"], keepdims=1),
      make("Sqrt", ["sum"], ["norm"]), make("Div", [result, "norm"], ["unit"]),
    ],
    "along the batch": [make("ReduceL2", [result], ["norm"], axes=[0], keepdims=1), make("Div", [result, "norm"], ["unit"])],
    "other power": [
      make("Pow", [result, "tiny"], ["square"]), make("ReduceSum", ["square", "axis"], ["sum"], keepdims=1),
      make("Sqrt", ["sum"], ["norm"]), make("Div", [result, "norm"], ["unit"]),
    ],
  }[kind]
  for index, node in enumerate(nodes):
    node.name = f"end {index}"
  model.graph.node.extend(nodes)
  model.graph.output[0].name = "unit"
  return model


def run(model, x_bchw):
  session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
  return session.run(None, {"input": x_bchw})[0]


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("known", [False, True])
def test_a_graph_s_own_normalisation_is_part_of_the_convention(front, known, tmp_path):
  model = with_front(Writer(folded=True).model(), FRONTS[front])
  onnx.checker.check_model(model)
  onnx.save(model, tmp_path / "net.onnx")
  said = []
  saved = import_onnx(tmp_path / "net.onnx", "iresnet", "zero_one" if known else "", OPTIONS, say=said.append)
  assert len(said) == 1 and "normalises" in said[0] and "front" in said[0] and saved.meta["notes"] == [said[0].removeprefix("note: ")]
  image_bhwc = np.random.default_rng(1).integers(0, 256, (1, 32, 48, 3)).astype(np.uint8)
  top = 1 if known or front == "channels" else 255
  expected_bd = run(model, (image_bhwc.transpose(0, 3, 1, 2) / 255 * top).astype(np.float32))
  np.testing.assert_allclose(jax.jit(saved.embed)(saved.variables, image_bhwc), expected_bd, rtol=1e-4, atol=1e-4)
  if front in ("pixels", "factor") and not known:
    assert saved.preprocess == get_preprocess("unit", size=(32, 48), template="unknown")
  if front == "channels":
    assert saved.preprocess.name == "imagenet"


def test_a_normalisation_of_no_usual_range_is_refused_unless_its_input_is_known(tmp_path):
  onnx.save(with_front(Writer(folded=True).model(), [("Mul", 1000.0)]), tmp_path / "net.onnx")
  with pytest.raises(WrongWeights, match=r"net\.onnx.*front Mul.*--preprocess"):
    import_onnx(tmp_path / "net.onnx", "iresnet", options=OPTIONS)
  assert import_onnx(tmp_path / "net.onnx", "iresnet", "unit", OPTIONS).preprocess.std == (0.1275,)
  onnx.save(with_front(Writer(folded=True).model(), [("Mul", -1.0)]), tmp_path / "net.onnx")
  with pytest.raises(WrongWeights, match="invert the pixels"):
    import_onnx(tmp_path / "net.onnx", "iresnet", "unit", OPTIONS)


@pytest.mark.parametrize("kind", ["lp", "reduce", "guarded", "written out"])
def test_a_length_of_one_is_left_out_and_said(kind, tmp_path):
  plain = Writer(folded=True).model()
  model = with_length_one(Writer(folded=True).model(), kind)
  onnx.save(model, tmp_path / "net.onnx")
  said = []
  saved = import_onnx(tmp_path / "net.onnx", "iresnet", "unit", OPTIONS, say=said.append)
  assert len(said) == 1 and "normalises embeddings" in said[0] and "end 0" in said[0]
  x_bchw = np.random.default_rng(1).uniform(-1, 1, (1, 3, 32, 48)).astype(np.float32)
  embedding_bd = jax.jit(lambda v, x: saved.module.apply(v, x, train=False))(saved.variables, x_bchw.transpose(0, 2, 3, 1))
  np.testing.assert_allclose(embedding_bd, run(plain, x_bchw), rtol=1e-4, atol=1e-4)
  unit_bd = embedding_bd / np.linalg.norm(embedding_bd, axis=1, keepdims=True)
  np.testing.assert_allclose(unit_bd, run(model, x_bchw), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["along the batch", "other power"])
def test_other_ends_are_refused(kind, tmp_path):
  onnx.save(with_length_one(Writer(folded=True).model(), kind), tmp_path / "net.onnx")
  with pytest.raises(WrongWeights, match="no layer of iresnet"):
    import_onnx(tmp_path / "net.onnx", "iresnet", "unit", OPTIONS)
