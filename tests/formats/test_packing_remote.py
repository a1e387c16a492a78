"""Packing from and to a URL: the bytes of packing from and to a folder, whole or not at all, and resumed."""

import shutil
from pathlib import Path

import pytest

from jaxface.formats import packing
from jaxface.formats.errors import DamagedData
from jaxface.formats.lock import FolderInUse
from jaxface.formats.packing import pack
from jaxface.formats.recordset import RecordSet
from tfrecords_tools.__main__ import main

fsspec = pytest.importorskip("fsspec", reason="EXTRA ABSENT: fsspec is not installed: packing at a URL was not tested here")
FACES, OUT = "memory://bucket/faces", "memory://bucket/sets/one"


@pytest.fixture
def bucket(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  fs = fsspec.filesystem("memory")
  fs.store.clear()
  yield fs
  fs.store.clear()


@pytest.fixture
def faces(bucket, make_folder) -> Path:
  """A folder of faces, and the same at the URL."""
  root = make_folder([10] * 6, height=40, width=32)
  (root / "person00" / "broken.jpg").write_bytes(b"no image")
  (root / "person01" / "notes.txt").write_text("of no use")
  put(bucket, root)
  return root


def put(bucket, root: Path) -> None:
  for path in root.rglob("*.*"):
    bucket.pipe_file(f"/bucket/faces/{path.relative_to(root)}", path.read_bytes())


def at_url(bucket) -> dict[str, bytes]:
  return {name.removeprefix("/bucket/sets/one/"): bucket.cat_file(name) for name in bucket.find("/bucket/sets/one")}


def contents(folder: Path) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.fixture
def uploaded(bucket, monkeypatch) -> list[str]:
  """Names of the shards that are written to the URL, as they are."""
  names = []
  real = type(bucket).put_file
  monkeypatch.setattr(
    type(bucket), "put_file", lambda self, here, there, *rest, **options: names.append(there.rpartition("/")[2]) or real(self, here, there, *rest, **options)
  )
  return names


def packed(src, out, **options):
  return pack(src, out, shard_mb=0.01, size=24, **{"processes": 1, **options})


@pytest.mark.parametrize("on_beam", [False, True])
def test_bytes_are_those_of_a_folder_wherever_source_and_set_are(bucket, faces, tmp_path, on_beam):
  if on_beam:
    pytest.importorskip("apache_beam", reason="EXTRA ABSENT: apache-beam is not installed: packing on Beam was not tested here")
  with_beam = {"processes": None, "beam": ()} if on_beam else {}
  whole = packed(faces, tmp_path / "whole")
  assert packed(FACES, OUT, **with_beam) == whole and len(whole.shards) > 3 and whole.damaged
  assert at_url(bucket) == contents(tmp_path / "whole")
  assert packed(FACES, tmp_path / "here", **with_beam) == whole and contents(tmp_path / "here") == contents(tmp_path / "whole")
  records = RecordSet.open(OUT)
  assert records.manifest == whole and records.face(7) == RecordSet.open(tmp_path / "whole").face(7)


def test_a_rerun_keeps_whole_shards_on_another_machine_too(bucket, faces, tmp_path, uploaded, monkeypatch):
  whole = packed(faces, tmp_path / "whole")
  real = packing.deliver

  def dying(out, folder, number, *rest):
    if number == 2:
      raise KeyboardInterrupt
    real(out, folder, number, *rest)

  monkeypatch.setattr(packing, "deliver", dying)
  with pytest.raises(KeyboardInterrupt):
    packed(FACES, OUT)
  with pytest.raises(FileNotFoundError, match="not a packed set"):
    RecordSet.open(OUT)
  assert uploaded == [name for shard in whole.shards[:2] for name in (shard.file, shard.index)]
  monkeypatch.setattr(packing, "deliver", real)
  uploaded.clear()
  shutil.rmtree(tmp_path / "cache")
  bucket.pipe_file(f"/bucket/sets/one/{whole.shards[0].file}", b"cut")
  assert packed(FACES, OUT) == whole
  assert uploaded == [name for shard in (whole.shards[0], *whole.shards[2:]) for name in (shard.file, shard.index)]
  assert at_url(bucket) == contents(tmp_path / "whole")


def test_what_another_plan_left_is_removed(bucket, faces, tmp_path, monkeypatch):
  real = packing.deliver
  monkeypatch.setattr(packing, "deliver", lambda out, folder, number, *rest: real(out, folder, number, *rest) if number < 2 else 1 / 0)
  with pytest.raises(ZeroDivisionError):
    packed(FACES, OUT)
  monkeypatch.setattr(packing, "deliver", real)
  assert len(at_url(bucket)) == 2 * 2 + 2 + 1  # shards with indexes, receipts, plan
  whole = pack(faces, tmp_path / "whole", size=24, processes=1)
  assert pack(FACES, OUT, size=24, processes=1) == whole and at_url(bucket) == contents(tmp_path / "whole")


def test_a_complete_set_is_found_and_its_provenance_is_changed_alone(bucket, faces, tmp_path, uploaded):
  packed(FACES, OUT)
  before, said = at_url(bucket), []
  uploaded.clear()
  assert packed(FACES, OUT, say=said.append).licence == "unknown" and said == [f"{OUT} is already complete: 60 records of 6 identities."]
  shutil.rmtree(tmp_path / "cache")  # another machine
  assert packed(FACES, OUT, licence="MIT").licence == "MIT" and not uploaded
  changed = {name for name, content in at_url(bucket).items() if content != before[name]}
  assert changed == {"manifest.json"} and RecordSet.open(OUT).manifest.licence == "MIT"
  with pytest.raises(FileExistsError, match=f"{OUT} contains a set packed from another source or with other options"):
    pack(FACES, OUT, size=16, processes=1)
  bucket.rm_file(f"/bucket/sets/one/{RecordSet.open(OUT).manifest.shards[1].file}")
  with pytest.raises(DamagedData, match=r"memory://bucket/sets/one/.*00001-of.*: shard of .* bytes is missing"):
    packed(FACES, OUT)


def test_a_place_with_other_things_is_left_as_it_is(bucket, faces, monkeypatch):
  bucket.pipe_file("/bucket/sets/one/mine.txt", b"mine")
  with pytest.raises(FileExistsError, match=f"{OUT} is not empty and is not a packed set: choose another place"):
    packed(FACES, OUT)
  assert at_url(bucket) == {"mine.txt": b"mine"}
  with pytest.raises(ValueError, match=r"memory://bucket/faces/out lies inside the source memory://bucket/faces"):
    packed(FACES, f"{FACES}/out")
  real = packing.make_plan
  monkeypatch.setattr(packing, "make_plan", lambda *given: bucket.pipe_file("/bucket/sets/two/manifest.json", b"{}") or real(*given))
  with pytest.raises(FolderInUse, match="memory://bucket/sets/two was packed by another process in the meantime"):
    packed(FACES, "memory://bucket/sets/two")


def test_sources_that_cannot_be_read_are_named(bucket, faces, tmp_path, monkeypatch, capsys):
  assert main(["pack", "memory://bucket/nothing", str(tmp_path / "out")]) == 2
  assert "memory://bucket/nothing: no such folder of images, or it is empty" in capsys.readouterr().err
  assert main(["pack", FACES, str(tmp_path / "out"), "--layout", "flat", "--list", "l"]) == 2
  assert "at a URL only a folder per identity is read" in capsys.readouterr().err
  with pytest.raises(SystemExit):
    main(["pack", FACES, str(tmp_path / "out"), "--align"])
  assert "--align needs folders of this machine" in capsys.readouterr().err
  real = packing.make_plan
  monkeypatch.setattr(packing, "make_plan", lambda *given: real(*given) if bucket.rm_file("/bucket/faces/person00/0000.jpg") is None else None)
  with pytest.raises(DamagedData, match=r"memory://bucket/faces/person00/0000\.jpg: cannot be read: no such file"):
    pack(FACES, tmp_path / "out", processes=1, size=(40, 32))

  class Refused(Exception):
    pass

  def refuse(*_, **__):
    raise Refused("403")

  monkeypatch.setattr(type(bucket), "find", refuse)
  assert main(["pack", FACES, str(tmp_path / "out")]) == 2
  assert "memory://bucket/faces cannot be reached: Refused: 403" in capsys.readouterr().err


def test_notes_and_names_are_those_of_a_folder(bucket, faces, tmp_path):
  bucket.pipe_file("/bucket/faces/loose.jpg", b"")
  bucket.pipe_file("/bucket/faces/person00/._0001.jpg", b"")
  said: list[str] = []
  packed(FACES, OUT, say=said.append)
  assert said[0] == "1 images are in memory://bucket/faces itself, not in an identity's folder: ignored."
  assert said[1].startswith("not read, since they have no image suffix: .txt: 1 file, first person01/notes.txt")
  assert RecordSet.open(OUT).num_records == 60
