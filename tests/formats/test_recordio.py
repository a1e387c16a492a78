"""MXNet record files: written here byte by byte as published, read, packed and trained on; the real file against its own lists."""

import os
import shutil
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.data import DataConfig, open_records, open_source
from jaxface.formats import DamagedData, RecordSet, decode_image, kept_index, pack
from jaxface.formats.recordio import MAGIC, scan
from jaxface.formats.recordio_set import RecordIOSet, find_recordio
from tfrecords_tools.__main__ import main as tools


def frame(kind: int, content: bytes) -> bytes:
  return MAGIC + struct.pack("<I", kind << 29 | len(content)) + content + bytes(-len(content) % 4)


def whole(content: bytes) -> bytes:
  return frame(0, content)


def split(content: bytes) -> bytes:
  """As dmlc-core writes a content with the magic number at a multiple of 4: in frames, without those four bytes."""
  parts, start = [], 0
  for at in range(0, len(content) - 3, 4):
    if content[at : at + 4] == MAGIC:
      parts.append(content[start:at])
      start = at + 4
  parts.append(content[start:])
  if len(parts) == 1:
    return frame(0, content)
  return b"".join(frame(1 if not i else 3 if i == len(parts) - 1 else 2, part) for i, part in enumerate(parts))


def content(labels: float | list[float], key: int, image: bytes = b"") -> bytes:
  if isinstance(labels, list):
    return struct.pack("<IfQQ", len(labels), 0.0, key, 0) + struct.pack(f"<{len(labels)}f", *labels) + image
  return struct.pack("<IfQQ", 0, labels, key, 0) + image


def write(folder, contents: dict[int, bytes], *, idx=True, name="train", write_frame=whole):
  folder.mkdir(exist_ok=True)
  data, lines = b"", []
  for key, one in contents.items():
    lines.append(f"{key}\t{len(data)}\n")
    data += write_frame(one)
  (folder / f"{name}.rec").write_bytes(data)
  if idx:
    (folder / f"{name}.idx").write_text("".join(lines))
  return folder


@pytest.fixture
def insightface(tmp_path, make_jpeg):
  """As InsightFace writes a training set: record 0 has two keys, then images, then a record for each identity."""
  images = {key: make_jpeg(key) for key in range(1, 8)}
  identity = {1: 5.0, 2: 5.0, 3: 5.0, 4: 0.0, 5: 0.0, 6: 9.0, 7: 9.0}
  contents = {0: content([8.0, 11.0], 0)}
  contents |= {key: content(identity[key] if key % 2 else [identity[key], 1.0], key, image) for key, image in images.items()}
  contents |= {8: content([1.0, 4.0], 8), 9: content([4.0, 6.0], 9), 10: content([6.0, 8.0], 10)}
  return write(tmp_path / "faces", contents), images, identity


@pytest.mark.parametrize("idx", [True, False])
def test_images_have_their_labels_and_bytes(insightface, idx):
  folder, images, identity = insightface
  if not idx:
    (folder / "train.idx").unlink()
  for _ in range(2):  # with a new index, and with the kept one
    records = RecordIOSet.open(folder)
    assert (records.num_records, records.num_identities, records.image_shape) == (7, 3, (24, 24, 3))
    assert records.identity_names == ["0", "5", "9"]
    assert records.label_n.tolist() == [1, 1, 1, 0, 0, 2, 2]
    assert records.names() == [f"{identity[key]:.0f}/{key}" for key in images]
    assert [bytes(records.image(record)) for record in range(7)] == list(images.values())
    assert not records.notes
  assert (folder / "train.rec.index.npz").is_file()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([MAGIC, b"\0", b"abcd", b"\x0a\x23"]), max_size=12), st.integers(0, 5))
def test_contents_in_several_frames_are_joined(pieces, labels):
  image = b"".join(pieces) + b"end"
  one = content([float(number) for number in range(labels)] if labels else 3.0, 1, image)
  data = whole(content(1.0, 0, b"first")) + split(one) + whole(content(2.0, 2, b"last"))
  index = scan(data, "a.rec")
  assert len(index) == 3 and index.bytes_n.tolist() == [5, len(image), 4]
  assert index.end_n[-1] == len(data) and (index.offset_n[1:] == index.end_n[:-1]).all()
  assert index.label_n.tolist() == [1.0, 0.0 if labels else 3.0, 2.0]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_bytes_give_an_error_or_other_records_but_never_hang(data):
  sound = bytearray(whole(content(1.0, 0, b"abcdefg")) + split(content([1.0, 2.0], 1, b"x" + MAGIC * 3)) + whole(content(2.0, 2, b"last")))
  for _ in range(data.draw(st.integers(1, 6))):
    sound[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
  cut = bytes(sound[: data.draw(st.integers(0, len(sound)))])
  try:
    index = scan(cut, "a.rec")
  except DamagedData as error:
    assert "a.rec" in str(error)
  else:
    assert (index.bytes_n <= len(cut)).all() and len(index) <= len(cut) // 8


def test_a_packed_record_file_is_the_file_record_for_record(insightface, tmp_path, capsys):
  folder, images, identity = insightface
  assert tools(["import_recordio", str(folder), str(tmp_path / "out"), "--template", "arcface112"]) == 0
  assert "7 records of 3 identities" in capsys.readouterr().out
  records = RecordSet.open(tmp_path / "out")
  faces = {face.name: face for face in map(records.face, range(7))}
  assert {name: bytes(face.image) for name, face in faces.items()} == {f"{identity[key]:.0f}/{key}": image for key, image in images.items()}
  assert all(records.identity_names[face.label] == name.split("/")[0] for name, face in faces.items())
  assert (records.manifest.layout, records.manifest.source, records.manifest.kept) == ("recordio", "train.rec", 7)
  # The same bytes for any number of processes; a second call does nothing, another file is refused.
  again = pack(folder, tmp_path / "again", processes=2, template="arcface112")
  assert again == records.manifest and pack(folder / "train.rec", tmp_path / "again", template="arcface112") == again
  other = write(tmp_path / "other", {1: content(1.0, 1, images[1])})
  with pytest.raises(FileExistsError, match="another source"):
    pack(other, tmp_path / "again", template="arcface112")


def test_a_file_that_changed_is_packed_as_it_is_now(insightface, tmp_path):
  folder, images, _ = insightface
  assert pack(folder, tmp_path / "one", processes=1).num_records == 7
  write(folder, {1: content(1.0, 1, images[1]), 2: content(2.0, 2, images[2])})
  assert pack(folder, tmp_path / "two", processes=1).num_records == 2


def test_a_record_file_is_read_as_training_data_without_packing(insightface):
  folder, images, _ = insightface
  source, held_out = open_source(DataConfig(records=str(folder), template="arcface112"))
  assert held_out is None and source.template == "arcface112" and source.num_identities == 3
  out = np.zeros((7, 24, 24, 3), np.uint8)
  assert source.read(np.arange(7), out) == []
  for row, image in enumerate(images.values()):
    np.testing.assert_array_equal(out[row], decode_image(image, where="here"))
  before = source.fingerprint()
  os.utime(folder / "train.rec", ns=(1, 1))
  assert open_records(folder, template="arcface112").fingerprint() == before
  train, rest = open_source(DataConfig(records=str(folder / "train.rec"), holdout=0.34, min_images=2))
  assert train.num_identities + rest.num_identities == 3


def test_a_changed_byte_is_named_and_other_data_have_another_fingerprint(insightface):
  folder, images, _ = insightface
  source = open_records(folder)
  before, file = source.fingerprint(), folder / "train.rec"
  data, status = bytearray(file.read_bytes()), os.stat(file)
  data[data.index(images[3]) + len(images[3]) // 2] ^= 1
  file.write_bytes(data)
  os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # so that the index is taken for the file's
  (error,) = open_records(folder).read(np.array([1, 2]), np.zeros((2, 24, 24, 3), np.uint8))
  assert error.row == 1 and "checksum" in str(error) and "train.rec" in str(error) and error.record == 3
  os.utime(file)
  assert open_records(folder).fingerprint() != before


def test_grey_png_and_other_sizes(tmp_path, make_jpeg):
  import io

  from PIL import Image

  png = io.BytesIO()
  Image.new("L", (24, 24), 77).save(png, "PNG")
  folder = write(tmp_path / "r", {1: content(4.0, 1, png.getvalue()), 2: content(7.0, 2, make_jpeg(1)), 3: content(7.0, 3, make_jpeg(2, 30, 30))})
  out = np.zeros((3, 24, 24, 3), np.uint8)
  (error,) = open_records(folder).read(np.arange(3), out)
  assert (out[0] == 77).all() and error.row == 2 and "30, 30, 3" in str(error) and "--size" in str(error)
  assert pack(folder, tmp_path / "out", size=24).num_records == 3


@pytest.mark.parametrize("name, spoil, message", [
  ("cut", lambda data: data[:-9], "ends within a record"),
  ("magic", lambda data: b"\0" * 4 + data[4:], "no record of RecordIO begins here"),
  ("kind", lambda data: data[:7] + b"\x60" + data[8:], "frame of kind 3"),
  ("labels", lambda data: whole(struct.pack("<IfQQ", 2**31, 0.0, 0, 0)) + data, "2,147,483,648 labels"),
  ("short", lambda data: whole(b"abc") + data, "content of 3 bytes"),
  ("float", lambda data: whole(content(2.5, 0, b"x")) + data, "label 2.5 is not the number of an identity"),
  ("nan", lambda data: whole(content(float("nan"), 0, b"x")) + data, "label nan"),
  ("negative", lambda data: whole(content(-1.0, 0, b"x")) + data, "label -1.0"),
  ("empty", lambda data: b"", "has no image"),
])
def test_faults_of_the_file_are_named(insightface, name, spoil, message):
  folder, _, _ = insightface
  (folder / "train.idx").unlink()
  file = folder / "train.rec"
  file.write_bytes(spoil(file.read_bytes()))
  with pytest.raises(ValueError, match=message) as raised:
    RecordIOSet.open(folder)
  assert "train.rec" in str(raised.value)


def test_faults_of_the_index_and_the_folder_are_named(insightface, tmp_path):
  folder, images, _ = insightface
  idx = folder / "train.idx"
  lines = idx.read_text().splitlines()
  for text, message in (
    (["0\t0\tx", *lines[1:]], "line 1 is"), ([*lines, lines[-1]], "stands twice"), ([*lines[:-1], "10\t3"], "begins at 3"), (["a\t0"], "should be a key"),
  ):
    idx.write_text("\n".join(text))
    with pytest.raises(DamagedData, match=message):
      RecordIOSet.open(folder)
  idx.write_text("\n".join([*lines[:5], *lines[6:]]))
  records = RecordIOSet.open(folder)
  assert records.num_records == 6 and any("not in the .idx" in note for note in records.notes) and any("announces 7" in note for note in records.notes)
  write(folder, {1: content(1.0, 1, images[1])}, name="second")
  with pytest.raises(ValueError, match="give the path of one"):
    find_recordio(folder)
  with pytest.raises(FileNotFoundError, match=r"no \.rec file"):
    RecordIOSet.open(tmp_path / "out")
  with pytest.raises(ValueError, match="takes no list"):
    pack(folder / "train.rec", tmp_path / "out", layout="recordio", list_file="x")


def test_a_folder_that_cannot_be_written_has_its_index_in_the_cache(insightface, monkeypatch, caplog, tmp_path):
  folder, _, _ = insightface
  real, refused = kept_index.atomic_file, [folder]

  def refuse(path):
    if path.is_relative_to(refused[0]):
      raise PermissionError(13, "read-only", str(path))
    return real(path)

  monkeypatch.setattr(kept_index, "atomic_file", refuse)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  assert RecordIOSet.open(folder).num_records == 7
  assert len(list((tmp_path / "cache").rglob("*.npz"))) == 1 and not (folder / "train.rec.index.npz").exists() and not caplog.text
  with monkeypatch.context() as patched:  # the kept one is found: nothing is read again
    patched.setattr("jaxface.formats.recordio_set.scan", lambda *_: pytest.fail("read again"))
    assert RecordIOSet.open(folder).num_records == 7
  os.utime(folder / "train.rec", ns=(1, 1))  # of another state
  refused[0] = tmp_path
  assert RecordIOSet.open(folder).num_records == 7 and "kept in memory" in caplog.text


@pytest.mark.real_data
def test_the_real_file_agrees_with_its_own_lists(face_data, tmp_path):
  folder = tmp_path / "mxnet"  # the data are read-only, the index is written beside them
  shutil.copytree(face_data / "mxnet", folder, copy_function=shutil.copyfile)
  folder.chmod(0o755)
  listed = dict(line.split("\t", 1) for line in (folder / "testing.lst").read_text().splitlines())
  records = RecordIOSet.open(folder)
  assert records.num_records == 217 == len(listed) and records.image_shape == (112, 112, 3)
  keys = [name.split("/")[1] for name in records.names()]
  assert sorted(keys) == sorted(listed)
  for name, label in zip(records.names(), records.label_n):
    identity, key = name.split("/")
    assert float(identity) == float(listed[key].split("\t")[0]) and records.identity_names[label] == identity
  manifest = pack(folder, tmp_path / "out", template="arcface112")
  assert (manifest.num_records, manifest.kept, manifest.image_size) == (217, 217, (112, 112, 3))
  packed = RecordSet.open(tmp_path / "out")
  image = {name: bytes(records.image(record)) for record, name in enumerate(records.names())}
  assert {name: bytes(packed.image(record)) for record, name in enumerate(packed.names())} == image
