"""A folder has one owner at a time; a stale lock is taken over with a message."""

import json
import os
import subprocess
import sys
import time

import pytest

from jaxface.formats import lock as module
from jaxface.formats.lock import FILE, LOST, FolderInUse, FolderLock, refuse_if_owned

HOLDER = """
import sys, time
from jaxface.formats.lock import FolderLock
FolderLock(sys.argv[1]).acquire()
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
  """Another process that owns the folder."""
  environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
  process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], env=environment, stdout=subprocess.PIPE)
  assert process.stdout.readline() == b"held\n"
  yield process
  process.kill()
  process.wait()


def owner_of(folder):
  return json.loads((folder / FILE).read_text())


def rewrite(folder, silent=0.0, **changes):
  """Changes the contents of the lock and the age of its heartbeat."""
  (folder / FILE).write_text(json.dumps(owner_of(folder) | changes))
  past = time.time() - silent
  os.utime(folder / FILE, (past, past))


def test_a_second_process_is_told_who_owns_the_folder_and_a_dead_one_is_replaced(tmp_path, holder):
  with pytest.raises(FolderInUse, match=rf"in use by process {holder.pid} on .*, started \d+ s ago: another folder"):
    FolderLock(tmp_path, advice="another folder").acquire()
  with pytest.raises(FolderInUse, match=str(holder.pid)):
    refuse_if_owned(tmp_path)
  holder.kill()
  holder.wait()
  said = []
  with FolderLock(tmp_path, say=said.append):
    assert owner_of(tmp_path)["pid"] == os.getpid()
  assert len(said) == 1 and f"taking over the lock of process {holder.pid}" in said[0]
  assert list(tmp_path.iterdir()) == []


def test_one_process_cannot_own_a_folder_twice(tmp_path):
  with FolderLock(tmp_path):
    with pytest.raises(FolderInUse, match=str(os.getpid())):
      FolderLock(tmp_path).acquire()
    assert owner_of(tmp_path)["pid"] == os.getpid()
  refuse_if_owned(tmp_path)


def test_a_number_that_another_process_has_now_is_no_owner(tmp_path):
  FolderLock(tmp_path).acquire()
  rewrite(tmp_path, born="1")
  said = []
  with FolderLock(tmp_path, say=said.append):
    assert len(said) == 1


@pytest.mark.parametrize(("silent", "free"), [(0, False), (LOST / 2, False), (LOST + 5, True)])
def test_an_owner_on_another_host_counts_until_it_is_silent_for_long(tmp_path, silent, free):
  FolderLock(tmp_path).acquire()
  # Its number may be anybody's here.
  rewrite(tmp_path, silent, machine="elsewhere", host="elsewhere", pid=os.getpid())
  if free:
    with FolderLock(tmp_path, say=lambda line: None):
      assert owner_of(tmp_path)["host"] != "elsewhere"
  else:
    with pytest.raises(FolderInUse, match="on elsewhere"):
      FolderLock(tmp_path).acquire()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"pid": "x"}', "\xff"])
def test_a_lock_that_says_nothing_counts_until_it_is_old(tmp_path, content):
  (tmp_path / FILE).write_text(content, encoding="latin-1")
  with pytest.raises(FolderInUse, match="an unknown process"):
    FolderLock(tmp_path).acquire()
  os.utime(tmp_path / FILE, (0, 0))
  with FolderLock(tmp_path, say=lambda line: None):
    pass


def test_an_owner_that_lost_the_folder_notices_and_leaves_the_new_lock_alone(tmp_path):
  first = FolderLock(tmp_path).acquire()
  first.check()
  rewrite(tmp_path, token="another", pid=1)
  with pytest.raises(FolderInUse, match="taken over by process 1"):
    first.check()
  first.release()
  assert owner_of(tmp_path)["token"] == "another"


def test_the_lock_gives_signs_of_life(tmp_path, monkeypatch):
  monkeypatch.setattr(module, "HEARTBEAT", 0.01)
  with FolderLock(tmp_path):
    os.utime(tmp_path / FILE, (0, 0))
    deadline = time.monotonic() + 60
    while (tmp_path / FILE).stat().st_mtime == 0 and time.monotonic() < deadline:
      time.sleep(0.01)
    assert (tmp_path / FILE).stat().st_mtime > 0


def test_of_many_that_find_a_dead_owner_one_takes_over(tmp_path):
  FolderLock(tmp_path).acquire()
  rewrite(tmp_path, born="1")
  code = (
    "import sys, time\nfrom jaxface.formats.lock import FolderInUse, FolderLock\n"
    "sys.stdin.readline()\n"
    "try:\n  FolderLock(sys.argv[1]).acquire(); print('mine', flush=True); sys.stdin.readline()\n"
    "except FolderInUse:\n  print('taken', flush=True)\n"
  )
  environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
  many = [
    subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment, stdin=subprocess.PIPE,
                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for _ in range(4)
  ]
  for process in many:
    process.stdin.write("\n")
    process.stdin.flush()
  said = [process.stdout.readline().strip() for process in many]
  for process in many:
    process.communicate("\n")
  assert sorted(said) == ["mine", "taken", "taken", "taken"]
