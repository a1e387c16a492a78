"""The commands as typed: what they print, write and return."""

import dataclasses
import importlib
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from jaxface.formats.errors import UnsafePath
from jaxface.formats.face import Face
from jaxface.formats.histogram import as_text, doubling_bins
from jaxface.formats.manifest import read_manifest
from jaxface.formats.recordset import RecordSet
from jaxface.formats.unpacking import image_path
from jaxface.formats.writer import write_recordset
from jaxface.interrupted import INTERRUPTED
from tfrecords_tools.__main__ import COMMANDS, main


@pytest.fixture
def packed(make_folder, tmp_path, capsys):
  assert main(["pack", str(make_folder([5, 1, 9, 2])), str(tmp_path / "out"), "--shard-mb", "0.005"]) == 0
  capsys.readouterr()
  return tmp_path / "out"


def test_the_module_runs_and_lists_its_commands():
  done = subprocess.run([sys.executable, "-m", "tfrecords_tools", "--help"], capture_output=True, text=True, check=True)
  for name in ("pack", "verify", "stats", "reshard", "export"):
    assert f"\n    {name} " in done.stdout


def test_pack_prints_what_became_of_it(make_folder, tmp_path, capsys):
  root = make_folder([3, 1], height=32)
  (root / "person00" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
  assert main(["pack", str(root), str(tmp_path / "out"), "--size", "112x96"]) == 0
  printed = capsys.readouterr().out
  assert "note: 1 damaged images are skipped" in printed
  assert "4 records of 2 identities in 1 shards" in printed
  assert "112×96, template unknown, licence unknown; 0 images unchanged, 4 re-encoded, 1 damaged" in printed
  assert "note: the alignment of the faces is unknown, and cannot be inferred from the image size: " in printed and "--template (arcface112" in printed
  assert main(["pack", str(root), str(tmp_path / "out"), "--size", "112x96"]) == 0
  assert "already complete" in capsys.readouterr().out


def test_pack_flat_with_an_identity_file(make_folder, tmp_path, capsys):
  root = make_folder([3])
  (tmp_path / "identity.txt").write_text("0000.jpg 2880\n0001.jpg 12\n0002.jpg 12\n")
  arguments = ["pack", str(root / "person00"), str(tmp_path / "out"), "--layout", "flat"]
  assert main([*arguments, "--list", str(tmp_path / "identity.txt")]) == 0
  records = RecordSet.open(tmp_path / "out")
  assert records.identity_names == ["12", "2880"]
  assert dict(zip(records.names(), records.label_n.tolist())) == {"0000": 1, "0001": 0, "0002": 0}


@pytest.mark.parametrize(
  ("text", "message"),
  [("../x.jpg 1\n", "tfrecords_tools pack: .*line 1: '../x.jpg' leaves"), ("0000.jpg\n", "tfrecords_tools pack: .*should be a path and an identity")],
)
def test_errors_are_one_line_and_exit_code_2(make_folder, tmp_path, capsys, text, message):
  root = make_folder([1])
  (tmp_path / "list").write_text(text)
  assert main(["pack", str(root), str(tmp_path / "out"), "--layout", "list", "--list", str(tmp_path / "list")]) == 2
  error = capsys.readouterr().err
  assert error.count("\n") == 1
  assert re.search(message, error)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_ends_at_ctrl_c_with_one_sentence(command, monkeypatch, capsys):
  def stop(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(importlib.import_module(COMMANDS[command][0]), "run", stop)
  assert main([command]) == INTERRUPTED
  said = capsys.readouterr().err
  assert said.startswith(f"tfrecords_tools {command}: interrupted; ") and said.count("\n") == 1
  assert ("resumes" if command in ("pack", "import_recordio", "clean") else "starts again") in said


def test_wrong_usage_exits_with_2(capsys):
  for arguments in ([], ["pack"], ["pack", "a", "b", "--size", "big"], ["pack", "a", "b", "--layout", "tree"]):
    with pytest.raises(SystemExit) as caught:
      main(arguments)
    assert caught.value.code == 2
  assert "folders" in capsys.readouterr().err


def test_reshard_keeps_records_order_and_ids(packed, tmp_path, capsys):
  old = RecordSet.open(packed)
  for count in (1, 5, 17):
    new_path = tmp_path / f"new{count}"
    assert main(["reshard", str(packed), str(new_path), "--shards", str(count)]) == 0
    new = RecordSet.open(new_path)
    assert len(new.manifest.shards) == count
    assert [bytes(new.payload(record)) for record in range(17)] == [bytes(old.payload(record)) for record in range(17)]
    assert new.id_n.tolist() == old.id_n.tolist()
    assert new.names() == old.names()
    assert new.manifest.fingerprint == old.manifest.fingerprint
    assert main(["verify", str(new_path)]) == 0
  same = tmp_path / "same"
  assert main(["reshard", str(packed), str(same), "--shards", str(len(old.manifest.shards))]) == 0
  for name in os.listdir(same):
    assert (same / name).read_bytes() == (packed / name).read_bytes(), name


def test_reshard_refuses(packed, tmp_path, capsys):
  assert main(["reshard", str(packed), str(tmp_path / "new"), "--shards", "18"]) == 2
  assert "1 to 17 shards" in capsys.readouterr().err
  assert main(["reshard", str(packed), str(packed), "--shards", "2"]) == 2
  assert "exists already" in capsys.readouterr().err
  shard = RecordSet.open(packed).manifest.shards[0]
  data = bytearray((packed / shard.file).read_bytes())
  data[40] ^= 1
  (packed / shard.file).write_bytes(data)
  assert main(["reshard", str(packed), str(tmp_path / "new"), "--shards", "2"]) == 2
  assert f"{shard.file}, offset 0, record 0" in capsys.readouterr().err
  assert sorted(os.listdir(tmp_path)) == ["faces", "out"]


def test_export_gives_the_folder_back(packed, tmp_path, make_folder, capsys):
  assert main(["export", str(packed), str(tmp_path / "back")]) == 0
  assert "17 images" in capsys.readouterr().out

  def files(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*.jpg")}

  assert files(tmp_path / "back") == files(tmp_path / "faces")
  assert main(["pack", str(tmp_path / "back"), str(tmp_path / "again"), "--shard-mb", "0.005"]) == 0
  again = read_manifest(tmp_path / "again")
  assert again.source == "back" and dataclasses.replace(again, source="faces") == read_manifest(packed)


def test_export_puts_an_identity_before_names_without_one(tmp_path):
  assert image_path(tmp_path, "2880", "000001") == tmp_path / "2880" / "000001.jpg"
  assert image_path(tmp_path, "Ann", "Ann/1") == tmp_path / "Ann" / "1.jpg"


@pytest.mark.parametrize(("identity", "name"), [("Ann", "../x"), ("..", "x"), ("Ann", "/etc/x"), ("Ann", "Ann/../../x")])
def test_export_never_leaves_its_folder(tmp_path, make_jpeg, capsys, identity, name):
  write_recordset(tmp_path / "set", [Face(make_jpeg(0), 0, name, 0)], [identity], image_size=(24, 24, 3))
  with pytest.raises(UnsafePath):
    image_path(tmp_path / "back", identity, name)
  assert main(["export", str(tmp_path / "set"), str(tmp_path / "back")]) == 2
  assert "leave" in capsys.readouterr().err
  assert os.listdir(tmp_path) == ["set"]


def test_stats_prints_and_draws(packed, tmp_path, capsys):
  arguments = ["stats", str(packed), "--svg", str(tmp_path / "a.svg"), "--html", str(tmp_path / "a.html")]
  assert main(arguments) == 0
  printed = capsys.readouterr().out
  for text in ("records  17\n", "identities  4\n", "mean 4.25, median 3.5, from 1 to 9", "pairs  47", "24×24×3 RGB, jpeg"):
    assert text in printed
  assert printed.rstrip().endswith("9–16  " + "█" * 50 + " 1")
  assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
  page = (tmp_path / "a.html").read_text(encoding="utf-8")
  assert page.count("data:image/jpeg;base64,") == 17
  assert "http" not in page.replace("http://www.w3.org/", "")


def test_histogram_by_hand():
  assert doubling_bins([1, 1, 2, 3, 4, 9, 16]) == [("1", 2), ("2", 1), ("3–4", 2), ("5–8", 0), ("9–16", 2)]
  assert as_text([("1", 8), ("2", 3)], width=2).splitlines()[1:] == ["          1  ██ 8", "          2  ▊ 3"]


def test_manifest_is_plain_json(packed):
  fields = json.loads((packed / "manifest.json").read_text())
  assert (fields["format"], fields["colour_order"], fields["num_records"]) == ("jaxface-records", "RGB", 17)
  assert all(len(shard["sha256"]) == 64 for shard in fields["shards"])
