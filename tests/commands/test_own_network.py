"""A network of one's own the whole way: its file, training, the model folder, embeddings, exports, and a run that begins with it."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import flax.traverse_util
import jax
import numpy as np
import onnxruntime
import pytest

from jaxface.commands.main import main
from jaxface.formats.checked_json import read_checked_json
from jaxface.models import registry
from jaxface.models.config import ModelConfig, make_model
from jaxface.models.own import (
  BadPythonFile,
  BrokenContract,
  load_networks,
  load_python,
  own_networks,
  source_of,
)
from jaxface.models.saved import load_model, save_model
from jaxface.training.config import load_experiment

NETWORK = '''
"""A tiny network of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn

from jaxface.models.preprocess import Preprocess, get_preprocess
from jaxface.models.registry import register


@dataclass(frozen=True)
class Shape:
  """Dataclasses look their module up."""

  channels: int = 4


class Tiny(nn.Module):
  channels: int
  embedding_size: int

  convention: ClassVar[Preprocess] = get_preprocess("unit", size=16)

  @nn.compact
  def __call__(self, image_bhwc, train=False):
    x = nn.relu(nn.Conv(self.channels, (3, 3), strides=2)(image_bhwc))
    return nn.Dense(self.embedding_size)(x.reshape(x.shape[0], -1))


@register
def tiny(channels: int = Shape().channels, embedding_size: int = 8) -> nn.Module:
  """Neither dtype nor remat nor dropout: they are optional."""
  return Tiny(channels, embedding_size)
'''

EXPERIMENT = '''
"""A run of seconds with a network of one's own."""

from __future__ import annotations

from dataclasses import dataclass

from jaxface.data.config import DataConfig, SyntheticConfig
from jaxface.heads.classification import Classification
from jaxface.losses.margins import CosFace
from jaxface.models.config import ModelConfig
from jaxface.training.config import Experiment, MeshConfig


@dataclass(frozen=True)
class Sizes:
  steps: int = 2


EXPERIMENT = Experiment(
  name="own", steps=Sizes().steps, batch_size=8, log_every=1,
  data=DataConfig(synthetic=SyntheticConfig(identities=8, images_per_identity=4, size=20)),
  model=ModelConfig("tiny", options={"channels": 6}), terms=(Classification(CosFace(scale=16.0)),),
  mesh=MeshConfig(devices=1), export="onnx",
)
'''


def forget():
  registry._BUILDERS.pop("tiny", None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, kept_registry):
  """A network, an experiment, and a run of both."""
  folder = tmp_path_factory.mktemp("own")
  (folder / "tiny.py").write_text(NETWORK)
  (folder / "own.py").write_text(EXPERIMENT)
  arguments = ["train", str(folder / "own.py"), "--network", str(folder / "tiny.py"), "--workdir", str(folder / "run")]
  with kept_registry():
    assert main(arguments) == 0
  return folder


def test_the_model_folder_keeps_the_source_and_its_digest(folder):
  model = folder / "run" / "model"
  (entry,) = json.loads((model / "model.json").read_text())["networks"]
  text = (model / "network_tiny.py").read_bytes()
  assert text == (folder / "tiny.py").read_bytes()
  assert entry == {"name": "tiny", "file": "network_tiny.py", "sha256": hashlib.sha256(text).hexdigest(), "original": "tiny.py"}
  assert "licence" in (model / "card.md").read_text()


@pytest.mark.parametrize("command", ["embed", "export", "train", "import"])
def test_without_the_file_every_command_says_which_to_give(folder, tmp_path, capsys, command, clean):
  model = folder / "run" / "model"
  (tmp_path / "marker.py").write_text("")
  arguments = {
    "embed": ["embed", "--model", str(folder / "run"), "--images", str(tmp_path), "--out", str(tmp_path / "x.npz")],
    "export": ["export", "--model", str(model), "--out", str(tmp_path / "x.onnx")],
    "train": ["train", "folder", "--model.init_from", str(model), "--workdir", str(tmp_path / "w"),
              "--data.synthetic.identities", "8", "--evaluation", ""],
    "import": ["import", "x.safetensors", "--model", "tiny", "--out", str(tmp_path / "y")],
  }[command]
  if command == "import":
    from jaxface.interop.state_dict import export_state_dict

    load_networks(folder / "tiny.py")
    export_state_dict(load_model(model), tmp_path / "x.safetensors")
    forget()
    arguments[1] = str(tmp_path / "x.safetensors")
  assert main(arguments) == 2
  message = capsys.readouterr().err
  assert "'tiny'" in message and "--network" in message and "Traceback" not in message
  if command != "import":
    assert f"--network {model / 'network_tiny.py'}" in message


def test_loading_a_folder_executes_nothing(folder, tmp_path, clean):
  import shutil

  model = tmp_path / "model"
  shutil.copytree(folder / "run" / "model", model)
  (model / "network_tiny.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n" + NETWORK)
  with pytest.raises(ValueError, match="not executed automatically"):
    load_model(model)
  assert not (tmp_path / "executed").exists()


def test_with_the_file_it_embeds_and_exports_and_comes_back(folder, tmp_path, clean, capsys):
  model = folder / "run" / "model"
  network = ["--network", str(model / "network_tiny.py")]
  assert main(["synthesize", str(tmp_path / "faces"), "--identities", "2", "--images", "2", "--size", "20"]) == 0
  assert main(["embed", "--model", str(model), *network, "--images", str(tmp_path / "faces"), "--out", str(tmp_path / "x.npz")]) == 0
  forget()
  assert main(["export", "--model", str(model), *network, "--out", str(tmp_path / "x.onnx")]) == 0
  saved = load_model(model)
  image_bhwc = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)
  found_bd = onnxruntime.InferenceSession(str(tmp_path / "x.onnx")).run(["embedding"], {"image": image_bhwc})[0]
  np.testing.assert_allclose(found_bd, saved.embed(saved.variables, image_bhwc), atol=1e-5)
  assert (folder / "run" / "own.onnx").is_file()
  assert main(["export", "--model", str(model), "--out", str(tmp_path / "x.safetensors")]) == 0
  assert main(["import", str(tmp_path / "x.safetensors"), "--out", str(tmp_path / "again")]) == 0
  before, after = (flax.traverse_util.flatten_dict(load_model(path).variables) for path in (model, tmp_path / "again"))
  for place, array in before.items():
    assert np.asarray(array).tobytes() == np.asarray(after[place]).tobytes()
  assert main(["models", "tiny"]) == 0
  assert "Dense_0" in capsys.readouterr().out


def test_a_run_begins_with_it_and_keeps_what_it_was_made_from(folder, tmp_path, clean):
  assert main(["train", str(folder / "own.py"), "--network", str(folder / "tiny.py"), "--model.init_from", str(folder / "run"),
               "--workdir", str(tmp_path / "second")]) == 0
  lineage = load_model(tmp_path / "second").meta["lineage"]
  assert [entry["name"] for entry in lineage] == ["synthetic faces"]  # of both runs, named once


def test_a_network_inside_another_is_kept_too(clean, folder):
  load_networks(folder / "tiny.py")
  assert own_networks("projected", {"backbone": "tiny"}) == ["tiny"]
  assert registry.create("projected", backbone="tiny").convention.size == (16, 16)
  assert own_networks("projected", {"backbone": "smallresnet"}) == [] and source_of("smallresnet") is None


def test_another_text_under_the_same_name_is_said(folder, tmp_path, clean, caplog):
  (tmp_path / "tiny.py").write_text(NETWORK.replace("nn.relu", "nn.gelu"))
  load_networks(tmp_path / "tiny.py")
  load_model(folder / "run")
  assert "another version" in caplog.text and "network_tiny.py" in caplog.text


def test_a_kill_before_the_description_leaves_the_source_of_the_model_that_counts(folder, tmp_path, clean, monkeypatch):
  load_networks(folder / "tiny.py")
  model = tmp_path / "model"
  save_model(model, load_model(folder / "run"))
  (tmp_path / "tiny.py").write_text(NETWORK.replace("nn.relu", "nn.gelu"))

  def kept():
    (entry,) = json.loads((model / "model.json").read_text())["networks"]
    text = (model / entry["file"]).read_bytes()
    assert entry["sha256"] == hashlib.sha256(text).hexdigest()
    return text.decode()

  def killed(*arguments):
    raise KeyboardInterrupt

  saved = load_model(model)
  forget()
  load_networks(tmp_path / "tiny.py")
  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr("jaxface.models.saved.write_checked_json", killed)
    save_model(model, saved)
  assert kept() == NETWORK and len(list(model.glob("network_*"))) == 2
  (model / "network_of_mine.py").write_text("")
  for path in (tmp_path, folder, tmp_path):  # there, back, and there again
    forget()
    load_networks(path / "tiny.py")
    save_model(model, saved)
    assert kept() == (path / "tiny.py").read_text()
    assert len(list(model.glob("network_tiny*"))) == 1 and (model / "network_of_mine.py").is_file()
  forget()
  (copy,) = model.glob("network_tiny*")
  with pytest.raises(ValueError, match=f"--network {copy}"):
    load_model(model)
  plain = read_checked_json(model / "model.json")
  plain["networks"][0]["file"] = "../tiny.py"
  (model / "model.json").write_text(json.dumps(plain))
  with pytest.raises(ValueError, match="entry 'networks' is"):
    load_model(model)


def test_imports_that_the_copy_loses_are_said(folder, tmp_path, clean, monkeypatch, caplog):
  (tmp_path / "my_blocks").mkdir()
  (tmp_path / "my_blocks" / "conv.py").write_text("")
  (tmp_path / "my_sizes.py").write_text("CHANNELS = 4\n")
  more = "\nimport flax, json\nimport my_blocks.conv\nfrom my_sizes import CHANNELS\n\n\ndef later():\n  from . import my_later\n\n\n"
  (tmp_path / "tiny.py").write_text(NETWORK.replace("\n\n@dataclass", more + "@dataclass", 1))
  (tmp_path / "flax.py").write_text("")  # not the one that is imported
  monkeypatch.syspath_prepend(str(tmp_path))
  load_networks(tmp_path / "tiny.py")
  saved = load_model(folder / "run")
  caplog.clear()
  save_model(tmp_path / "model", saved)
  assert "imports my_blocks, my_sizes, .my_later from its own folder, which the model folder does not store" in caplog.text
  forget()
  load_networks(folder / "tiny.py")
  caplog.clear()
  save_model(tmp_path / "model", saved)
  assert "own folder" not in caplog.text


def test_an_option_that_it_does_not_take_is_refused_by_name(folder, clean):
  load_networks(folder / "tiny.py")
  assert make_model(ModelConfig("tiny"))[1] == {}
  with pytest.raises(ValueError, match=r"no option of tiny 'dtype'.*channels, embedding_size"):
    make_model(ModelConfig("tiny", dtype="bfloat16"))


def test_an_experiment_may_be_read_twice_and_edited_between(tmp_path, clean):
  path = tmp_path / "both.py"
  path.write_text(NETWORK.replace('"""A tiny network', 'x = """A tiny network').replace("from __future__ import annotations", "", 1)
                  + EXPERIMENT.replace("from __future__ import annotations", ""))
  assert load_experiment(str(path))[0].steps == 2
  path.write_text(path.read_text().replace("steps: int = 2", "steps: int = 3"))
  assert load_experiment(str(path))[0].steps == 3


CHANGES = {
  "convention": (('  convention: ClassVar[Preprocess] = get_preprocess("unit", size=16)\n', ""), r"class Tiny has no convention.*`convention: ClassVar"),
  "wrong convention": (('get_preprocess("unit", size=16)\n\n  @nn', '"unit"\n\n  @nn'), "expected a Preprocess.*write `convention: ClassVar"),
  "no default": (("channels: int = Shape().channels", "channels: int"), "option 'channels' has no default: write"),
  "keywords": (("embedding_size: int = 8)", "embedding_size: int = 8, **more)"), "write its options out"),
  "no train": (("image_bhwc, train=False", "image_bhwc"), r"tiny.*unexpected keyword argument 'train'.*`def __call__\(self, image_bhwc, train=False\)`"),
  "shape": (("x.reshape(x.shape[0], -1)", "x"), r"gives float32 \[2, 8, 8, 8\].*expected floats \[2, D\]"),
  "size": (("nn.Dense(self.embedding_size)", "nn.Dense(3)"), "gives embeddings of 3, but its option embedding_size is 8"),
  "no module": (("return Tiny(channels, embedding_size)", "return Tiny"), r"returns a .*expected a flax.linen.Module"),
  "collection": (("    x = nn.relu", "    self.variable('cache', 'n', lambda: image_bhwc.sum())\n    x = nn.relu"), "keeps variables in 'cache'"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_broken_contract_gives_the_line_to_add(change, tmp_path, clean, capsys):
  (before, after), message = CHANGES[change]
  assert before in NETWORK
  (tmp_path / "tiny.py").write_text(NETWORK.replace(before, after))
  with pytest.raises((BrokenContract, BadPythonFile), match=f"(?s){message}"):
    load_networks(tmp_path / "tiny.py")
  assert "tiny" not in registry.list_models()
  assert main(["models", "--network", str(tmp_path / "tiny.py")]) == 2
  assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("x = (\n", r"bad.py, line \d+: SyntaxError"),
    ("\n\nx = 1 / 0\n", r"bad.py, line 3: ZeroDivisionError"),
    ("import nothing_of_that_name\n", "bad.py, line 1: ModuleNotFoundError"),
    ("x = 1\n", "bad.py: registers no network: put the line `@register`"),
    (NETWORK.replace("def tiny", "def iresnet50"), "network name 'iresnet50' is already registered in .*jaxface.models.iresnet"),
  ],
)
def test_a_bad_file_is_named_with_its_line(text, message, tmp_path, clean):
  (tmp_path / "bad.py").write_text(text)
  before = set(sys.modules)
  with pytest.raises(BadPythonFile, match=message):
    load_networks(tmp_path / "bad.py")
  if "registers no network" not in message:  # then it was executed, and only its networks are missing
    assert not [name for name in set(sys.modules) - before if name.startswith("jaxface_file_")]


@pytest.mark.parametrize(("name", "error"), [("nowhere.py", FileNotFoundError), ("tiny.txt", BadPythonFile)])
def test_only_python_files_are_executed(name, error, tmp_path):
  (tmp_path / "tiny.txt").write_text("raise SystemExit")
  with pytest.raises(error, match=name):
    load_python(tmp_path / name)


def test_a_model_made_in_a_notebook_says_that_it_has_no_file(tmp_path):
  code = NETWORK.replace("from __future__ import annotations\n", "") + f'''
import jax, jax.numpy as jnp
from jaxface.models.saved import SavedModel, save_model
module = tiny()
variables = module.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=False)
save_model({str(tmp_path / "model")!r}, SavedModel("tiny", {{}}, Tiny.convention, dict(variables)))
'''
  subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], timeout=200)
  with pytest.raises(ValueError, match=r"'tiny', which was defined in no file.*--network FILE"):
    load_model(tmp_path / "model")


def test_the_documented_network_keeps_its_own_contract(tmp_path, clean):
  file = Path(__file__).parents[2] / "docs" / "own_network.md"
  if not file.is_file():  # tests of an installed package have no checkout around them
    pytest.skip(f"NO DOCUMENTS HERE: {file} was not tested")
  page = file.read_text()
  code = page.split("```python\n")[1].split("```")[0]
  (tmp_path / "documented.py").write_text(code)
  (name,) = load_networks(tmp_path / "documented.py")
  module = registry.create(name)
  image_bhwc = np.zeros((1, *module.convention.size, 3), np.float32)
  variables = jax.eval_shape(lambda: module.init(jax.random.key(0), image_bhwc, train=False))
  assert set(variables) <= {"params", "batch_stats"}
