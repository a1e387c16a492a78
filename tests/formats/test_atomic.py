"""Nothing half-made stays behind, and nothing leaves its root."""

import json
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.formats.atomic import atomic_directory, atomic_file, inside, remove_leftovers, write_json
from jaxface.formats.errors import UnsafePath


def test_a_failed_write_leaves_the_old_file(tmp_path):
  path = tmp_path / "file"
  path.write_bytes(b"old")
  with pytest.raises(OSError, match="disk"), atomic_file(path) as file:
    file.write(b"new and only half")
    raise OSError("disk")
  assert path.read_bytes() == b"old"
  assert os.listdir(tmp_path) == ["file"]


def test_a_good_write_replaces_it(tmp_path):
  path = tmp_path / "file"
  path.write_bytes(b"old")
  with atomic_file(path) as file:
    file.write(b"new")
    assert path.read_bytes() == b"old"
  assert path.read_bytes() == b"new"
  assert os.listdir(tmp_path) == ["file"]


def test_json_keeps_letters_and_refuses_nan(tmp_path):
  write_json(tmp_path / "a.json", {"name": "Žofia"})
  assert "Žofia" in (tmp_path / "a.json").read_text(encoding="utf-8")
  assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"name": "Žofia"}
  with pytest.raises(ValueError, match="JSON"):
    write_json(tmp_path / "b.json", float("nan"))
  assert os.listdir(tmp_path) == ["a.json"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
  with pytest.raises(RuntimeError), atomic_directory(tmp_path / "set") as folder:
    (folder / "part").write_text("x")
    raise RuntimeError
  assert os.listdir(tmp_path) == []
  with atomic_directory(tmp_path / "set") as folder:
    (folder / "part").write_text("x")
    assert not (tmp_path / "set").exists()
  assert (tmp_path / "set" / "part").read_text() == "x"
  with pytest.raises(FileExistsError, match="choose another"), atomic_directory(tmp_path / "set"):
    pass


@pytest.mark.parametrize("path", ["", "../x", "a/../../x", "/etc/passwd", "a/\0", "a/../b"])
def test_paths_that_leave_are_refused(tmp_path, path):
  with pytest.raises(UnsafePath):
    inside(tmp_path, path)


def test_links_that_leave_are_refused_and_a_linked_root_is_not(tmp_path):
  root, other = tmp_path / "root", tmp_path / "other"
  root.mkdir()
  other.mkdir()
  (root / "out").symlink_to(other)
  (root / "in").symlink_to(root)
  with pytest.raises(UnsafePath, match="symbolic link"):
    inside(root, "out/x")
  assert inside(root, "in/x") == root / "in" / "x"
  (tmp_path / "alias").symlink_to(root)
  assert inside(tmp_path / "alias", "x.jpg") == tmp_path / "alias" / "x.jpg"


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
  code = (
    "import os, signal, sys\nfrom jaxface.formats.atomic import atomic_directory\n"
    "with atomic_directory(sys.argv[1]) as folder:\n  (folder / 'part').write_bytes(bytes(9))\n  os.kill(os.getpid(), signal.SIGKILL)\n"
  )
  assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "crops")], check=False).returncode == -signal.SIGKILL
  [left] = tmp_path.iterdir()
  assert (left / "part").is_file()
  kept = [tmp_path / name for name in (".crops.mine.tmp", "crops.1.tmp", ".other.1.tmp", ".crops.1.tmp.txt")]
  for path in kept:
    path.touch()
  (tmp_path / ".crops.7.tmp").touch()
  assert remove_leftovers(tmp_path / "crops") == sorted([left, tmp_path / ".crops.7.tmp"])
  assert sorted(tmp_path.iterdir()) == sorted(kept) and remove_leftovers(tmp_path / "crops") == []


@given(st.text(min_size=1, max_size=12))
def test_whatever_is_let_through_stays_inside(tmp_path_factory, text):
  root = tmp_path_factory.getbasetemp()
  try:
    path = inside(root, text)
  except (UnsafePath, UnicodeEncodeError):
    return
  assert path.resolve().is_relative_to(root.resolve())
