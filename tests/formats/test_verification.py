"""`verify` names every fault there is, and none where there is none."""

import json
import os
import struct

import numpy as np
import pytest

from jaxface.formats.checked_json import read_checked_json
from jaxface.formats.face import Face
from jaxface.formats.manifest import read_manifest
from jaxface.formats.packing import pack
from jaxface.formats.verification import verify_records
from jaxface.formats.writer import write_recordset
from tfrecords_tools.__main__ import main


@pytest.fixture
def packed(make_folder, tmp_path):
  pack(make_folder([6, 5, 9, 7]), tmp_path / "out", shard_mb=0.012)
  assert verify_records(tmp_path / "out") == []
  return tmp_path / "out"


def flip(path, *positions):
  data = bytearray(path.read_bytes())
  for position in positions:
    data[position] ^= 0x20
  path.write_bytes(data)


def frames(path):
  """(start, end) of each record, walked independently of the code under test."""
  data, at, found = path.read_bytes(), 0, []
  while at < len(data):
    (length,) = struct.unpack_from("<Q", data, at)
    found.append((at, at + length + 16))
    at += length + 16
  return found


@pytest.mark.parametrize("lost_index", [False, True])
def test_every_fault_is_named_with_file_offset_and_record(packed, capsys, lost_index):
  shard, other = read_manifest(packed).shards[:2]
  spans = frames(packed / shard.file)
  assert len(spans) >= 6
  positions = {0: spans[0][0] + 2, 2: spans[2][0] + 8, 3: spans[3][0] + 200, 5: spans[5][1] - 1}
  flip(packed / shard.file, *positions.values())
  flip(packed / other.file, 100)
  if lost_index:
    (packed / shard.index).unlink()
  faults = verify_records(packed)
  found = [(fault.file, fault.offset, fault.record) for fault in faults]
  wanted = [(str(packed / shard.file), spans[record][0], record) for record in positions]
  assert found == [*wanted, (str(packed / other.file), 0, shard.records)]
  for fault, part in zip(faults, ("length is damaged", "checksum of the length", "payload of", "payload of")):
    assert part in fault.what
  assert main(["verify", str(packed)]) == 1
  printed = capsys.readouterr().out
  assert f"{packed / shard.file}, offset {spans[3][0]}, record 3: payload of" in printed
  assert printed.endswith("5 faults\n")


@pytest.mark.parametrize("lost_index", [False, True])
def test_a_truncated_shard(packed, lost_index):
  shard = read_manifest(packed).shards[0]
  spans = frames(packed / shard.file)
  os.truncate(packed / shard.file, spans[-1][0] + 6)
  if lost_index:
    (packed / shard.index).unlink()
  faults = verify_records(packed)
  assert f"{spans[-1][0] + 6} bytes, {shard.bytes} in the manifest" in faults[0].what
  assert "truncated" in faults[1].what
  assert (faults[1].offset, faults[1].record) == (spans[-1][0], len(spans) - 1)
  assert len(faults) == 2


def test_a_missing_index_is_rebuilt_and_no_fault(packed, caplog):
  path = packed / read_manifest(packed).shards[1].index
  before = path.read_bytes()
  path.unlink()
  assert verify_records(packed) == []
  assert path.name in caplog.text and path.read_bytes() == before


def test_a_missing_shard_and_a_longer_one(packed):
  first, second = read_manifest(packed).shards[:2]
  (packed / first.file).unlink()
  with open(packed / second.file, "ab") as file:
    file.write(b"tail")
  what = [fault.what for fault in verify_records(packed)]
  assert what == [f"shard with {first.records} records is missing", f"shard has {second.bytes + 4} bytes, {second.bytes} in the manifest"]


def test_a_manifest_that_disagrees(packed):
  path = packed / "manifest.json"
  text = json.dumps(read_checked_json(path))
  sha = read_manifest(packed).shards[0].sha256
  for change, message in (
    (lambda fields: fields.update(num_records=28), "num_records is 28"),
    (lambda fields: fields.update(num_identities=5), "num_identities is 5, the identity table has 4"),
    (lambda fields: fields["shards"][0].update(sha256="0" * 64), "SHA-256 does not match"),
    (lambda fields: fields.update(identities_sha256=sha), "identity table does not match"),
    (lambda fields: fields.update(image_size=[30, 24, 3]), "has shape (24, 24, 3), (30, 24, 3) in the manifest"),
    (lambda fields: fields["shards"][0].update(index_sha256="0" * 64), "not those of the manifest"),
  ):
    fields = json.loads(text)
    change(fields)
    path.write_text(json.dumps(fields))
    assert any(message in fault.what for fault in verify_records(packed)), message
  path.unlink()
  with pytest.raises(FileNotFoundError, match="not a packed set"):
    verify_records(packed)


@pytest.mark.parametrize(
  ("name", "old", "new", "message"),
  [
    ("dataset_info.json", '"numBytes": "', '"numBytes": "1', "bytes: 1"),
    ("dataset_info.json", '"shardLengths": [', '"shardLengths": ["3",', "shard lengths: [3, "),
    ("features.json", '"24"', '"25"', "image: [25, 25, 3], should be [24, 24, 3]"),
    ("features.json", '"numClasses": "4"', '"numClasses": "5"', "labels: 5, should be 4"),
    ("label.labels.txt", "person02", "person20", "names: "),
    ("label.labels.txt", None, None, "cannot be read"),
  ],
)
def test_metadata_that_lies_to_tensorflow_datasets(packed, name, old, new, message):
  path = packed / name
  if old is None:
    path.unlink()
  else:
    path.write_text(path.read_text().replace(old, new))
  (fault,) = verify_records(packed)
  assert fault.file == str(path)
  assert message in fault.what


def test_images_labels_and_ids_are_looked_at(tmp_path, make_jpeg):
  faces = [
    Face(make_jpeg(0), 0, "a/0", 0),
    Face(make_jpeg(1)[:-80], 0, "a/1", 1),
    Face(make_jpeg(2, 30, 24), 1, "b/2", 2),
    Face(make_jpeg(3), 1, "b/3", 0),
  ]
  write_recordset(tmp_path / "set", faces, ["a", "b"], image_size=(24, 24, 3))
  faults = verify_records(tmp_path / "set")
  offsets = [start for start, _ in frames(tmp_path / "set" / "faces-train.tfrecord-00000-of-00001")]
  assert [(fault.record, fault.offset) for fault in faults] == [(1, offsets[1]), (2, offsets[2]), (None, None)]
  assert "image 'a/1': JPEG cannot be decoded: Premature end" in faults[0].what
  assert "shape (30, 24, 3)" in faults[1].what
  assert "1 record ids occur more than once" in faults[2].what


def test_processes_find_the_same(packed):
  for shard in read_manifest(packed).shards[:2]:
    flip(packed / shard.file, 100, 900)
  assert [str(fault) for fault in verify_records(packed, processes=2)] == [str(fault) for fault in verify_records(packed, processes=1)]


@pytest.mark.real_data
def test_a_flip_anywhere_in_real_records_is_found(face_data, tmp_path):
  (tmp_path / "some").mkdir()
  for folder in sorted((face_data / "lfw_aligned112").iterdir())[:24]:
    (tmp_path / "some" / folder.name).symlink_to(folder)
  pack(tmp_path / "some", tmp_path / "out")
  (shard,) = read_manifest(tmp_path / "out").shards
  whole = (tmp_path / "out" / shard.file).read_bytes()
  spans = frames(tmp_path / "out" / shard.file)
  starts = np.array([start for start, _ in spans])
  assert verify_records(tmp_path / "out") == []
  for position in np.random.default_rng(0).integers(0, len(whole), 12).tolist():
    flip(tmp_path / "out" / shard.file, position)
    record = int(np.searchsorted(starts, position, "right")) - 1
    (fault,) = verify_records(tmp_path / "out")
    assert (fault.record, fault.offset) == (record, starts[record])
    (tmp_path / "out" / shard.file).write_bytes(whole)
