"""Every subcommand against what users give by mistake: one message, exit code 2, no traceback."""

import io

import numpy as np
import pytest

from jaxface.commands.main import COMMANDS, main
from jaxface.formats.embeddings import Embeddings, write_embeddings
from jaxface.formats.images import encode_jpeg
from jaxface.interop.state_dict import export_state_dict
from jaxface.models.saved import load_model, save_model
from tfrecords_tools.__main__ import COMMANDS as TOOLS
from tfrecords_tools.__main__ import main as tools


@pytest.fixture(scope="module")
def good(tmp_path_factory, random_model):
  """Small things of every kind that are as they should be, and some that are not."""
  folder = tmp_path_factory.mktemp("good")
  for person in range(4):
    (folder / "faces" / f"p{person}").mkdir(parents=True)
    for image in range(2):
      pixels = np.random.default_rng(10 * person + image).integers(0, 256, (16, 16, 3), dtype=np.uint8)
      (folder / "faces" / f"p{person}" / f"{image}.jpg").write_bytes(encode_jpeg(pixels))
  assert tools(["pack", str(folder / "faces"), str(folder / "records"), "--processes", "1"]) == 0
  names = [f"p{person}/{image}" for person in range(4) for image in range(2)]
  embedding_nd = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
  write_embeddings(str(folder / "e.npz"), Embeddings(embedding_nd, names, np.arange(8) // 2, {}))
  (folder / "pairs.txt").write_text("left\tright\tsame\tfold\np0/0\tp0/1\t1\t0\np1/0\tp2/1\t0\t0\np1/0\tp1/1\t1\t1\np2/0\tp3/1\t0\t1\n")
  save_model(folder / "model", random_model("smallresnet", patch=2, widths=(4, 8), units=(1, 0), embedding_size=4))
  export_state_dict(load_model(folder / "model"), folder / "x.safetensors")
  return folder


@pytest.fixture
def bad(good, tmp_path):
  """Paths that are wrong in their own way, by name; new for each test, so that none can be written over."""
  (tmp_path / "empty").mkdir()
  (tmp_path / "folder").mkdir()
  (tmp_path / "folder" / "notes.txt").write_text("not what was asked for")
  made = {"missing": tmp_path / "missing", "folder": tmp_path / "folder", "empty folder": tmp_path / "empty"}
  for suffix in (".npz", ".parquet", ".json", ".txt", ".onnx", ".safetensors", ".pt", ".pth", ".py", ".jpg", ""):
    for kind, content in (("empty", b""), ("text", b"not what was asked for\n"), ("bytes", bytes(range(256)) * 8)):
      path = tmp_path / f"{kind}_file{suffix}"
      path.write_bytes(content)
      made[f"{kind} {suffix or 'no suffix'}"] = path
    folder = tmp_path / f"a_folder{suffix}"
    folder.mkdir()
    made[f"folder {suffix or 'no suffix'}"] = folder
    made[f"missing {suffix or 'no suffix'}"] = tmp_path / f"missing{suffix}"
  buffer = io.BytesIO()
  np.savez(buffer, other=np.zeros(3))
  made["npz of something else"] = tmp_path / "other.npz"
  made["npz of something else"].write_bytes(buffer.getvalue())
  made["cut npz"] = tmp_path / "cut.npz"
  made["cut npz"].write_bytes((good / "e.npz").read_bytes()[:300])
  made["npz of objects"] = tmp_path / "objects.npz"
  np.savez(made["npz of objects"], embedding=np.array([{}], object), names=np.array([{}], object))
  return made


# Command lines with one hole each, `{}`; `@x` is a thing of `good`.
LINES = [
  "embed --model {} --images @faces --out out.npz",
  "embed --model @model --images {} --out out.npz",
  "embed --model @model --records {} --out out.npz",
  "evaluate --pairs {} --embeddings @e.npz",
  "evaluate --pairs @pairs.txt --embeddings {}",
  "evaluate --pairs @pairs.txt --embeddings @e.npz --normalise {}",
  "evaluate --pairs @pairs.txt --embeddings @e.npz --verifier {}",
  "verifier fit joint-bayesian --embeddings {} --out out.npz",
  "verifier show {}",
  "leaks --train {} --test @faces",
  "leaks --train @faces --test {}",
  "evaluate --pairs @pairs.txt --model @model --images {}",
  "evaluate --all-pairs --embeddings {}",
  "evaluate --pairs @pairs.txt --embeddings @e.npz --compare {}",
  "report {}",
  "report --sweep {}",
  "sweep --model {} --images @faces --pairs @pairs.txt --out out --jpeg 50",
  "sweep --model @model --images {} --pairs @pairs.txt --out out --jpeg 50",
  "sweep --model @model --images @faces --pairs {} --out out --jpeg 50",
  "slices --embeddings {} --pairs @pairs.txt --table @pairs.txt --by same",
  "slices --embeddings @e.npz --pairs @pairs.txt --table {} --by same",
  "threshold --far 0.1 --all-pairs --embeddings {}",
  "threshold --far 0.1 --pairs {} --embeddings @e.npz",
  "threshold --far 0.1 --all-pairs --embeddings @e.npz --write {}",
  "search {} @e.npz",
  "search @e.npz {}",
  "patches select --embeddings {} --pairs @pairs.txt --out out",
  "patches groups {} --workdir w",
  "papers --keep {}",
  "detect {}",
  "detect @faces --model {}",
  "align {} out",
  "align @faces out --frontal {}",
  "compare {} @faces/p0/0.jpg --model @model --threshold 0.5",
  "compare @faces/p0/0.jpg @faces/p0/1.jpg --model {} --threshold 0.5",
  "enrol people.gallery {} --model @model",
  "enrol {} @faces --model @model",
  "identify {} @faces/p0/0.jpg --model @model --threshold 0.5",
  "identify people.gallery {} --model @model --threshold 0.5",
  "cluster {} --model @model --threshold 0.5",
  "export --model {} --out out.onnx",
  "use {}",
  "push {} pushed",
  "pull {} out",
  "export --model {} --format safetensors --out out.safetensors",
  "export --model @model --precision int8 --calibrate {} --out out.onnx",
  "import {} --model iresnet18 --out out",
  "import {} --out out",
  "models --network {}",
  "doctor --cluster {}",
  "models {}",
  "plan {} --topology gpu:h100x8",
  "plan quickstart --topology gpu:h100x8 --data.records {}",
  "train {}",
  "train quickstart --network {} --workdir w",
  "train digits --data folder --folder {} --workdir w",
  "train hogsvm --faces {} --no_faces @faces --workdir w",
  "train ddfd --photos {} --workdir w",
  "train faceness --photos {} --workdir w",
  "train lbpsvr --photos @faces --annotations {} --workdir w",
  "train cascade --photos @faces --annotations {} --workdir w",
  "train sdm --photos @faces --annotations {} --workdir w",
  "train quickstart --data.records {} --workdir w",
  "train quickstart --data.images {} --workdir w --data.size 16",
  "train quickstart --model.init_from {} --workdir w --data.synthetic.identities 10",
  "train quickstart --evaluation.0.pairs {} --evaluation.0.records @records --data.records @records --workdir w",
  "train quickstart --data.records @records --data.order triplets --data.embeddings {} --terms.0 triplet --batch_size 6"
  " --model.size 16 --data.holdout 0 --evaluation= --export none --workdir w",
]
TOOL_LINES = [
  "unpack_bin {} out",
  "pack {} out",
  "import_recordio {} out",
  "pack @faces out --layout list --list {}",
  "pack @faces out --layout flat --list {}",
  "pack @faces out --leave-out {}",
  "clean intake {} --out out --boxes @pairs.txt",
  "clean duplicates {}",
  "clean rank @faces --keep 1 --embeddings {} --work out",
  "clean blocks @faces --decisions {} --work out",
  "clean list {}",
  "verify {}",
  "stats {}",
  "reshard {} new --shards 1",
  "export {} out",
]


def filled(line, hole, good):
  words = [str(good / word[1:]) if word.startswith("@") else word for word in line.split()]
  return [word.replace("{}", str(hole)) for word in words]


def check(call, arguments, capsys, name):
  try:
    code = call(arguments)
  except SystemExit as stop:  # argparse
    code = stop.code
  shown = capsys.readouterr()
  assert code in (1, 2), (name, code, shown.out[-300:], shown.err[-300:])
  message = (shown.err + shown.out).strip()
  assert message and "Traceback" not in message, (name, message)
  assert len(shown.err.strip().splitlines()[-1]) < 1000, (name, shown.err)


@pytest.mark.parametrize("line", LINES)
def test_a_wrong_path_is_answered_in_a_message(line, good, bad, capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name, path in bad.items():
    check(main, filled(line, path, good), capsys, f"{line} with {name}")


@pytest.mark.parametrize("line", TOOL_LINES)
def test_a_wrong_path_is_answered_by_the_tools_too(line, good, bad, capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name, path in bad.items():
    check(tools, filled(line, path, good), capsys, f"{line} with {name}")


def test_every_command_is_walked():
  walked = {line.split()[0] for line in LINES}
  # These take no path that is read.
  assert walked | {"synthesize", "experiments"} == set(COMMANDS)
  assert {line.split()[0] for line in TOOL_LINES} | {"toy"} == set(TOOLS)


# What is written cannot be: below a file, or where a folder stands.
OUTS = [
  (main, "embed --model @model --images @faces --out {}.npz"),
  (main, "embed --model @model --images @faces --out {}.parquet"),
  (main, "export --model @model --out {}.onnx"),
  (main, "export --model @model --out {}.safetensors"),
  (main, "export --model @model --out {}.stablehlo"),
  (main, "import @x.safetensors --out {}"),
  (main, "train quickstart --workdir {}"),
  (main, "evaluate --pairs @pairs.txt --embeddings @e.npz --json {}"),
  (main, "verifier fit cosine --embeddings @e.npz --out {}.npz"),
  (main, "synthesize {} --identities 1 --images 1 --size 16"),
  (tools, "pack @faces {}"),
  (tools, "reshard @records {} --shards 1"),
  (tools, "export @records {}"),
  (tools, "stats @records --svg {}"),
  (tools, "stats @records --html {}"),
]


@pytest.mark.parametrize(("call", "line"), OUTS, ids=[line for _, line in OUTS])
def test_a_place_that_cannot_be_written_is_named(call, line, good, tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "file").write_text("in the way")
  check(call, filled(line, tmp_path / "file" / "below", good), capsys, line)
  assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize(
  "line",
  [
    "synthesize out --identities 0", "synthesize out --images -1", "synthesize out --size 0", "synthesize out --size -5",
    "synthesize out --seed -1", "embed --model x --images y --out z.npz --batch-size 0", "embed --model x --images y --out z.csv",
    "train", "train --steps 3", "train quickstart steps", "train quickstart --=3", "export --model x --out y --format coreml",
    "export --model x --out y.safetensors --normalize", "export --model x --out y.onnx --precision int8", "evaluate", "frobnicate", "import x.zip --out y --model iresnet18",
    "train quickstart --export tflite", "train quickstart --optimizer.learning_rate nan", "models nothing*",
    "import x.onnx --model resnet --out y",
  ],
)
def test_wrong_words_are_answered_in_a_message(line, capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  check(main, line.split(), capsys, line)


@pytest.mark.parametrize(
  "line",
  ["pack", "pack a b --size 0", "pack a b --size x", "pack @faces out --shard-mb 0", "pack @faces out --shard-mb nan",
   "pack @faces out --processes 0", "pack @faces out --processes -3", "pack @faces out --size 99999", "pack @faces out --layout list",
   "pack @faces out --template none9", "reshard @records new --shards 0", "reshard @records new --shards 9999", "frobnicate"],
)
def test_wrong_words_are_answered_by_the_tools_too(line, good, capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  check(tools, filled(line, "", good), capsys, line)
