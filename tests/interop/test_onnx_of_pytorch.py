"""Graphs that PyTorch's own exporter writes of IR-ResNets and MobileFaceNets, norms folded or not."""

import io
import warnings
from functools import partial

import jax
import numpy as np
import onnx
import pytest

from jaxface.formats.errors import DamagedData
from jaxface.interop.onnx_file import read_onnx
from jaxface.interop.onnx_import import WrongWeights, import_onnx

SIDE = 32
NETS = {
  "iresnet": (("iresnet", (1, 2, 1, 1), 4, SIDE, 8), {"units": (1, 2, 1, 1), "width": 0.0625}),
  "mobilefacenet512": (("mbf", (1, 4, 6, 2), 2, 0.0625, SIDE, 8), {"width": 0.0625}),
  "mobilefacenet": (("foamliu", 0.125, SIDE, 8), {"width": 0.125}),
}


def to_onnx(torch, net, folded: bool) -> onnx.ModelProto:
  file = io.BytesIO()
  how = {} if folded else {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.onnx.export(
      net, (torch.zeros(1, 3, SIDE, SIDE),), file, dynamo=False, opset_version=13, input_names=["input"],
      dynamic_axes={"input": {0: "batch"}}, **how,
    )
  return onnx.load_from_string(file.getvalue())


@pytest.mark.parametrize("name", NETS)
def test_embeddings_agree_with_pytorch_folded_or_not(name, named_nets, torch, tmp_path):
  (kind, *arguments), options = NETS[name]
  net = getattr(named_nets, kind)(*arguments)
  x_bhwc = np.random.default_rng(0).uniform(-1, 1, (2, SIDE, SIDE, 3)).astype(np.float32)
  with torch.no_grad():
    expected = net(torch.tensor(x_bhwc.transpose(0, 3, 1, 2))).numpy()
  embed, norms = None, []
  for folded in (True, False):
    model = to_onnx(torch, net, folded)
    norms.append(sum(node.op_type == "BatchNormalization" for node in model.graph.node))
    path = tmp_path / f"{folded}.onnx"
    onnx.save(model, path)
    saved = import_onnx(path, name, options=options)
    assert saved.embedding_size == 8 and saved.preprocess.name == "unit" and saved.preprocess.size == (SIDE, SIDE)
    embed = embed or jax.jit(partial(saved.module.apply, train=False))
    np.testing.assert_allclose(embed(saved.variables, x_bhwc), expected, rtol=1e-4, atol=1e-4)
  assert norms[0] < norms[1]


def test_a_matrix_of_another_shape_is_refused(named_nets, torch, tmp_path):
  (_, *arguments), options = NETS["mobilefacenet512"]
  onnx.save(to_onnx(torch, named_nets.mbf(*arguments), True), tmp_path / "net.onnx")
  with pytest.raises(WrongWeights, match=r"MatMul.*layer embedding/conv.*\(32, 8\), expected \(32, 9\)"):
    import_onnx(tmp_path / "net.onnx", "mobilefacenet512", options={**options, "embedding_size": 9})


@pytest.mark.parametrize(
  ("op", "attributes"), [("Transpose", {"perm": [0, 0]}), ("Transpose", {"perm": [0, 5]}), ("Unsqueeze", {"axes": [9]}), ("Unsqueeze", {})]
)
def test_moves_that_do_not_fit_their_constant_are_refused(op, attributes, tmp_path):
  helper = onnx.helper
  graph = helper.make_graph(
    [helper.make_node(op, ["weight"], ["moved"], name="move", **attributes), helper.make_node("MatMul", ["x", "moved"], ["y"])],
    "net", [helper.make_tensor_value_info("x", 1, [1, 2])], [helper.make_tensor_value_info("y", 1, [1, 2])],
    [onnx.numpy_helper.from_array(np.zeros((2, 2), np.float32), "weight")],
  )
  (tmp_path / "net.onnx").write_bytes(helper.make_model(graph).SerializeToString())
  with pytest.raises(DamagedData, match=rf"net\.onnx: node 'move', a {op}, does not match"):
    read_onnx(tmp_path / "net.onnx")
