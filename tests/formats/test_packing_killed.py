"""A killed run leaves nothing that looks complete and no process; the next run resumes it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from jaxface.formats.packing import pack
from jaxface.formats.recordset import RecordSet
from jaxface.interrupted import INTERRUPTED
from tfrecords_tools.pack import RERUN

SCRIPT = """
import sys
from jaxface.formats.packing import pack
if __name__ == "__main__":
  pack(sys.argv[1], sys.argv[2], shard_mb=0.02, processes=2)
"""


def others_in_group(group: int) -> list[int]:
  found = []
  for entry in os.listdir("/proc"):
    try:
      if entry.isdecimal() and os.getpgid(int(entry)) == group:
        found.append(int(entry))
    except ProcessLookupError:
      continue
  return found


@pytest.mark.parametrize("processes", ["1", "2"])
def test_ctrl_c_ends_in_one_sentence_and_the_same_command_goes_on(make_folder, tmp_path, processes):
  """The signal goes to the whole group, as a terminal sends it: the other processes must not print their own tracebacks."""
  # Images that are resized, so that writing takes much longer than the signal, on a busy machine too.
  root = make_folder([10] * 25, height=320, width=320)
  whole = pack(root, tmp_path / "whole", shard_mb=0.2, size=240, processes=1)
  assert len(whole.shards) > 10
  out = tmp_path / "out"
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
  command = [sys.executable, "-m", "tfrecords_tools", "pack", str(root), str(out), "--shard-mb", "0.2", "--size", "240"]
  process = subprocess.Popen(
    [*command, "--processes", processes], env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True
  )
  try:
    until = time.monotonic() + 120
    while not list((out / ".packing").glob("0*.json")) and time.monotonic() < until:
      assert process.poll() is None, "ended before it could be interrupted"
      time.sleep(0.001)
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=120)[1]
  finally:
    if process.poll() is None:
      os.killpg(process.pid, signal.SIGKILL)
  assert process.returncode == INTERRUPTED
  assert errors.splitlines() == [f"tfrecords_tools pack: interrupted; {RERUN}"]
  assert not (out / "manifest.json").exists() and list((out / ".packing").glob("0*.json"))
  subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
  assert RecordSet.open(out).manifest == whole


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="counts processes in /proc")
def test_killed_and_run_again(make_folder, tmp_path):
  root = make_folder([20] * 25)
  whole = pack(root, tmp_path / "whole", shard_mb=0.02, processes=1)
  (tmp_path / "run.py").write_text(SCRIPT)
  out = tmp_path / "out"
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
  command = [sys.executable, str(tmp_path / "run.py"), str(root), str(out)]
  process = subprocess.Popen(command, env=environment, start_new_session=True)
  try:
    until = time.monotonic() + 60
    while len(list((out / ".packing").glob("0*.json"))) < 2 and time.monotonic() < until:
      assert process.poll() is None, "ended before it could be killed"
      time.sleep(0.001)
    process.kill()
    process.wait()
    with pytest.raises(FileNotFoundError, match="run it again"):
      RecordSet.open(out)
    until = time.monotonic() + 30
    while others_in_group(process.pid) and time.monotonic() < until:
      time.sleep(0.05)
    assert not others_in_group(process.pid)
  finally:
    if others_in_group(process.pid):
      os.killpg(process.pid, signal.SIGKILL)
  assert pack(root, out, shard_mb=0.02, processes=1) == whole
  visible = [name for name in os.listdir(out) if not name.startswith(".")]
  assert sorted(visible) == sorted(name for name in os.listdir(tmp_path / "whole") if not name.startswith("."))
  for name in visible:
    assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
