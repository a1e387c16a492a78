"""Packing that is interrupted: by a crash, by a full disk, by a source that changes; what is left is taken up or named."""

import errno
import shutil
import subprocess
from pathlib import Path

import pytest

from jaxface.formats import packing
from jaxface.formats.errors import DamagedData
from jaxface.formats.packing import pack
from jaxface.formats.recordset import RecordSet


def contents(folder: Path, hidden: bool = False) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in folder.iterdir() if hidden or not path.name.startswith(".")}


@pytest.mark.parametrize("crash", [1, 2])
def test_a_rerun_finishes_what_a_crash_left(make_folder, tmp_path, monkeypatch, crash):
  root = make_folder([10] * 6)
  whole = pack(root, tmp_path / "whole", shard_mb=0.03, processes=1)
  assert len(whole.shards) > 2
  written = []
  real = packing.write_shard

  def dying(folder, shard, *rest):
    if len(written) == crash:
      raise KeyboardInterrupt
    written.append(shard)
    return real(folder, shard, *rest)

  out = tmp_path / "out"
  monkeypatch.setattr(packing, "write_shard", dying)
  with pytest.raises(KeyboardInterrupt):
    pack(root, out, shard_mb=0.03, processes=1)
  with pytest.raises(FileNotFoundError, match="run it again"):
    RecordSet.open(out)
  (out / ".left.1234.tmp").write_bytes(b"half a shard")
  again = []
  monkeypatch.setattr(packing, "write_shard", lambda folder, shard, *rest: again.append(shard) or real(folder, shard, *rest))
  if crash == 2:
    damaged = out / whole.shards[0].file
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
  assert pack(root, out, shard_mb=0.03, processes=1) == whole
  assert again == [number for number in range(len(whole.shards)) if number >= crash or (crash == 2 and number == 0)]
  assert contents(out) == contents(tmp_path / "whole")
  assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == [".packed_from.json"]


def test_what_another_plan_left_is_removed(make_folder, tmp_path, monkeypatch):
  root = make_folder([10] * 6)
  real = packing.write_shard
  written = []

  def dying(folder, shard, *rest):
    if written:
      raise KeyboardInterrupt
    written.append(shard)
    return real(folder, shard, *rest)

  monkeypatch.setattr(packing, "write_shard", dying)
  with pytest.raises(KeyboardInterrupt):
    pack(root, tmp_path / "out", shard_mb=0.03, processes=1)
  monkeypatch.setattr(packing, "write_shard", real)
  pack(root, tmp_path / "out", shard_mb=1)
  pack(root, tmp_path / "whole", shard_mb=1)
  assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.fixture
def small_disk(tmp_path):
  """A file system of 200 KB."""
  disk = tmp_path / "disk"
  disk.mkdir()
  try:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], capture_output=True)
  except FileNotFoundError:
    pytest.skip("no mount here")
  if mounted.returncode:
    pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
  yield disk
  subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("foreseen", [True, False])
def test_a_full_disk_leaves_nothing_half_made(make_folder, tmp_path, small_disk, monkeypatch, foreseen):
  root = make_folder([60], height=64, width=64)
  if not foreseen:
    roomy = shutil.disk_usage(tmp_path)
    answers = iter([roomy])
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: next(answers, None) or real(path))
  whole = pack(root, tmp_path / "whole", shard_mb=0.04, processes=1) if foreseen else None
  with pytest.raises(OSError, match=r"disk full: packing needs [\d,]+ bytes in total, [\d,]+ are free") as caught:
    pack(root, small_disk / "out", shard_mb=0.04, processes=1)
  assert caught.value.errno == errno.ENOSPC
  assert str(small_disk) in str(caught.value)
  left = [path.name for path in (small_disk / "out").iterdir()]
  assert not any(name.endswith(".tmp") or name == "manifest.json" for name in left)
  assert len([name for name in left if ".tfrecord-" in name]) == (0 if foreseen else 4)
  if not whole:
    subprocess.run(["mount", "-o", "remount,size=900k", small_disk], check=True)
    monkeypatch.undo()
    again = pack(root, small_disk / "out", shard_mb=0.04, processes=1)
    assert again.num_records == 60


def test_a_disk_that_fills_up_is_named_without_mounting(make_folder, tmp_path, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(packing, "write_shard", full)
  with pytest.raises(OSError, match="disk full: packing needs") as caught:
    pack(make_folder(), tmp_path / "out")
  assert caught.value.errno == errno.ENOSPC


def test_a_file_that_changes_meanwhile_is_named(make_folder, tmp_path, monkeypatch, make_jpeg):
  root = make_folder([2])
  real = packing.make_plan

  def change(*arguments):
    plan = real(*arguments)
    (root / "person00" / "0001.jpg").write_bytes(make_jpeg(99))
    return plan

  monkeypatch.setattr(packing, "make_plan", change)
  with pytest.raises(DamagedData, match=r"0001\.jpg: changed while it was being packed"):
    pack(root, tmp_path / "out")
