"""State dicts with their authors' own names: the embeddings of their networks and of ours, from the same numbers."""

from functools import partial

import chex
import jax
import numpy as np
import pytest
from nchw import Net, State, by_name, shuffled

from jaxface.commands.main import main
from jaxface.interop.safetensors_file import write_safetensors
from jaxface.interop.state_dict import import_state_dict, to_state_dict
from jaxface.interop.weights import Ambiguous, WrongWeights
from jaxface.models.saved import load_model

WIDTH, EMBEDDING = 1 / 16, 8
IR = {"units": (1, 2, 1, 1), "width": 0.25, "embedding_size": EMBEDDING}
SIZE = (32, 32)


def made(call, size=SIZE, **options):
  """A state, images in our order and in theirs, and the embeddings that the authors' network gives them."""
  state = State()
  x_bhwc = np.random.default_rng(1).uniform(-1, 1, (3, *size, 3)).astype(np.float32)
  expected = call(Net(state), x_bhwc.transpose(0, 3, 1, 2), **options)
  return dict(state), x_bhwc, expected


def write(path, state):
  with open(path, "wb") as file:
    write_safetensors(file, state)


def imported(monkeypatch, tmp_path, state, model, in_order=True, **options):
  """Through the reader of safetensors, or through that of PyTorch's files, which keep the order of modules."""
  if not in_order:
    write(tmp_path / "net.safetensors", state)
    return import_state_dict(tmp_path / "net.safetensors", model, **options)
  (tmp_path / "net.pth").write_bytes(b"")
  monkeypatch.setattr("jaxface.interop.state_dict.read_torch", lambda path, key: state)
  return import_state_dict(tmp_path / "net.pth", model, **options)


def assert_embeds(saved, x_bhwc, expected):
  embed = jax.jit(partial(saved.module.apply, train=False))
  np.testing.assert_allclose(embed(saved.variables, x_bhwc), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  ("call", "size", "change"),
  [
    (Net.tutorial, (32, 32), dict),
    (partial(Net.tutorial, bias=True, affine=False), (32, 32), dict),
    (Net.tutorial, (32, 32), partial(shuffled, first=("conv_6_sep", "conv1"))),
    (Net.blocks, (32, 48), dict),
  ],
)
def test_mobilefacenets_of_others_embed_alike(call, size, change, monkeypatch, tmp_path):
  state, x_bhwc, expected = made(call, size, width=WIDTH, embedding_size=EMBEDDING)
  said = []
  if size == (32, 48):
    state = {f"module.net.{key}": array for key, array in state.items()}
  saved = imported(monkeypatch, tmp_path, change(state), "mobilefacenet", options={"width": WIDTH}, say=said.append)
  assert saved.preprocess.size == size and saved.embedding_size == EMBEDDING
  assert saved.options == {"variant": "paper", "activation": "prelu", "embedding_size": EMBEDDING, "width": WIDTH}
  assert saved.meta["pairing"]["by"] == "order and shape"
  assert sum("stage3_unit2/depthwise/conv" in line for line in said) == 1
  assert_embeds(saved, x_bhwc, expected)


@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize("squeeze", [0, 4])
def test_ir_networks_embed_alike_by_name_and_by_order(inner, squeeze, monkeypatch, tmp_path):
  options = {"inner": inner, "squeeze": squeeze, "affine": not inner}
  state, x_bhwc, expected = made(Net.ir, **IR, **options)
  named = {f"model.{key}": array for key, array in state.items()} | {"head.kernel": np.zeros((EMBEDDING, 5), np.float32)}
  saved = imported(monkeypatch, tmp_path, by_name(named), "iresnet", in_order=False)
  assert saved.meta["pairing"]["by"] == "names" and saved.meta["pairing"]["left_out"] == ["head"]
  assert saved.options["shortcut"] == "pool" and saved.options["units"] == IR["units"]
  assert_embeds(saved, x_bhwc, expected)
  # The dense layer's rows are those of C, H, W: in another order the same shapes give other embeddings.
  other = imported(monkeypatch, tmp_path, by_name(named), "iresnet", in_order=False, flatten="hwc")
  embed = jax.jit(partial(other.module.apply, train=False))
  assert np.abs(embed(other.variables, x_bhwc) - expected).max() > 0.1
  again = to_state_dict(saved)
  for key, array in state.items():
    np.testing.assert_array_equal(again[key], array)

  renamed = {key.replace("body", "trunk").replace("res_layer", "residual"): array for key, array in state.items()}
  saved = imported(monkeypatch, tmp_path, renamed, "iresnet")
  assert saved.meta["pairing"]["by"] == "order and shape"
  assert_embeds(saved, x_bhwc, expected)


def test_columns_in_another_order_are_turned(monkeypatch, tmp_path):
  state, x_bhwc, expected = made(Net.ir, **IR, inner=True)
  weight = state["output_layer.3.weight"]
  height, width = SIZE[0] // 16, SIZE[1] // 16
  for flatten, axes in (("hwc", (0, 2, 3, 1)), ("whc", (0, 3, 2, 1))):
    turned = weight.reshape(EMBEDDING, -1, height, width).transpose(axes).reshape(weight.shape)
    saved = imported(monkeypatch, tmp_path, {**state, "output_layer.3.weight": turned}, "iresnet", flatten=flatten)
    assert_embeds(saved, x_bhwc, expected)


@pytest.mark.sweep
def test_order_that_no_shape_shows_is_refused_until_names_say_it(monkeypatch, tmp_path):
  state, x_bhwc, expected = made(Net.tutorial, width=WIDTH, embedding_size=EMBEDDING)
  options = {"options": {"width": WIDTH}}
  # Four units and one unit of the same shapes: by name, the four come first.
  with pytest.raises(WrongWeights, match=r"two orders of the file's layers fit.*'conv_3\..*'conv_23\..*--names"):
    imported(monkeypatch, tmp_path, by_name(state), "mobilefacenet", in_order=False, **options)
  names = {"conv_23": "stage1_unit1"}
  saved = imported(monkeypatch, tmp_path, by_name(state), "mobilefacenet", in_order=False, names=names, **options)
  assert_embeds(saved, x_bhwc, expected)
  with pytest.raises(WrongWeights, match="no layer or module 'conv_99' in the file"):
    imported(monkeypatch, tmp_path, state, "mobilefacenet", names={"conv_99": "stage1_unit1"}, **options)
  with pytest.raises(WrongWeights, match="no layer or module 'stage9' in the network"):
    imported(monkeypatch, tmp_path, state, "mobilefacenet", names={"conv_23": "stage9"}, **options)
  with pytest.raises(WrongWeights, match=r"'conv_34' .* does not match 'stage1_unit1'"):
    imported(monkeypatch, tmp_path, state, "mobilefacenet", names={"conv_34": "stage1_unit1"}, **options)


def test_a_classifier_is_left_out_and_more_is_refused(monkeypatch, tmp_path):
  state, x_bhwc, expected = made(Net.tutorial, width=WIDTH, embedding_size=EMBEDDING)
  options = {"options": {"width": WIDTH}}
  more = {**state, "prob.weight": np.zeros((5, EMBEDDING), np.float32)}
  said = []
  saved = imported(monkeypatch, tmp_path, more, "mobilefacenet", say=said.append, **options)
  assert saved.meta["pairing"]["left_out"] == ["prob"] and any("skipped" in line for line in said)
  assert_embeds(saved, x_bhwc, expected)
  inside = {f"net.{key}": array for key, array in state.items()} | {"neck.weight": np.zeros((4, 3, 3, 3), np.float32)}
  with pytest.raises(WrongWeights, match=r"the file contains more: neck \(conv \(4, 3, 3, 3\)\).*--key"):
    imported(monkeypatch, tmp_path, inside, "mobilefacenet", **options)
  saved = imported(monkeypatch, tmp_path, inside, "mobilefacenet", names={"neck": ""}, **options)
  assert_embeds(saved, x_bhwc, expected)


def test_what_only_a_comparison_tells_is_named(monkeypatch, tmp_path):
  state, _, _ = made(Net.tutorial, width=WIDTH, embedding_size=EMBEDDING)
  plain = {key: array for key, array in state.items() if "prelu" not in key}
  with pytest.raises(Ambiguous, match=r"activation \(relu or relu6\) of mobilefacenet.*--option.*--check") as error:
    imported(monkeypatch, tmp_path, plain, "mobilefacenet", options={"width": WIDTH})
  assert [choice["activation"] for choice in error.value.choices] == ["relu", "relu6"]
  saved = imported(monkeypatch, tmp_path, plain, "mobilefacenet", options={"width": WIDTH, "activation": "relu6"})
  assert saved.options["activation"] == "relu6"


def test_inserted_names_of_compiled_modules_are_dropped(monkeypatch, tmp_path):
  state, x_bhwc, expected = made(Net.ir, **IR, inner=True)
  for prefix in ("module._orig_mod.", "_orig_mod.model.backbone.", "state_dict.module."):
    wrapped = {prefix + key.replace("body.", "body._orig_mod."): array for key, array in state.items()}
    saved = imported(monkeypatch, tmp_path, wrapped, "iresnet")
    assert saved.meta["pairing"]["by"] == "names"
    assert_embeds(saved, x_bhwc, expected)
  with pytest.raises(WrongWeights, match="not unique without the parts of wrappers"):
    imported(monkeypatch, tmp_path, {"a.weight": np.zeros(2), "_orig_mod.a.weight": np.zeros(2)}, "iresnet")


def test_a_foreign_file_says_what_it_holds_and_what_comes_nearest(monkeypatch, tmp_path):
  state, _, _ = made(Net.tutorial, (16, 16), width=1, embedding_size=128)
  with pytest.raises(WrongWeights) as error:
    imported(monkeypatch, tmp_path, state, "sphereface4")
  for words in ("no order of its layers fits sphereface4", "49 convolutions, 1 matrices, 50 batch norms, 33 PReLU slopes",
                "input channels 3 (conv1.conv", "embedding size 128 (linear (matrix (128, 512)))",
                "nearest known network is mobilefacenet:"):
    assert words in str(error.value)


def test_the_command_prints_the_table_and_takes_names(tmp_path, capsys):
  state, x_bhwc, expected = made(Net.tutorial, width=WIDTH, embedding_size=EMBEDDING)
  write(tmp_path / "net.safetensors", by_name(state))
  (tmp_path / "names.tsv").write_text("# theirs\tours\nconv_23\tstage1_unit1\n")
  (tmp_path / "names.json").write_text('{"linear.weight": "params/embedding/conv/kernel", "conv_23": "stage1_unit1"}')
  (tmp_path / "bad.tsv").write_text("conv_23 stage1_unit1\n")
  command = ["import", str(tmp_path / "net.safetensors"), "--model", "mobilefacenet", "--option", f"width={WIDTH}",
             "--out", str(tmp_path / "model")]
  assert main([*command, "--names", str(tmp_path / "bad.tsv")]) == 2
  assert "bad.tsv, line 1" in capsys.readouterr().err
  assert main([*command, "--names", str(tmp_path / "names.tsv"), "--colour", "bgr"]) == 0
  first = load_model(tmp_path / "model").variables
  assert main([*command, "--names", str(tmp_path / "names.json"), "--colour", "bgr"]) == 0
  out = capsys.readouterr().out
  assert "conv_4.model.2.conv_dw.bn" in out and "stage3_unit3/depthwise/norm" in out
  saved = load_model(tmp_path / "model")
  assert saved.preprocess.colour == "bgr"
  assert saved.meta["pairing"]["by"] == "order and shape, and given names"
  chex.assert_trees_all_equal(saved.variables, first)
  assert_embeds(saved, x_bhwc, expected)


@pytest.mark.parametrize("suffix", [".PTH", ".ckpt", ".pth.tar", ".bin", ".Pt"])
def test_suffixes_of_trainers_are_read(suffix, monkeypatch, tmp_path, capsys):
  state, x_bhwc, expected = made(Net.ir, **IR, inner=True)
  monkeypatch.setattr("jaxface.interop.state_dict.read_torch", lambda path, key: state)
  (tmp_path / f"net{suffix}").write_bytes(b"")
  assert main(["import", str(tmp_path / f"net{suffix}"), "--model", "iresnet", "--out", str(tmp_path / "model")]) == 0
  assert_embeds(load_model(tmp_path / "model"), x_bhwc, expected)
