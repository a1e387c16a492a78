"""Every command is a shell over one public function: it hands on what it was given, and does no work of its own."""

import importlib
from pathlib import Path

import pytest

from jaxface.commands.main import COMMANDS, main
from jaxface.training.config import MeshConfig
from tfrecords_tools.__main__ import COMMANDS as TOOLS
from tfrecords_tools.__main__ import main as tools

# command line: public function, some of what it is called with
SHELLS = {
  "train quickstart --workdir w --small --steps 3": ("jaxface.train", ("quickstart", "w"), {"small": True, "overrides": {"steps": "3"}}),
  "plan quickstart --topology cpu:8 --identities 9 --price 2 --estimate --out o --steps 3": (
    "jaxface.planning.plan_run", ("quickstart", "cpu:8"), {"identities": 9, "price": 2.0, "compiling": False, "out": "o", "overrides": {"steps": "3"}}
  ),
  "embed --model m --images i --out o.npz --raw --devices 2 --projector p": (
    "jaxface.inference.embed_faces", (None, "i", "o.npz"), {"raw": True, "devices": 2, "projector": "p"}
  ),
  "embed --model m --images i --out o.parquet --part-size 9 --host 1/3": (
    "jaxface.inference.embed_in_parts", (None, "i", "o.parquet"), {"part_size": 9, "host": 1, "hosts": 3, "mirror": "sum"}
  ),
  "evaluate --pairs p --embeddings e --json j --skip-missing": ("jaxface.evaluation.evaluate", ("e", "p"), {"out": "j", "skip_missing": True}),
  "evaluate --pairs p --model m --images i --save s --title t": (
    "jaxface.inference.evaluate_model", ("m", "i", "p"), {"save": "s", "title": "t", "mirror": "sum"}
  ),
  "report a.npz --out r --sweep s --card c": ("jaxface.pipeline.report_files", (["a.npz"], "r"), {"sweeps": ["s"], "card": "c"}),
  "sweep --model m n --images i --pairs p --out o --jpeg 10,20 --pca --by flops": (
    "jaxface.pipeline.sweep", (["m", "n"], "i", "p", "o"), {"axes": {"jpeg": (10, 20), "pca": None}, "by": ("flops",), "degrade": "both"}),
  "slices --embeddings e --pairs p --table t.csv --by sex,age --edges age=20,40": (
    "jaxface.pipeline.slices", ("e", "p", ("sex", "age")), {"table": "t.csv", "edges": {"age": (20, 40)}, "images": None}),
  "threshold --far 1e-3 --all-pairs --embeddings e --write m --gallery 9": (
    "jaxface.inference.set_threshold", (1e-3, None), {"embeddings": "e", "write": "m", "gallery": 9, "searches_per_day": 5000, "mirror": None}
  ),
  "threshold --far 1e-3 --pairs p --embeddings e --verifier v --write w": (
    "jaxface.verifiers.set_verifier_threshold", ("v", 1e-3, "p"), {"embeddings": "e", "write": "w"}
  ),
  "verifier fit joint-bayesian --embeddings e --out o --components 9": (
    "jaxface.verifiers.fit_verifier", (), {"kind": "joint-bayesian", "embeddings": "e", "out": "o", "components": 9, "pair_list": None}
  ),
  "verifier lfw siamese --embeddings e --lists l --view 1 --pairs 50": (
    "jaxface.verifiers.evaluate_on_lfw", (), {"kind": "siamese", "embeddings": "e", "lists": "l", "view": 1, "pairs": 50}
  ),
  "evaluate --all-pairs --embeddings e --far 1e-3 1e-4": ("jaxface.evaluation.evaluate_all_pairs", ("e", [1e-3, 1e-4]), {"score": None, "out": None}),
  "evaluate --pairs p --embeddings e --compare f": ("jaxface.evaluation.compare_embeddings", ("e", "f", "p"), {"protocol": "pairs"}),
  "search g p --top 3": ("jaxface.evaluation.search_files", ("g", "p"), {"top": 3, "out": None}),
  "leaks --train a --test b --distance 9 --model m": ("jaxface.pipeline.find_leaks", ("a", "b"), {"distance": 9, "model": "m"}),
  "import f.pth --model m --out o --option a=1 --origin us": ("jaxface.interop.import_model", ("f.pth", "m", "o"), {"options": {"a": 1}, "origin": "us"}),
  "export --model m --out o --normalize": ("jaxface.interop.export_model", ("m", "o"), {"normalize": True, "mirror": "none"}),
  "push m p": ("jaxface.interop.push_model", ("m", "p"), {}),
  "pull p o": ("jaxface.interop.pull_model", ("p", "o"), {}),
  "synthesize o --identities 3": ("jaxface.data.synthesize", ("o",), {"identities": 3, "images": 10}),
  "align p o --which all --no-sheet": ("jaxface.pipeline.align_photos", ("p", "o"), {"which": "all", "sheet": False, "template": "arcface112"}),
  "align p o --frontal l --quality 80": ("jaxface.pipeline.align_photos", ("p", "o"), {"frontal": "l", "quality": 80, "detector": None}),
  "compare a b --model m --threshold 0.3": ("jaxface.pipeline.compare_photos", ("a", "b"), {"model": "m", "threshold": 0.3}),
  "enrol g p --model m": ("jaxface.pipeline.enrol_people", ("g", "p"), {"model": "m"}),
  "identify g p --model m --top 3": ("jaxface.pipeline.identify_photo", ("g", "p"), {"model": "m", "count": 3}),
  "cluster p --model m --linkage single": ("jaxface.pipeline.cluster_photos", ("p",), {"model": "m", "linkage": "single"}),
  "detect p --smallest 30": ("jaxface.detection.detect", (["p"], None), {"batch_size": None}),
  "use m": ("jaxface.inference.set_default_model", ("m",), {}),
  "patches select --embeddings e --pairs p --out o --count 3": ("jaxface.pipeline.select_groups", ("e", "p", "o"), {"count": 3, "groups": 1, "score": "cosine"}),
  "patches take --embeddings e --selection s --group 2 --out o": ("jaxface.pipeline.take_group", ("e", "s", "o"), {"group": 2}),
  "patches system deepid --small --workdir w --view 1": ("jaxface.pipeline.run_patch_system", ("deepid", "w"), {"small": True, "view": 1, "components": 150}),
  "patches groups deepid2_patches --small --workdir w --count 4": ("jaxface.pipeline.run_patch_groups", ("deepid2_patches", "w"), {"small": True, "count": 4, "groups": 7}),
  "papers --keep w --results r": ("jaxface.pipeline.keep_results", (["w"], "r"), {}),
  "experiments": ("jaxface.pipeline.describe_experiments", (), {}),
  "models iresnet* --dtype bfloat16": ("jaxface.models.describe", ("iresnet*",), {"dtype": "bfloat16", "measure": False}),
  "doctor": ("jaxface.pipeline.describe_installation", (), {}),
  "doctor --cluster --workdir w --expect data=9 --megabytes 2 --mesh.devices 1": (
    "jaxface.pipeline.check_cluster", (None, "w"), {"expect": {"data": 9.0}, "megabytes": 2.0, "mesh": MeshConfig(devices=1)}
  ),
}
TOOL_SHELLS = {
  "pack s o --size 112x96 --licence MIT": ("jaxface.formats.pack", ("s", "o"), {"size": (112, 96), "licence": "MIT"}),
  "pack s o --runner FlinkRunner -- --flink_master=h:1": ("jaxface.formats.pack", ("s", "o"), {"beam": ["--runner=FlinkRunner", "--flink_master=h:1"]}),
  "pack s o --beam": ("jaxface.formats.pack", ("s", "o"), {"beam": []}),
  "pack -- s o": ("jaxface.formats.pack", ("s", "o"), {"beam": None}),
  "import_recordio s o --template arcface112": ("jaxface.formats.pack", ("s", "o"), {"template": "arcface112"}),
  "clean names c --test t --count 9": ("jaxface.pipeline.clean_names", ("c", "t"), {"count": 9, "embeddings": None}),
  "clean intake p --out o --boxes b": ("jaxface.pipeline.clean_intake", ("p", "o"), {"boxes": "b", "template": "arcface112"}),
  "clean rank f --keep 9 --model m": ("jaxface.pipeline.clean_rank", ("f",), {"keep": 9, "model": "m"}),
  "clean duplicates f --distance 9 --work w": ("jaxface.pipeline.clean_duplicates", ("f",), {"distance": 9, "work": "w"}),
  "clean noise f --embeddings a b --folds l": ("jaxface.pipeline.clean_noise", ("f",), {"embeddings": ["a", "b"], "folds": "l"}),
  "clean people f --model m --accept 0.5": ("jaxface.pipeline.clean_people", ("f",), {"accept": 0.5}),
  "clean blocks f --model m": ("jaxface.pipeline.clean_blocks", ("f",), {"size": 200, "model": "m"}),
  "clean blocks f --decisions d": ("jaxface.pipeline.apply_blocks", ("f", "d"), {}),
  "clean list f --out o": ("jaxface.pipeline.clean_list", ("f", "o"), {}),
  "verify o --processes 2": ("jaxface.formats.verify_records", ("o",), {"processes": 2}),
  "stats o --svg f": ("jaxface.formats.describe_records", ("o",), {"svg": "f", "html": None}),
  "reshard o n --shards 3": ("jaxface.formats.reshard", ("o", "n", 3), {}),
  "export o d": ("jaxface.formats.unpack", ("o", "d"), {}),
  "toy lfw o --seed 3": ("jaxface.evaluation.make_toy", ("lfw", "o"), {"seed": 3}),
  "unpack_bin f o": ("jaxface.evaluation.unpack_bin", ("f", "o"), {}),
}


class Called(Exception):
  """The function of a shell was called."""


@pytest.mark.parametrize(
  ("line", "call", "commands"), [(line, main, COMMANDS) for line in SHELLS] + [(line, tools, TOOLS) for line in TOOL_SHELLS]
)
def test_a_command_calls_its_function_with_what_it_was_given(line, call, commands, monkeypatch):
  path, args, kwargs = {**SHELLS, **TOOL_SHELLS}[line]
  package, _, name = path.rpartition(".")
  module = importlib.import_module(commands[line.split()[0]][0])
  assert getattr(module, name) is getattr(importlib.import_module(package), name), f"{line} does not use {path}"

  def stop(*given, **options):
    assert given == tuple(ours if wanted is None else wanted for wanted, ours in zip(args, given, strict=True))
    assert options | kwargs == options
    raise Called

  monkeypatch.setattr(module, name, stop)
  if line.startswith("embed"):
    monkeypatch.setattr(module, "load", lambda path: path)
  if line.startswith("detect"):
    monkeypatch.setattr(module, "load_detector", lambda path, **settings: (path, settings))
    monkeypatch.setattr(module, "find_photos", lambda paths: paths)
  with pytest.raises(Called):
    call(line.split())


def test_every_command_has_its_function_and_is_short():
  assert {line.split()[0] for line in SHELLS} == set(COMMANDS) and {line.split()[0] for line in TOOL_SHELLS} == set(TOOLS)
  for path, _ in [*COMMANDS.values(), *TOOLS.values()]:
    file = Path(importlib.import_module(path).__file__)
    assert len(file.read_text().splitlines()) <= 100, f"{file} is more than parse, call, print"
