"""Packing on Apache Beam: the bytes of `pack` on any runner, the same errors, and a killed pipeline is resumed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.formats import beam_workers, packing
from jaxface.formats.beam_workers import BeamFailed, BeamWorkers
from jaxface.formats.errors import DamagedData
from jaxface.formats.packing import _ShardTask, pack
from jaxface.formats.packing_plan import Entry
from jaxface.formats.plain import from_plain, to_plain
from jaxface.formats.survey import Finding
from tfrecords_tools.__main__ import main

LOCAL = ("--runner=DirectRunner",)
# The protocol of portable runners such as Flink's and Spark's, with a job service in this process.
PORTABLE = ("--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK")
# Workers in processes of their own.
PROCESSES = ("--runner=DirectRunner", "--direct_num_workers=2", "--direct_running_mode=multi_processing")


@pytest.fixture
def beam():
  return pytest.importorskip("apache_beam", reason="EXTRA ABSENT: apache-beam is not installed: packing on Beam was not tested here")


def contents(folder: Path) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize(
  "options", [(), LOCAL, PORTABLE, pytest.param(PROCESSES, marks=pytest.mark.sweep)], ids=["default", "local", "portable", "processes"]
)
def test_every_runner_writes_the_bytes_of_pack(beam, make_folder, tmp_path, options):
  root = make_folder([10, 3] * 5, height=40, width=32)
  (root / "person00" / "broken.jpg").write_bytes(b"no image")
  whole = pack(root, tmp_path / "whole", shard_mb=0.01, size=24, processes=1)
  assert len(whole.shards) > 3 and whole.damaged
  assert pack(root, tmp_path / "out", shard_mb=0.01, size=24, beam=options) == whole
  assert contents(tmp_path / "out") == contents(tmp_path / "whole")
  assert sorted(path.name for path in tmp_path.iterdir()) == ["faces", "out", "whole"]


def test_a_killed_pipeline_is_resumed_without_writing_whole_shards_again(beam, make_folder, tmp_path):
  root = make_folder([10] * 6, height=320, width=320)
  out = tmp_path / "out"
  options = ["--shard-mb", "0.1", "--size", "240"]
  whole = pack(root, tmp_path / "whole", shard_mb=0.1, size=240, processes=1)
  assert len(whole.shards) > 4
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
  command = [sys.executable, "-m", "tfrecords_tools", "pack", str(root), str(out), *options, "--beam"]
  process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
  until = time.monotonic() + 120
  while not list((out / ".packing").glob("0*.json")) and time.monotonic() < until:
    assert process.poll() is None, "ended before it could be killed"
    time.sleep(0.001)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  finished = [json.loads(receipt.read_text())["file"] for receipt in (out / ".packing").glob("0*.json")]
  assert 0 < len(finished) < len(whole.shards)
  assert [path for path in tmp_path.iterdir() if path.name.startswith(".out.")], "the killed process left its tasks"
  before = {name: (out / name).stat().st_ino for name in finished}
  subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  assert contents(out) == contents(tmp_path / "whole")
  assert {name: (out / name).stat().st_ino for name in finished} == before
  assert sorted(path.name for path in tmp_path.iterdir()) == ["faces", "out", "whole"]


def look_and_fail(task: int) -> int:
  """A function of tests: what it does depends on the task."""
  if task == 1:
    raise DamagedData("is torn", file="a.jpg", offset=3, record=7)
  if task == 2:
    raise ValueError("does not fit")
  if task == 3:
    raise OSError(28, "No space left on device", "b.jpg")
  if task == 4:
    raise PermissionError(13, "Permission denied", "c.jpg")
  return 10 * task


def test_tasks_give_results_or_their_own_errors(beam, tmp_path):
  def run(tasks):
    with BeamWorkers(LOCAL, str(tmp_path / "place")) as workers:
      try:
        return dict(workers.unordered(look_and_fail, tasks))
      finally:
        assert not tasks or (tmp_path / "place").is_dir()

  assert run([5, 6, 7]) == {0: 50, 1: 60, 2: 70} and run([]) == {}
  with pytest.raises(DamagedData, match=r"^a\.jpg, offset 3, record 7: is torn$"):
    run([5, 1])
  with pytest.raises(ValueError, match=r"^does not fit$"):
    run([2])
  with pytest.raises(OSError, match=r"No space left on device: 'b\.jpg'") as full:
    run([3])
  assert full.value.errno == 28
  with pytest.raises(BeamFailed, match=r"Apache Beam \(--runner=DirectRunner\): PermissionError: .*c\.jpg"):
    run([4])
  assert not (tmp_path / "place").exists()


def test_a_file_that_changes_and_a_full_disk_are_explained_as_without_beam(beam, make_folder, tmp_path, monkeypatch):
  root = make_folder([5, 5])
  real = packing.make_plan

  def changing(*given):
    (root / "person00" / "0000.jpg").write_bytes(b"other")
    return real(*given)

  monkeypatch.setattr(packing, "make_plan", changing)
  with pytest.raises(DamagedData, match=r"0000\.jpg: changed while it was being packed: pack again"):
    pack(root, tmp_path / "out", beam=LOCAL)
  monkeypatch.setattr(packing, "make_plan", real)

  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(packing, "write_shard", full)
  with pytest.raises(OSError, match=r"disk full: packing needs .* bytes in total"):
    pack(root, tmp_path / "out", beam=LOCAL)


def test_workers_with_another_version_are_refused(tmp_path):
  beam_workers.run_task(0, f"{__name__}:look_and_fail", str(tmp_path), "0.0.1")
  with pytest.raises(ValueError, match=r"a worker of Beam has jaxface .*, but 0\.0\.1 started the pipeline: install the same"):
    beam_workers._result(str(tmp_path), 0)


@given(st.builds(_ShardTask, *[st.text()] * 2, *[st.integers()] * 2, st.tuples(st.integers(), st.integers()), st.lists(
  st.builds(Entry, st.text(), st.text(), st.integers(), st.integers(), st.text(), st.booleans()), max_size=3).map(tuple), st.text()))
def test_tasks_pass_through_json_unchanged(task):
  assert from_plain(_ShardTask, json.loads(json.dumps(to_plain(task)))) == task
  findings = [Finding(one.name, one.id, (3, 4), one.keep, one.digest) for one in task.entries]
  assert from_plain(list[Finding], json.loads(json.dumps(to_plain(findings)))) == findings


def test_without_the_extra_the_message_says_what_to_install(make_folder, tmp_path, monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
  assert main(["pack", str(make_folder([2])), str(tmp_path / "out"), "--beam"]) == 2
  assert re.search(r"packing on Apache Beam needs the extra beam: pip install 'jaxface\[beam\]'", capsys.readouterr().err)
  assert not (tmp_path / "out").exists()
  with pytest.raises(ValueError, match="processes and beam are both given"):
    pack(tmp_path / "faces", tmp_path / "out", beam=(), processes=2)
