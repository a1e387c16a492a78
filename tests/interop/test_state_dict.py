"""State dicts of PyTorch networks: the same embeddings there and here, and back."""

from functools import partial

import chex
import jax
import numpy as np
import pytest

from jaxface.commands.main import main
from jaxface.interop.onnx_import import WrongWeights
from jaxface.interop.safetensors_file import read_safetensors, write_safetensors
from jaxface.interop.state_dict import export_state_dict, import_state_dict, named_tensors, to_state_dict
from jaxface.interop.torch_names import NoNames
from jaxface.models.preprocess import get_preprocess
from jaxface.models.saved import count_parameters, load_model, variable_shapes

SIDE = 32
NETS = {
  "iresnet": (("iresnet", (1, 3, 1, 2), 4, SIDE, 8), {"width": 0.0625}),
  "mobilefacenet512": (("mbf", (1, 4, 6, 2), 2, 0.0625, SIDE, 8), {"width": 0.0625}),
  "mobilefacenet": (("foamliu", 0.125, SIDE, 8), {"width": 0.125}),
}


@pytest.fixture(scope="module", params=NETS)
def pair(request, named_nets):
  """A PyTorch network, the name of ours, and the options that shapes do not say."""
  (kind, *arguments), options = NETS[request.param]
  return getattr(named_nets, kind)(*arguments), request.param, options


def images(torch):
  x_bhwc = np.random.default_rng(0).uniform(-1, 1, (2, SIDE, SIDE, 3)).astype(np.float32)
  return x_bhwc, torch.tensor(x_bhwc.transpose(0, 3, 1, 2))


def test_embeddings_agree_with_pytorch_and_the_way_back_is_strict(pair, torch, tmp_path):
  net, model, options = pair
  torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "net.pth")
  saved = import_state_dict(tmp_path / "net.pth", model, options=options)
  assert saved.preprocess.size == (SIDE, SIDE) and saved.preprocess.name == "unit"
  assert saved.preprocess.template == "unknown"  # nothing in the file says how the faces were aligned
  assert saved.embedding_size == 8
  assert count_parameters(saved.variables["params"]) == sum(p.numel() for p in net.parameters())
  x_bhwc, x_bchw = images(torch)
  with torch.no_grad():
    expected = net(x_bchw).numpy()
  embed = jax.jit(partial(saved.module.apply, train=False))
  np.testing.assert_allclose(embed(saved.variables, x_bhwc), expected, rtol=1e-4, atol=1e-4)

  # Other numbers, so that nothing of the network that receives them can be left as it was.
  for leaf in jax.tree.leaves(saved.variables):
    leaf += np.random.default_rng(1).uniform(0, 0.1, leaf.shape).astype(np.float32)
  export_state_dict(saved, tmp_path / "net.safetensors")
  state = {key: torch.tensor(array) for key, array in read_safetensors(tmp_path / "net.safetensors").items()}
  assert all(state[key].dtype == value.dtype for key, value in net.state_dict().items())
  net.load_state_dict(state, strict=True)
  with torch.no_grad():
    np.testing.assert_allclose(net(x_bchw).numpy(), embed(saved.variables, x_bhwc), rtol=1e-4, atol=1e-4)
  again = import_state_dict(tmp_path / "net.safetensors", model, options=options)
  jax.tree.map(np.testing.assert_array_equal, again.variables, saved.variables)


def test_keys_of_other_networks_are_those_of_pytorch(named_nets, torch):
  """Names and shapes at the real sizes; nothing is computed."""
  with torch.device("meta"):
    nets = {
      "mobilefacenet": named_nets.mbf((1, 4, 6, 2), 1, 1, 112, 128),
      "mobilefacenet512_large": named_nets.mbf((2, 8, 12, 4), 4, 1, 112, 512),
    }
  for model, net in nets.items():
    theirs = {key: tuple(t.shape) for key, t in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert {key: shape for key, _, shape in named_tensors(model, {}, get_preprocess("unit")).values()} == theirs
    assert count_parameters(variable_shapes(model, {})["params"]) == sum(p.numel() for p in net.parameters())


@pytest.fixture
def state(named_nets):
  (_, *arguments), _ = NETS["iresnet"]
  return {key: tensor.numpy().copy() for key, tensor in named_nets.iresnet(*arguments).state_dict().items()}


def test_half_and_bfloat16_numbers_are_read(state, torch, tmp_path):
  for dtype in (torch.float16, torch.bfloat16, torch.float64):
    torch.save({key: torch.tensor(a).to(dtype) for key, a in state.items() if a.ndim}, tmp_path / "net.pt")
    saved = import_state_dict(tmp_path / "net.pt", "iresnet", options={"width": 0.0625})
    kernel = saved.variables["params"]["stem"]["conv"]["kernel"]
    assert kernel.dtype == np.float32
    expected = torch.tensor(state["conv1.weight"]).to(dtype).float().numpy()
    np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), expected)


def test_one_slope_serves_all_channels(state, tmp_path):
  state["prelu.weight"] = np.array([0.1], np.float32)
  with open(tmp_path / "net.safetensors", "wb") as file:
    write_safetensors(file, state)
  saved = import_state_dict(tmp_path / "net.safetensors", "iresnet", options={"width": 0.0625})
  np.testing.assert_array_equal(saved.variables["params"]["stem"]["act"]["alpha"], np.full(4, 0.1, np.float32))


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda s: s.pop("layer2.1.bn3.running_var"), ["'layer2.1.bn3.running_var'", "missing", "(8,)", "stage2_unit2/conv2/norm"]),
    (lambda s: s.update({"layer1.0.conv1.weight": np.zeros((4, 4, 5, 5), np.float32)}),
     ["'layer1.0.conv1.weight'", "(4, 4, 5, 5)", "(4, 4, 3, 3)"]),
    (lambda s: s.update({"extra.weight": np.zeros(3, np.float32)}), ["'extra.weight'", "nothing in iresnet"]),
    (lambda s: s.update({"bn1.weight": np.zeros(4, np.int64)}), ["'bn1.weight'", "int64", "floats"]),
    (lambda s: s.update({"layer4.2.bn1.weight": np.zeros(3, np.float32)}), ["'layer4.2.bn1.", "missing"]),
  ],
)
def test_another_network_is_refused_by_key_and_shapes(change, words, state, tmp_path):
  change(state)
  with open(tmp_path / "net.safetensors", "wb") as file:
    write_safetensors(file, state)
  with pytest.raises(WrongWeights) as error:
    import_state_dict(tmp_path / "net.safetensors", "iresnet", options={"width": 0.0625})
  for word in ["net.safetensors", *words]:
    assert word in str(error.value)


def test_networks_without_names_and_other_suffixes_are_refused(random_model, state, tmp_path):
  with pytest.raises(NoNames, match="smallresnet"):
    to_state_dict(random_model("smallresnet"))
  with pytest.raises(NoNames, match="one unit in stage 2"):
    to_state_dict(random_model("mobilefacenet", units=(1, 2, 1, 1, 1), width=0.0625))
  with pytest.raises(ValueError, match=r"net\.npz.*\.safetensors, \.pt, \.pth"):
    import_state_dict(tmp_path / "net.npz", "iresnet")


def test_commands_go_by_the_suffix(named_nets, torch, tmp_path, capsys):
  net = named_nets.mbf((1, 4, 6, 2), 2, 1, SIDE, 16)
  torch.save(net.state_dict(), tmp_path / "net.pt")
  assert main(["import", str(tmp_path / "net.pt"), "--model", "mobilefacenet512", "--out", str(tmp_path / "model")]) == 0
  assert "mobilefacenet512" in capsys.readouterr().out
  out = tmp_path / "out.safetensors"
  assert main(["export", "--model", str(tmp_path / "model"), "--format", "safetensors", "--out", str(out)]) == 0
  np.testing.assert_array_equal(read_safetensors(out)["layers.0.layers.0.weight"], net.layers[0].layers[0].weight.detach())
  (tmp_path / "net.npz").write_bytes(b"")
  assert main(["import", str(tmp_path / "net.npz"), "--model", "iresnet18", "--out", str(tmp_path / "other")]) == 2
  assert ".onnx" in capsys.readouterr().err


def test_a_file_of_ours_names_its_network(random_model, tmp_path, capsys):
  saved = random_model("iresnet18", size=48, preprocess="zero_one", width=0.125, embedding_size=16)
  path = tmp_path / "net.safetensors"
  export_state_dict(saved, path)
  assert main(["import", str(path), "--out", str(tmp_path / "model")]) == 0
  again = load_model(tmp_path / "model")
  assert (again.name, again.options, again.preprocess) == (saved.name, saved.options, saved.preprocess)
  chex.assert_trees_all_equal(again.variables, saved.variables)
  assert import_state_dict(path, preprocess="unit").preprocess == get_preprocess("unit", size=48)
  with pytest.raises(WrongWeights, match="layer stem/conv"):
    import_state_dict(path, "iresnet34")


def test_a_file_that_names_no_network_or_a_damaged_one_is_refused(state, tmp_path, capsys):
  path = tmp_path / "net.safetensors"
  for metadata, words in (
    ({}, "does not record its network"),
    ({"jaxface.model": "iresnet18"}, "damaged: KeyError('jaxface.options')"),
    ({"jaxface.model": "iresnet18", "jaxface.options": "[]", "jaxface.preprocess": "{}"}, "options are []"),
    ({"jaxface.model": "iresnet18", "jaxface.options": "{}", "jaxface.preprocess": "{}"}, "preprocess has entries []"),
  ):
    with open(path, "wb") as file:
      write_safetensors(file, state, metadata)
    assert main(["import", str(path), "--out", str(tmp_path / "model")]) == 2
    assert words in capsys.readouterr().err
  with pytest.raises(SystemExit):
    main(["import", str(tmp_path / "net.onnx"), "--out", str(tmp_path / "model")])
  assert "--model" in capsys.readouterr().err
