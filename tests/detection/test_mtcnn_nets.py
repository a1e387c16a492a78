"""MTCNN's networks equal PyTorch's outputs; files of weights are read as data, and wrong ones are named."""

import jax
import numpy as np
import onnx
import pytest
from mtcnn_golden import FILE, IMAGES, image, random_state
from onnx import TensorProto, helper, numpy_helper

from jaxface.detection.mtcnn_files import from_state_dict, read_mtcnn
from jaxface.detection.mtcnn_nets import NETS
from jaxface.interop import WrongWeights

_pnet = jax.jit(NETS["pnet"].apply)


def assert_golden(kind, net, params):
  found = jax.jit(NETS[net].apply)({"params": params}, image(net))
  with np.load(FILE) as golden:
    np.testing.assert_allclose(jax.nn.softmax(found.logit)[..., 1], golden[f"{kind}_{net}_0"], atol=2e-6)
    np.testing.assert_allclose(found.offset, golden[f"{kind}_{net}_1"], atol=5e-6)
    assert (found.point is not None) == (net == "onet")
    if net == "onet":  # five x, then five y
      np.testing.assert_allclose(np.swapaxes(found.point, 1, 2).reshape(-1, 10), golden[f"{kind}_{net}_2"], atol=5e-6)


@pytest.mark.parametrize("net", IMAGES)
def test_random_weights_give_pytorch_s_outputs(net):
  assert_golden("random", net, from_state_dict(net, random_state(net)))


@pytest.mark.real_data
def test_released_weights_give_pytorch_s_outputs(mtcnn_weights):
  params, digests = read_mtcnn(mtcnn_weights)
  assert set(digests) == {"pnet.pt", "rnet.pt", "onet.pt"}
  for net in IMAGES:
    assert_golden("released", net, params[net])


@pytest.mark.parametrize("height, width", [(13, 12), (14, 31)])
def test_a_masked_part_of_an_array_is_as_the_part_alone(height, width):
  params = {"params": from_state_dict("pnet", random_state("pnet"))}
  rng = np.random.default_rng(0)
  x = rng.uniform(-1, 1, (1, 60, 60, 3)).astype(np.float32)
  top, left = 10, 6
  inside = np.zeros((1, 58, 58), bool)
  inside[:, top : top + height - 2, left : left + width - 2] = True
  whole = _pnet(params, x, inside)
  alone = _pnet(params, x[:, top : top + height, left : left + width])
  rows, columns = alone.logit.shape[1:3]
  part = np.s_[:, top // 2 : top // 2 + rows, left // 2 : left // 2 + columns]
  np.testing.assert_allclose(whole.logit[part], alone.logit, atol=1e-5)
  np.testing.assert_allclose(whole.offset[part], alone.offset, atol=1e-5)
  assert np.isfinite(whole.logit).all()


def as_graph(net, state, path):
  """The network as an ONNX graph of transposed images, as converters write it: heads in another order."""
  nodes, arrays, last = [], [], "x"
  layers = [key.removesuffix(".weight") for key in state if key.endswith(".weight") and not key.startswith("prelu")]
  heads = [name for name in layers if "_" in name]
  for name in [name for name in layers if name not in heads] + heads[::-1]:
    kernel, bias, conv = state[f"{name}.weight"], state[f"{name}.bias"], state[f"{name}.weight"].ndim == 4
    arrays += [(f"{name}/k", kernel.swapaxes(2, 3) if conv else kernel.T), (f"{name}/b", bias)]
    if conv:
      nodes.append(helper.make_node("Conv", [last, f"{name}/k", f"{name}/b"], [name], name=name))
    else:
      nodes.append(helper.make_node("MatMul", [last, f"{name}/k"], [f"{name}/m"], name=f"{name}/m"))
      nodes.append(helper.make_node("Add", [f"{name}/m", f"{name}/b"], [name], name=name))
    if name not in heads:
      slopes = state[f"prelu{name[-1]}.weight"]
      arrays.append((f"{name}/a", slopes.reshape(1, -1, 1, 1) if conv else slopes))
      nodes.append(helper.make_node("PRelu", [name, f"{name}/a"], [f"{name}/p"], name=f"{name}/p"))
      last = f"{name}/p"
  value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", *heads)]
  held = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays]
  onnx.save(helper.make_model(helper.make_graph(nodes, net, value[:1], value[1:], held)), path)


def test_graphs_of_transposed_images_give_the_same_parameters(tmp_path):
  for net in IMAGES:
    as_graph(net, random_state(net), tmp_path / f"{net}.onnx")
  params, digests = read_mtcnn(tmp_path)
  assert len(digests) == 3
  for net in IMAGES:
    jax.tree.map(np.testing.assert_array_equal, params[net], from_state_dict(net, random_state(net)))


def test_wrong_files_are_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"has no MTCNN: expected the files pnet\.pt, rnet\.pt, onet\.pt or pnet\.onnx"):
    read_mtcnn(tmp_path)
  for net in IMAGES:
    as_graph(net, random_state("rnet" if net == "pnet" else net), tmp_path / f"{net}.onnx")
  with pytest.raises(WrongWeights, match=r"pnet\.onnx: 6 layers, pnet has 5"):
    read_mtcnn(tmp_path)
  state = random_state("rnet")
  with pytest.raises(WrongWeights, match=r"no tensor 'prelu4\.weight'"):
    from_state_dict("rnet", {name: array for name, array in state.items() if name != "prelu4.weight"})
  state["conv2.weight"] = state["conv2.weight"][:, :, :2]
  with pytest.raises(WrongWeights, match=r"layer conv2 has a kernel of shape \(48, 28, 2, 3\)"):
    from_state_dict("rnet", state)
  state = random_state("onet")
  state["dense5.bias"][3] = np.nan
  with pytest.raises(WrongWeights, match="layer dense5 has numbers that are not finite"):
    from_state_dict("onet", state)
