"""A packed set gives back what was put in; every flipped byte, lost part and contradiction is named."""

import dataclasses
import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jaxface.formats import recordset
from jaxface.formats.checked_json import read_checked_json
from jaxface.formats.errors import DamagedData
from jaxface.formats.face import Face
from jaxface.formats.identities import read_identities, write_identities
from jaxface.formats.index import build_index, index_bytes, read_index
from jaxface.formats.manifest import read_manifest, write_manifest
from jaxface.formats.recordset import RecordSet
from jaxface.formats.writer import write_recordset

NAMES = ["Ann", "Ján", "Zoë Q"]


@pytest.fixture
def faces(make_jpeg):
  return [Face(make_jpeg(number), number % 3, f"{NAMES[number % 3]}/{number:04d}", 100 + number) for number in range(10)]


@pytest.fixture
def packed(faces, tmp_path):
  write_recordset(tmp_path / "set", faces, NAMES, image_size=(24, 24, 3), template="none", num_shards=3)
  return tmp_path / "set"


def edit(path, change):
  data = bytearray(path.read_bytes())
  change(data)
  path.write_bytes(data)


def test_everything_comes_back(packed, faces):
  records = RecordSet.open(packed)
  assert (records.num_records, records.num_identities, len(records)) == (10, 3, 10)
  assert records.identity_names == NAMES
  assert records.image_shape == (24, 24, 3)
  assert records.label_n.dtype == np.int32
  assert records.label_n.tolist() == [face.label for face in faces]
  assert records.id_n.tolist() == [face.id for face in faces]
  assert records.names() == [face.name for face in faces]
  assert [records.face(record) for record in range(10)] == faces
  assert [bytes(records.image(record)) for record in range(10)] == [face.image for face in faces]
  with pytest.raises(IndexError, match="records 0 to 9"):
    records.payload(10)
  with pytest.raises(IndexError):
    records.payload(-1)


def test_threads_read_what_one_reads(packed, faces):
  records = RecordSet.open(packed)
  order = np.random.default_rng(0).integers(0, 10, 400).tolist()
  with ThreadPoolExecutor(8) as pool:
    assert list(pool.map(records.face, order)) == [faces[record] for record in order]


def test_equal_faces_give_equal_bytes(packed, faces, tmp_path):
  write_recordset(tmp_path / "again", faces, NAMES, image_size=(24, 24, 3), template="none", num_shards=3)
  assert sorted(os.listdir(packed)) == sorted(os.listdir(tmp_path / "again"))
  for name in os.listdir(packed):
    assert (packed / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


@pytest.mark.parametrize(
  ("part", "at", "message"),
  [
    ("length", 3, "length is damaged"),
    ("checksum of length", 9, "checksum of the length"),
    ("payload", 60, "payload of"),
    ("checksum of payload", -2, "payload of"),
  ],
)
def test_a_flipped_byte_is_named(packed, faces, part, at, message):
  records = RecordSet.open(packed)
  file, offset = records.place(4)
  _, end = records.place(5)
  position = offset + at if at >= 0 else end + at
  edit(file, lambda data: data.__setitem__(position, data[position] ^ 0x10))
  records = RecordSet.open(packed)
  for read in (records.payload, records.image, records.face):
    with pytest.raises(DamagedData, match=message) as caught:
      read(4)
    assert (caught.value.file, caught.value.offset, caught.value.record) == (str(file), offset, 4)
    assert f"{file}, offset {offset}, record 4" in str(caught.value)
  for record in (0, 3, 5, 9):
    assert records.face(record) == faces[record]


def test_a_truncated_shard_opens_and_names_what_is_lost(packed, faces, caplog):
  records = RecordSet.open(packed)
  file, offset = records.place(8)
  os.truncate(file, offset + 50)
  with caplog.at_level(logging.WARNING):
    records = RecordSet.open(packed)
  assert "verify it" in caplog.text
  assert records.face(7) == faces[7]
  for record in (8, 9):
    with pytest.raises(DamagedData, match="truncated") as caught:
      records.payload(record)
    assert caught.value.record == record


def test_a_missing_shard_is_named(packed):
  file, _ = RecordSet.open(packed).place(9)
  file.unlink()
  with pytest.raises(DamagedData, match=f"{file.name}: shard with 4 records is missing"):
    RecordSet.open(packed)


@pytest.mark.parametrize("loss", ["missing", "damaged"])
def test_a_lost_index_is_rebuilt_with_a_notice(packed, faces, caplog, loss):
  path = packed / read_manifest(packed).shards[1].index
  before = path.read_bytes()
  if loss == "missing":
    path.unlink()
  else:
    edit(path, lambda data: data.__setitem__(300, data[300] ^ 1))
  with caplog.at_level(logging.WARNING):
    records = RecordSet.open(packed)
  assert path.name in caplog.text and "rebuilding" in caplog.text
  assert path.read_bytes() == before
  assert [records.face(record) for record in range(10)] == faces


def test_a_lost_index_in_a_folder_that_cannot_be_written_is_kept_in_memory(packed, faces, caplog, monkeypatch):
  (packed / read_manifest(packed).shards[1].index).unlink()

  def refuse(*_):
    raise PermissionError(30, "Read-only file system")

  monkeypatch.setattr(recordset, "write_index", refuse)
  with caplog.at_level(logging.WARNING):
    assert RecordSet.open(packed).face(4) == faces[4]
  assert "kept in memory" in caplog.text


def test_a_lost_index_of_a_damaged_shard_names_the_record(packed):
  records = RecordSet.open(packed)
  file, offset = records.place(4)
  (packed / read_manifest(packed).shards[1].index).unlink()
  edit(file, lambda data: data.__setitem__(offset + 60, data[offset + 60] ^ 1))
  with pytest.raises(DamagedData) as caught:
    RecordSet.open(packed)
  assert (caught.value.file, caught.value.offset, caught.value.record) == (str(file), offset, 1)


def test_index_round_trip_and_checks(packed):
  shard = read_manifest(packed).shards[0]
  index = build_index((packed / shard.file).read_bytes(), file="shard")
  again = read_index(index_bytes(index), file="index")
  np.testing.assert_array_equal(again.entry_n, index.entry_n)
  assert again.names == index.names
  assert index.shard_bytes == shard.bytes
  gap = dataclasses.replace(index, entry_n=index.entry_n[1:], names=index.names[1:])
  for content in (b"", b"PK nonsense", index_bytes(index)[:-30], index_bytes(gap)):
    with pytest.raises(DamagedData, match="index cannot be read"):
      read_index(content, file="index")


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"num_records": 11}, "num_records is 11, its shards contain 10"),
    ({"num_identities": 4}, "4 identities"),
    ({"identities_sha": "x"}, "manifest cannot be read"),
    ({"version": 9}, "format and version"),
    ({"image_size": None}, "manifest cannot be read"),
  ],
)
def test_a_manifest_that_disagrees_is_named(packed, change, message):
  path = packed / "manifest.json"
  path.write_text(json.dumps({**read_checked_json(path), **change}))
  with pytest.raises(DamagedData, match=message) as caught:
    RecordSet.open(packed)
  assert caught.value.file == str(path)


def test_shards_of_a_manifest_that_disagrees_are_named(packed):
  manifest = read_manifest(packed)
  first, second, third = manifest.shards
  wrong = (dataclasses.replace(first, records=first.records + 1), second, dataclasses.replace(third, records=3))
  write_manifest(packed, dataclasses.replace(manifest, shards=wrong))
  with pytest.raises(DamagedData, match=f"{first.file} is listed with 4 records"):
    RecordSet.open(packed)
  escaping = (dataclasses.replace(first, file="../secret"), second, third)
  write_manifest(packed, dataclasses.replace(manifest, shards=escaping))
  with pytest.raises(DamagedData, match="must stay in the folder"):
    RecordSet.open(packed)
  write_manifest(packed, dataclasses.replace(manifest, shards=(second, first, third)))
  assert RecordSet.open(packed).face(0).id == 103


def test_an_unfinished_or_foreign_folder_says_so(tmp_path, packed):
  (packed / "manifest.json").unlink()
  with pytest.raises(FileNotFoundError, match="not a packed set"):
    RecordSet.open(packed)
  (packed / ".packing").mkdir()
  with pytest.raises(FileNotFoundError, match="run it again"):
    RecordSet.open(packed)


def test_identity_table(packed, tmp_path):
  sha256 = read_manifest(packed).identities_sha256
  assert read_identities(packed, sha256) == (NAMES, [4, 3, 3])
  path = packed / "identities.tsv"
  whole = path.read_bytes()
  path.write_text(path.read_text(encoding="utf-8").replace("1\t3\tJán", "2\t3\tJán"), encoding="utf-8")
  with pytest.raises(DamagedData, match="line 3 is"):
    RecordSet.open(packed)
  write_identities(packed, NAMES, [3, 4, 3])
  with pytest.raises(DamagedData, match=r"identities\.tsv: identity table does not match the manifest"):
    RecordSet.open(packed)
  path.unlink()
  with pytest.raises(DamagedData, match=r"identities\.tsv: identity table cannot be read"):
    RecordSet.open(packed)
  # A name with another letter is a table like any other, but for its checksum.
  for place in range(0, len(whole), 3):
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(DamagedData, match=r"identities\.tsv"):
      RecordSet.open(packed)
