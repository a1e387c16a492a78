"""The files of docs/own_parts.md, each as it stands there: trained, embedded with, evaluated and exported by the commands."""

import json
import re
from pathlib import Path

import pytest

from jaxface.commands.main import main
from jaxface.formats.embeddings import read_embeddings
from jaxface.training.config import load_experiment

PAGE = Path(__file__).parents[2] / "docs" / "own_parts.md"
pytestmark = [
  pytest.mark.skipif(not PAGE.is_file(), reason=f"NO DOCUMENTS HERE: {PAGE} was not tested"), pytest.mark.usefixtures("clean"),
]
TINY = {
  "steps": 2, "batch_size": 16, "log_every": 1, "data.size": 24, "data.holdout": 0.4, "mesh.devices": 1, "evaluation.0.every": 0,
  "schedule.warmup_steps": 0,
}
SMALL = {"model.size": 16, "model.embedding_size": 8, "model.options.widths": "4,4", "model.options.units": "1,1"}
OPTIONS = {
  "my_term.py": {**SMALL, "terms.1.weight": 0.5},
  "my_margin.py": {**SMALL, "terms.0.margin.m": 0.1},
  "my_augmentation.py": {**SMALL, "augment.own.0.strength": 0.9},
  "my_head.py": {**SMALL, "terms.0.weight": 2},
  "my_parts.py": {
    "model.options.channels": "4,4", "model.size": 16, "model.embedding_size": 8, "terms.0.margin.m": 0.1, "terms.0.power": 2,
    "augment.own.0.deviation": 2,
  },
}


def files():
  """The page's files by name."""
  page = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
  return dict(re.findall(r"^`(\w+\.py)`: [^\n]*\n\n```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE))


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
  """Ten people, and a list of pairs of them."""
  folder = tmp_path_factory.mktemp("faces")
  assert main(["synthesize", str(folder / "images"), "--identities", "10", "--images", "3", "--size", "24"]) == 0
  names = [sorted(str(path.relative_to(folder / "images")) for path in person.iterdir()) for person in sorted((folder / "images").iterdir())]
  lines = [f"{own[0]},{own[1]},1\n{own[0]},{other[2]},0\n" for own, other in zip(names, names[1:] + names[:1])]
  (folder / "pairs.csv").write_text("".join(lines))
  return folder


def test_the_page_has_a_file_of_each_kind():
  assert list(files()) == list(OPTIONS)
  assert "from __future__ import annotations" in files()["my_parts.py"]


@pytest.mark.parametrize("name", OPTIONS)
def test_a_file_of_ones_own_goes_the_whole_way(name, faces, tmp_path, capsys):
  (tmp_path / name).write_text(files()[name])
  run, given = tmp_path / "run", {**TINY, **OPTIONS[name]}
  options = [word for field, value in given.items() for word in (f"--{field}", str(value))]
  assert main(["train", str(tmp_path / name), "--data.images", str(faces / "images"), "--workdir", str(run), *options]) == 0, (
    capsys.readouterr().err
  )
  assert (run / "report.html").is_file() and len(list(run.glob("*.onnx"))) == 1
  # The model needs the file for its network alone.
  network = ["--network", str(tmp_path / name)] if name == "my_parts.py" else []
  embeddings = tmp_path / "mine.npz"
  assert main(["embed", "--model", str(run), *network, "--images", str(faces / "images"), "--out", str(embeddings)]) == 0
  assert read_embeddings(embeddings).embedding_nd.shape == (30, 8)
  assert main(["evaluate", "--pairs", str(faces / "pairs.csv"), "--embeddings", str(embeddings)]) == 0
  if network:  # the others were exported by the run, and have the same network
    assert main(["export", "--model", str(run), *network, "--out", str(tmp_path / "mine.onnx")]) == 0
  config = json.loads((run / "config.json").read_text())
  found = {field: ",".join(map(str, config[field])) if isinstance(config[field], list) else config[field] for field in OPTIONS[name]}
  assert found == OPTIONS[name]


def test_options_of_parts_and_their_defaults(tmp_path):
  for name, text in files().items():
    (tmp_path / name).write_text(text)
  experiments = {name: load_experiment(str(tmp_path / name))[0] for name in OPTIONS}
  head = experiments["my_parts.py"].with_overrides({"terms.0.margin": "arcface", "terms.0.margin.m": "0.4"}).terms[0]
  assert type(head).__name__ == "Focal" and type(head.margin).__name__ == "ArcFace" and head.margin.m == 0.4
  assert experiments["my_term.py"].terms[1].start == 10.0


BROKEN = {
  "a term": ("my_term.py", "  def init(self", "  def begin(self", r"terms\.1: my_term\.py: Ring lacks members of a term\. Add:\n  def init\(self, key"),
  "a margin": (
    "my_margin.py", "  def init_state", "  def state", r"terms\.0\.margin: my_margin\.py: Linear lacks members of a margin\. Add:\n  def init_state\(self\): return \{\}$",
  ),
  "an augmentation": (
    "my_augmentation.py", "__call__", "change", r"augment\.own\.0: my_augmentation\.py: Shade lacks members of an augmentation\. Add:\n  def __call__\(self, image_hwc, key\)",
  ),
  "an augmentation with if": (
    "my_augmentation.py", "    height, width", "    if turn_key[0] > 0: return image_hwc\n    height, width",
    r"Shade fails on an image \[112, 112, 3\], as jit and vmap call it: line 20: ",
  ),
  "a head": (
    "my_head.py", "num_classes, embedding_size, losses", "embedding_size, num_classes, losses",
    r"terms\.0: my_head\.py: Nearest: init gives \{'center_cd': \(512, 100\)\} for 100 classes and embeddings of 512; a head keeps its class"
    r" centres as center_cd \(100, 512\)",
  ),
  "a head's margin": (
    "my_parts.py", "margin: losses.Margin = field(default_factory=lambda: Soft(scale=30.0))", "margin: object = field(default_factory=Stages)",
    r"terms\.0\.margin: my_parts\.py: Stages lacks members of a margin\. Add:\n  geometry = losses\.Geometry",
  ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_part_that_breaks_its_contract_is_named_with_file_and_line(what, tmp_path, capsys):
  name, before, after, message = BROKEN[what]
  assert before in files()[name]
  (tmp_path / name).write_text(files()[name].replace(before, after))
  assert main(["train", str(tmp_path / name), "--workdir", str(tmp_path / "run")]) == 2
  error = capsys.readouterr().err.strip()
  assert re.search(message, error) and re.search(rf"{name}, line \d+: ", error) and "Traceback" not in error, error
  assert not (tmp_path / "run").exists()


def test_the_page_shows_the_message_as_it_is(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  Path("my_margin.py").write_text(files()["my_margin.py"].replace("def init_state", "def state"))
  assert main(["train", "my_margin.py"]) == 2
  assert capsys.readouterr().err in PAGE.read_text(encoding="utf-8")


def test_what_an_augmentation_computes_is_tried_before_the_first_step(faces, tmp_path, capsys):
  text = files()["my_augmentation.py"].replace("* (1 - self.strength * share", "* (1 + self.strength * share")
  (tmp_path / "bright.py").write_text(text)
  options = [word for field, value in {**TINY, **SMALL}.items() for word in (f"--{field}", str(value))]
  arguments = ["train", str(tmp_path / "bright.py"), "--data.images", str(faces / "images"), "--workdir", str(tmp_path / "run")]
  assert main([*arguments, *options]) == 2
  message = capsys.readouterr().err
  assert re.search(r"augment\.own\.0: bright\.py: Shade makes numbers in 0\.\.\d+\.?\d*; images are in 0\.\.255", message), message
