"""Packing: the content is preserved, the bytes do not depend on how it is run, and the output is atomic."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxface.formats import packing
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import decode_image
from jaxface.formats.packing import pack
from jaxface.formats.recordset import RecordSet


def contents(folder: Path, hidden: bool = False) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in folder.iterdir() if hidden or not path.name.startswith(".")}


def test_jpegs_are_kept_byte_for_byte_with_their_names_and_labels(make_folder, tmp_path):
  root = make_folder([3, 2, 1, 4])
  manifest = pack(root, tmp_path / "out")
  records = RecordSet.open(tmp_path / "out")
  assert (manifest.num_records, manifest.num_identities, manifest.kept) == (10, 4, 10)
  assert (manifest.source, manifest.layout, manifest.image_size) == ("faces", "folders", (24, 24, 3))
  assert records.manifest == manifest
  assert records.identity_names == ["person00", "person01", "person02", "person03"]
  for record in range(10):
    face = records.face(record)
    assert face.image == (root / f"{face.name}.jpg").read_bytes()
    assert records.identity_names[face.label] == face.name.split("/")[0]
    assert face.id == record
  assert len(set(records.names())) == 10
  assert not (tmp_path / "out" / ".packing").exists()


def test_same_bytes_whatever_the_number_of_processes_and_the_place(make_folder, tmp_path):
  root = make_folder([300, 4, 4])
  options = {"shard_mb": 0.1, "size": 20}
  one = pack(root, tmp_path / "one", processes=1, **options)
  many = pack(root, tmp_path / "many", processes=2, **options)
  shutil.copytree(root, tmp_path / "elsewhere" / "faces")
  third = pack(tmp_path / "elsewhere" / "faces", tmp_path / "third", processes=1, **options)
  assert one == many == third
  assert len(one.shards) > 2
  assert contents(tmp_path / "one") == contents(tmp_path / "many") == contents(tmp_path / "third")


def test_every_shard_sees_many_identities(make_folder, tmp_path):
  pack(make_folder([10] * 12), tmp_path / "out", shard_mb=0.06)
  records = RecordSet.open(tmp_path / "out")
  sizes = [shard.records for shard in records.manifest.shards]
  assert len(sizes) >= 3 and max(sizes) - min(sizes) <= 1
  for part in np.split(records.label_n, np.cumsum(sizes)[:-1]):
    assert len(set(part.tolist())) >= 9


def test_a_complete_set_returns_at_once(make_folder, tmp_path, monkeypatch):
  root = make_folder()
  first = pack(root, tmp_path / "out")
  before = contents(tmp_path / "out", hidden=True)
  with monkeypatch.context() as patch:
    patch.setattr(packing, "survey", lambda *_, **__: pytest.fail("the source was read again"))
    assert pack(root, tmp_path / "out") == first
  os.utime(root / "person00" / "0000.jpg", (1, 1))
  assert pack(root, tmp_path / "out") == first
  assert contents(tmp_path / "out") == {name: data for name, data in before.items() if name[0] != "."}


def test_another_source_or_option_is_refused(make_folder, tmp_path, make_jpeg):
  root = make_folder()
  pack(root, tmp_path / "out")
  with pytest.raises(FileExistsError, match=r"contains a set packed from another source.*10 records of 'faces'"):
    pack(root, tmp_path / "out", size=16)
  (root / "person00" / "new.jpg").write_bytes(make_jpeg(77))
  with pytest.raises(FileExistsError):
    pack(root, tmp_path / "out")
  (tmp_path / "mine").mkdir()
  (tmp_path / "mine" / "thesis.tex").write_text("x")
  with pytest.raises(FileExistsError, match="not empty"):
    pack(root, tmp_path / "mine")
  with pytest.raises(ValueError, match="inside the source"):
    pack(root, root / "packed")


def test_other_formats_and_sizes_are_encoded_anew(make_folder, tmp_path, make_jpeg):
  root = make_folder([2])
  picture = Image.fromarray(decode_image(make_jpeg(5, 30, 50), where="x"))
  picture.save(root / "person00" / "wide.png")
  picture.convert("L").save(root / "person00" / "grey.jpg")
  picture.convert("CMYK").save(root / "person00" / "cmyk.jpg")
  Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257).save(root / "person00" / "deep.png")
  manifest = pack(root, tmp_path / "out", size=24)
  records = RecordSet.open(tmp_path / "out")
  assert (manifest.num_records, manifest.kept, manifest.damaged) == (6, 2, ())
  pixels = {face.name: decode_image(face.image, where="x") for face in map(records.face, range(6))}
  assert all(image.shape == (24, 24, 3) for image in pixels.values())
  grey = pixels["person00/grey"].astype(int)
  assert np.abs(grey - grey[..., :1]).max() <= 2
  assert np.abs(grey - pixels["person00/deep"]).mean() < 3
  assert np.abs(pixels["person00/wide"].astype(int) - pixels["person00/cmyk"]).mean() < 4


@pytest.mark.parametrize("size", [(112, 112), (112, 96), (128, 128), (24, 24)])
def test_no_size_makes_a_template(make_folder, tmp_path, size):
  root = make_folder([2], height=size[0], width=size[1])
  assert pack(root, tmp_path / "out").template == "unknown"
  assert RecordSet.open(tmp_path / "out").template == "unknown"
  assert pack(root, tmp_path / "said", template="arcface112").template == "arcface112"
  assert pack(root, tmp_path / "none", template="none").template == "none"


def test_mixed_sizes_ask_for_one(make_folder, tmp_path, make_jpeg):
  root = make_folder([3])
  (root / "person00" / "tall.jpg").write_bytes(make_jpeg(9, 32, 24))
  with pytest.raises(ValueError, match=r"3 of 24×24.*person00/tall\.jpg of 32×24.*--size 24"):
    pack(root, tmp_path / "out")
  assert not (tmp_path / "out").exists()
  assert pack(root, tmp_path / "out", size=(32, 24)).image_size == (32, 24, 3)


def test_damaged_images_are_left_out_counted_and_named(make_folder, tmp_path, make_jpeg):
  root = make_folder([3, 1])
  (root / "person00" / "truncated.jpg").write_bytes(make_jpeg(50)[:-60])
  (root / "person00" / "text.png").write_text("not an image")
  (root / "person00" / "gone.jpg").symlink_to(tmp_path / "nothing")
  os.mkfifo(root / "person00" / "pipe.jpg")
  (root / "person02").mkdir()
  (root / "person02" / "empty.jpg").write_bytes(b"")
  notes = []
  manifest = pack(root, tmp_path / "out", say=notes.append)
  assert (manifest.num_records, manifest.num_identities) == (4, 2)
  found = {entry["file"]: entry["what"] for entry in manifest.damaged}
  assert list(found) == [f"person00/{name}" for name in ("gone.jpg", "pipe.jpg", "text.png", "truncated.jpg")] + [
    "person02/empty.jpg"
  ]
  assert "cannot be read: No such file" in found["person00/gone.jpg"]
  assert "not a regular file" in found["person00/pipe.jpg"]
  assert "Premature end" in found["person00/truncated.jpg"]
  assert any("5 damaged images" in note for note in notes)
  assert any("1 identities have no usable image" in note for note in notes)
  with pytest.raises(DamagedData, match=r"gone\.jpg: cannot be read"):
    pack(root, tmp_path / "strict", on_damage="error")
  assert not (tmp_path / "strict").exists()


def test_unreadable_and_huge_files(make_folder, tmp_path, forbid_reading):
  root = make_folder([2])
  forbid_reading("0001.jpg")
  with open(root / "person00" / "huge.jpg", "wb") as file:
    file.truncate(300_000_000)
  manifest = pack(root, tmp_path / "out")
  assert [entry["what"] for entry in manifest.damaged] == [
    "cannot be read: Permission denied",
    "huge file: 300,000,000 bytes, at most 256,000,000 are read",
  ]


def test_nothing_usable_is_an_error(tmp_path):
  (tmp_path / "faces" / "person").mkdir(parents=True)
  with pytest.raises(ValueError, match="no images"):
    pack(tmp_path / "faces", tmp_path / "out")
  (tmp_path / "faces" / "person" / "a.jpg").write_bytes(b"\xff\xd8\xff")
  for size in (None, 24):
    with pytest.raises(ValueError, match=r"none of 1 images can be used; person/a\.jpg: JPEG"):
      pack(tmp_path / "faces", tmp_path / "out", size=size)
  assert not (tmp_path / "out").exists()


def test_one_image_per_identity_is_noted(make_folder, tmp_path):
  notes = []
  assert pack(make_folder([1, 1, 1]), tmp_path / "out", say=notes.append).num_identities == 3
  assert any("every identity has only one image" in note for note in notes)


def test_gaps_in_labels_are_closed_and_noted(make_folder, tmp_path):
  root = make_folder([1, 1, 1])
  (tmp_path / "list").write_text("person00/0000.jpg\t100\nperson01/0000.jpg\t9\nperson02/0000.jpg\t7\n")
  notes = []
  pack(root, tmp_path / "out", layout="list", list_file=tmp_path / "list", say=notes.append)
  records = RecordSet.open(tmp_path / "out")
  assert records.identity_names == ["7", "9", "100"]
  label = dict(zip(records.names(), records.label_n.tolist()))
  assert label == {"person00/0000": 2, "person01/0000": 1, "person02/0000": 0}
  assert any("from 7 to 100 with gaps" in note for note in notes)


def test_duplicates_are_counted_dropped_or_refused(make_folder, tmp_path):
  root = make_folder([3, 2, 2])
  shutil.copy(root / "person00" / "0000.jpg", root / "person00" / "copy.jpg")
  shutil.copy(root / "person01" / "0001.jpg", root / "person02" / "claimed.jpg")
  kept = pack(root, tmp_path / "kept")
  groups = (
    {"names": ["person00/0000", "person00/copy"], "across_identities": False},
    {"names": ["person01/0001", "person02/claimed"], "across_identities": True},
  )
  assert (kept.num_records, kept.duplicates) == (9, groups)
  dropped = pack(root, tmp_path / "dropped", duplicates="drop")
  assert dropped.duplicates == groups
  names = set(RecordSet.open(tmp_path / "dropped").names())
  assert names == set(RecordSet.open(tmp_path / "kept").names()) - {
    "person00/copy",
    "person01/0001",
    "person02/claimed",
  }
  with pytest.raises(ValueError, match=r"2 groups.*1 of them under several.*person00/0000\.jpg, person00/copy\.jpg"):
    pack(root, tmp_path / "refused", duplicates="error")


def test_wrong_options_list_the_valid_ones(make_folder, tmp_path):
  for options, message in (
    ({"on_damage": "ignore"}, "skip, error"),
    ({"duplicates": "x"}, "keep, drop, error"),
    ({"layout": "tree"}, "folders, list, flat"),
    ({"shard_mb": 0}, "above 0"),
    ({"size": 0}, "1 to 8000"),
  ):
    with pytest.raises(ValueError, match=message):
      pack(make_folder([1], name=message), tmp_path / "out", **options)


def test_tensorflow_datasets_sees_what_is_there(make_folder, tmp_path):
  manifest = pack(make_folder([10] * 6), tmp_path / "out", shard_mb=0.03)
  script = f"""
import json, sys
import tensorflow_datasets as tfds
info = tfds.builder_from_directory({str(tmp_path / "out")!r}).info
split, label = info.splits["train"], info.features["label"]
print(json.dumps([
  split.num_examples, int(split.num_bytes), split.shard_lengths, split.filenames,
  list(info.features["image"].shape), label.names, sorted(info.features),
]))
assert "tensorflow" not in sys.modules
"""
  done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
  assert json.loads(done.stdout) == [
    60,
    sum(shard.bytes for shard in manifest.shards),
    [shard.records for shard in manifest.shards],
    [shard.file for shard in manifest.shards],
    [24, 24, 3],
    [f"person{number:02d}" for number in range(6)],
    ["id", "image", "label", "name"],
  ]


@pytest.mark.real_data
def test_real_faces(face_data, tmp_path):
  source = face_data / "celeba_aligned112"
  folders = sorted(path for path in source.iterdir())[:40]
  (tmp_path / "some").mkdir()
  for folder in folders:
    (tmp_path / "some" / folder.name).symlink_to(folder)
  manifest = pack(tmp_path / "some", tmp_path / "out", shard_mb=0.2)
  files = {path.relative_to(source).as_posix()[:-4]: path for folder in folders for path in folder.iterdir()}
  assert (manifest.num_identities, manifest.num_records, manifest.kept) == (40, len(files), len(files))
  assert (manifest.template, manifest.image_size, manifest.damaged) == ("unknown", (112, 112, 3), ())
  records = RecordSet.open(tmp_path / "out")
  assert sorted(records.names()) == sorted(files)
  for record, name in enumerate(records.names()):
    assert records.image(record) == files[name].read_bytes()
