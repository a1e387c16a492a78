"""Models that are pushed and pulled: equal bytes, and every file that is missing or damaged named."""

import json
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxface.formats.checked_json import checked_text, read_checked_json
from jaxface.formats.errors import DamagedData, UnsafePath
from jaxface.interop import hub_store
from jaxface.interop.hub import LIST, pull_model, push_model
from jaxface.models.saved import load_model, save_model

fsspec = pytest.importorskip("fsspec", reason="EXTRA ABSENT: fsspec is not installed: push and pull were not tested here")


@pytest.fixture
def saved(random_model):
  model = random_model("smallresnet", patch=2, widths=(4, 8), units=(1, 0), embedding_size=4)
  model.meta["lineage"] = [{"kind": "images", "name": "faces", "licence": "CC-BY-4.0", "origin": "example.org"}]
  return model


@pytest.fixture
def model(saved, tmp_path):
  save_model(tmp_path / "run" / "model", saved)
  return tmp_path / "run"


@pytest.fixture
def memory():
  yield "memory://models/mine"
  fsspec.filesystem("memory").store.clear()


def contents(folder):
  return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_what_is_pulled_is_what_was_pushed(model, saved, memory, tmp_path, kind):
  place = memory if kind == "memory" else str(tmp_path / "there" / "mine")
  pushed = push_model(model, place)
  pulled = pull_model(place, tmp_path / "here")
  assert pulled.sha256 == pushed.sha256 and pulled.nbytes == pushed.nbytes and pulled.files == pushed.files == len(contents(tmp_path / "here"))
  jax.tree.map(np.testing.assert_array_equal, load_model(tmp_path / "here").variables, saved.variables)
  original, copy = contents(model / "model"), contents(tmp_path / "here")
  assert {name: copy[name] for name in original} == original and set(copy) - set(original) == {"README.md"}
  # A pulled model can be pushed again, and is the same.
  assert push_model(tmp_path / "here", f"{place}-again").sha256 == pushed.sha256


def test_a_model_that_is_pushed_again_replaces_the_earlier_one(model, saved, memory, tmp_path):
  push_model(model, memory)
  before = set(fsspec.filesystem("memory").find("/models/mine"))
  saved.variables["params"] = jax.tree.map(lambda leaf: leaf + 1, saved.variables["params"])
  save_model(model / "model", saved)
  push_model(model, memory)
  after = set(fsspec.filesystem("memory").find("/models/mine"))
  assert len({name.split("/")[3] for name in after if "variables" in name}) == 1 and before != after
  pull_model(memory, tmp_path / "here")
  jax.tree.map(np.testing.assert_array_equal, load_model(tmp_path / "here").variables, saved.variables)


def test_every_missing_and_damaged_file_is_named(model, tmp_path):
  place = tmp_path / "there"
  push_model(model, str(place))
  (big,) = sorted((path for path in place.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)[-1:]
  data = bytearray(big.read_bytes())
  data[len(data) // 2] ^= 1
  big.write_bytes(data)
  (place / "card.md").unlink()
  (place / "README.md").write_bytes(b"short")
  (place / "model.json").write_bytes((place / "model.json").read_bytes() + b" ")
  with pytest.raises(DamagedData) as error:
    pull_model(str(place), tmp_path / "here")
  said = str(error.value)
  assert "4 of" in said and "card.md is missing" in said and "README.md has 5 of" in said and "model.json has more than its" in said
  assert f"{big.relative_to(place).as_posix()} has SHA-256" in said and not (tmp_path / "here").exists()
  assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


def test_any_flipped_bit_of_the_list_is_found(model, tmp_path):
  place = tmp_path / "there"
  push_model(model, str(place))
  whole = (place / LIST).read_bytes()
  for at in range(0, len(whole), 97):
    (place / LIST).write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
    with pytest.raises(DamagedData, match=LIST):
      pull_model(str(place), tmp_path / "here")


@pytest.mark.parametrize("name", ["../out.txt", "/etc/passwd", "a/../../b", "a\\b"])
def test_names_that_leave_the_folder_are_refused(model, tmp_path, name):
  place = tmp_path / "there"
  push_model(model, str(place))
  content = read_checked_json(place / LIST)
  content["files"][name] = {"bytes": 1, "sha256": "0" * 64}
  (place / LIST).write_text(checked_text(content))
  with pytest.raises(UnsafePath):
    pull_model(str(place), tmp_path / "here")
  assert not (tmp_path / "here").exists()


def test_a_push_that_was_cut_short_is_not_a_model(model, tmp_path, monkeypatch):
  place = tmp_path / "there"
  monkeypatch.setattr(fsspec.get_filesystem_class("file"), "pipe_file", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
  with pytest.raises(OSError, match="disk full"):
    push_model(model, str(place))
  monkeypatch.undo()
  with pytest.raises(FileNotFoundError, match=r"no files\.json"):
    pull_model(str(place), tmp_path / "here")


def test_places_with_other_files_are_left_alone(model, tmp_path):
  (tmp_path / "there").mkdir()
  (tmp_path / "there" / "thesis.tex").write_text("mine")
  with pytest.raises(FileExistsError, match=r"such as thesis\.tex"):
    push_model(model, str(tmp_path / "there"))
  assert contents(tmp_path / "there") == {"thesis.tex": b"mine"}
  with pytest.raises(FileExistsError):
    push_model(model, str(model / "model"))


def test_what_is_not_there_is_named(model, tmp_path):
  with pytest.raises(FileNotFoundError, match=r"no files\.json"):
    pull_model("memory://nothing", tmp_path / "here")
  with pytest.raises(FileNotFoundError, match="neither a model directory"):
    push_model(tmp_path / "nothing", "memory://x")
  with pytest.raises(ValueError, match=r"nosuch://place: .*memory"):
    push_model(model, "nosuch://place")


def test_an_error_of_a_service_names_the_place(model, monkeypatch):
  class Refused(Exception):
    pass

  def refuse(*_, **__):
    raise Refused("403 Forbidden")

  monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "exists", refuse)
  with pytest.raises(OSError, match="memory://models cannot be reached: Refused: 403 Forbidden"):
    push_model(model, "memory://models")


def test_a_missing_package_is_named_with_its_extra(model, monkeypatch):
  monkeypatch.setitem(sys.modules, "fsspec", None)
  with pytest.raises(ImportError, match=r"pip install 'jaxface\[hub\]'"):
    push_model(model, "memory://x")
  monkeypatch.setitem(sys.modules, "huggingface_hub", None)
  with pytest.raises(ImportError, match=r"hf://me/face needs the extra hub"):
    push_model(model, "hf://me/face")


def test_the_readme_is_a_card_of_hugging_face(model, tmp_path):
  push_model(model, str(tmp_path / "there"))
  text = (tmp_path / "there" / "README.md").read_text()
  yaml = pytest.importorskip("yaml")
  head, body = text.removeprefix("---\n").split("\n---\n", 1)
  assert yaml.safe_load(head) == {
    "library_name": "jaxface", "pipeline_tag": "image-feature-extraction", "tags": ["face-recognition", "jax"], "license": "cc-by-4.0",
  }
  assert "| licence | CC-BY-4.0" in body and "jaxface.load" in body


@pytest.mark.parametrize(("licences", "expected"), [
  (["unknown"], {}), (["MIT"], {"license": "mit"}), (["research: only"], {"license": "other", "license_name": "research: only"}),
  (["MIT", "CC0-1.0"], {"license": "other", "license_name": "CC0-1.0, MIT"}),
])
def test_licences_of_the_card(saved, tmp_path, licences, expected):
  yaml = pytest.importorskip("yaml")
  saved.meta["lineage"] = [{"kind": "images", "name": "a", "licence": one, "origin": "b"} for one in licences]
  save_model(tmp_path / "model", saved)
  push_model(tmp_path / "model", str(tmp_path / "there"))
  head = yaml.safe_load((tmp_path / "there" / "README.md").read_text().split("---")[1])
  assert {name: value for name, value in head.items() if name.startswith("license")} == expected


def test_hugging_face_reads_the_card(model, tmp_path):
  hub = pytest.importorskip("huggingface_hub", reason="EXTRA ABSENT: huggingface_hub is not installed: the card was not read by it here")
  push_model(model, str(tmp_path / "there"))
  card = hub.ModelCard.load(tmp_path / "there" / "README.md")
  assert card.data.license == "cc-by-4.0" and card.data.library_name == "jaxface" and "face-recognition" in card.data.tags
  assert card.text.strip().startswith("# smallresnet")


def test_the_names_of_its_client_exist():
  hub = pytest.importorskip("huggingface_hub", reason="EXTRA ABSENT: huggingface_hub is not installed: its client was not looked at here")
  hub.CommitOperationAdd("a/b.txt", b"content")
  hub.CommitOperationDelete("a/b.txt")
  for method in ("file_exists", "repo_exists", "create_repo", "create_commit", "list_repo_files"):
    assert callable(getattr(hub.HfApi, method))
  assert hub_store.open_store("hf://me/face@draft").revision == "draft"


def test_the_cache_of_hugging_face_is_read_as_it_is(model, tmp_path):
  # Its layout: files are links to blobs named by their digest, in a folder per revision.
  push_model(model, str(tmp_path / "pushed"))
  cache = tmp_path / "models--me--face"
  for name, data in contents(tmp_path / "pushed").items():
    blob, link = cache / "blobs" / f"{hash(name) & (2**64 - 1):x}", cache / "snapshots" / "0123abcd" / name
    for path in (blob, link):
      path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(data)
    link.symlink_to(Path(*[".."] * (len(link.relative_to(cache).parts) - 1)) / "blobs" / blob.name)
  pull_model(str(cache / "snapshots" / "0123abcd"), tmp_path / "here")
  assert load_model(tmp_path / "here").name == "smallresnet"


def test_a_repository_is_written_in_one_commit(model, memory, monkeypatch):
  """With a stand-in for the client of the service: what it is called with."""
  calls = []

  class Api:
    def file_exists(self, repository, name, revision):
      return False

    def repo_exists(self, repository):
      return False

    def create_repo(self, repository, exist_ok):
      calls.append(("create", repository))

    def create_commit(self, repository, operations, commit_message, revision):
      calls.append((repository, revision, operations))

  stand_in = types.SimpleNamespace(
    HfApi=Api, CommitOperationAdd=lambda name, content: (name, content), CommitOperationDelete=lambda name: ("delete", name)
  )
  monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in)
  monkeypatch.setattr(hub_store.Store, "__init__", lambda self, place: setattr(self, "place", place))
  pushed = push_model(model, "hf://me/face@draft")
  (created, (repository, revision, operations)) = calls
  assert created == ("create", "me/face") and (repository, revision) == ("me/face", "draft")
  names = [name for name, _ in operations]
  assert names[-1] == LIST and len(names) == pushed.files + 1 and "README.md" in names
  assert set(json.loads(operations[-1][1])["files"]) == set(names) - {LIST}
  with pytest.raises(ValueError, match="needs hf://OWNER/NAME"):
    push_model(model, "hf://face")
