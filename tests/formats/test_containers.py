"""Tars, ZIP files, Parquet, LMDB and TFDS folders, written by the libraries of their formats, are the same faces as the folder they came from."""

import io
import json
import os
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxface.data import DataConfig, open_records, open_source
from jaxface.data.config import make_order
from jaxface.formats import DamagedData, RecordSet, UnsafePath, decode_image, pack
from jaxface.formats.container_tfds import tfds_folder
from jaxface.formats.containers import find_container, open_container
from jaxface.formats.manifest import FILE

LAYOUTS = ("webdataset", "zip", "parquet", "lmdb", "tfds")


@pytest.fixture(scope="module")
def faces():
  """Image files by (identity, name); identities skip numbers."""
  from PIL import Image

  def jpeg(seed):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)).save(out, "JPEG")
    return out.getvalue()

  return {(identity, f"{number}"): jpeg(7 * number + int(identity)) for identity in ("3", "10", "5") for number in range(3)}


def tar(path, members):
  with tarfile.open(path, "w") as out:
    for name, data in members:
      entry = tarfile.TarInfo(name)
      entry.size = len(data)
      out.addfile(entry, io.BytesIO(data))
  return path


def write_webdataset(folder, faces):
  rows = list(enumerate(faces.items()))
  for part, some in enumerate((rows[:4], rows[4:])):
    members = []
    for number, ((identity, _), image) in some:
      label = (".json", json.dumps({"label": int(identity)}).encode()) if number % 2 else (".cls", identity.encode())
      members += [(f"{number:06d}.jpg", image), (f"{number:06d}{label[0]}", label[1])]
    tar(folder / f"part-{part}.tar", members)


def write_zip(folder, faces, method=None):
  with zipfile.ZipFile(folder / "faces.zip", "w") as out:
    out.writestr("set/readme.txt", "hello")
    for number, ((identity, name), image) in enumerate(faces.items()):
      out.writestr(f"set/{identity}/{name}.jpg", image, method if method is not None else (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[number % 2])


def write_parquet(folder, faces, labels=None):
  names = sorted({identity for identity, _ in faces})
  table = pa.table({
    "image": pa.array([{"bytes": image, "path": None} for image in faces.values()], pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    "label": pa.array(labels if labels is not None else [names.index(identity) for identity, _ in faces]),
  })
  features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
  table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
  (folder / "data").mkdir(exist_ok=True)
  pq.write_table(table.slice(0, 5), folder / "data" / "train-00000-of-00002.parquet", row_group_size=2)
  pq.write_table(table.slice(5), folder / "data" / "train-00001-of-00002.parquet")
  pq.write_table(table.slice(0, 1), folder / "data" / "test-00000-of-00001.parquet")


def write_lmdb(folder, faces):
  lmdb = pytest.importorskip("lmdb")
  with lmdb.open(str(folder), map_size=1 << 24) as out, out.begin(write=True) as writing:
    writing.put(b"num-samples", str(len(faces)).encode())
    for number, ((identity, _), image) in enumerate(faces.items(), start=1):
      writing.put(b"image-%09d" % number, image)
      writing.put(b"label-%09d" % number, identity.encode())


def write_tfds(folder, faces):
  source = folder.parent / f"{folder.name}.folder"
  for (identity, name), image in faces.items():
    (source / identity).mkdir(parents=True, exist_ok=True)
    (source / identity / f"{name}.jpg").write_bytes(image)
  pack(source, folder, processes=1)  # with the metadata that tensorflow_datasets writes
  for file in (FILE, "identities.tsv"):
    (folder / file).unlink()
  for file in folder.glob("*.npz"):
    file.unlink()


def make(folder, layout, faces):
  folder.mkdir(parents=True)
  {"webdataset": write_webdataset, "zip": write_zip, "parquet": write_parquet, "lmdb": write_lmdb, "tfds": write_tfds}[layout](folder, faces)
  return folder


def contents(records):
  return sorted((records.identity_names[label], bytes(records.image(record))) for record, label in enumerate(records.label_n.tolist()))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_the_faces_trains_and_packs(tmp_path, faces, layout):
  folder = make(tmp_path / layout, layout, faces)
  expected = sorted((identity, image) for (identity, _), image in faces.items())
  for _ in range(2):  # with a new index, and with the kept one
    records = open_container(find_container(folder))
    assert (records.layout, records.num_records, records.num_identities, records.image_shape) == (layout, 9, 3, (24, 24, 3))
    assert records.identity_names == ["3", "5", "10"] and contents(records) == expected and len(set(records.names())) == 9
  assert list(folder.rglob("*.index.npz"))
  # Training reads the same pixels; the order is a function of seed and position alone, so it resumes anywhere.
  source, _ = open_source(DataConfig(records=str(folder)))
  out = np.zeros((9, 24, 24, 3), np.uint8)
  assert source.read(np.arange(9), out) == []
  for record in range(9):
    np.testing.assert_array_equal(out[record], decode_image(records.image(record), where="here"))
  order = make_order(DataConfig(), source, 4, seed=3)
  whole = order.rows(0, 20)
  np.testing.assert_array_equal(np.stack(order.rows(7, 20)), np.stack(whole)[:, 7:])
  fingerprint = source.fingerprint()
  moved = folder.rename(tmp_path / "moved")
  assert open_records(moved).fingerprint() == fingerprint
  # Packed, it is the set of the folder.
  manifest = pack(moved, tmp_path / "out", layout=layout, processes=1)
  assert (manifest.layout, manifest.kept, manifest.num_records) == (layout, 9, 9)
  assert contents(RecordSet.open(tmp_path / "out")) == expected
  assert pack(moved, tmp_path / "out", processes=1, layout=layout) == manifest


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_changed_image_is_named(tmp_path, faces, layout):
  folder = make(tmp_path / layout, layout, {key: faces[key] for key in list(faces)[:6]})
  open_container(find_container(folder))
  records = open_container(find_container(folder))
  file, offset = records.place(2)
  if layout == "lmdb":  # found by its bytes: offsets are those of keys
    offset = file.read_bytes().index(bytes(records.image(2))[-80:])
  data, status = bytearray(file.read_bytes()), os.stat(file)
  data[offset + 20] ^= 1
  file.write_bytes(data)
  os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
  with pytest.raises(DamagedData, match=r"checksum|inflated") as raised:
    open_container(find_container(folder)).image(2)
  assert file.name in str(raised.value)


def test_faults_of_tars_are_named(tmp_path, faces):
  image = next(iter(faces.values()))
  one = tmp_path / "one.tar"

  def refuse(error, message, members=None):
    if members is not None:
      tar(one, members)
    with pytest.raises(error, match=message) as raised:
      open_container(one)
    assert "one.tar" in str(raised.value)

  sound = [("a.jpg", image), ("a.cls", b"1")]
  for label in (b"1.5", b"-1", b"nan"):
    refuse(DamagedData, "is not an identity", [("a.jpg", image), ("a.cls", label)])
  refuse(DamagedData, "is not an identity", [("a.jpg", image), ("a.json", b'{"label": 2.0}')])
  refuse(DamagedData, "no label", [("a.jpg", image)])
  refuse(DamagedData, "has no label", [*sound, ("p/b.jpg", image)])
  refuse(DamagedData, "two images", [("a.jpg", image), ("a.png", image), ("a.cls", b"1")])
  refuse(DamagedData, "stands twice", [*sound, *sound[:1]])
  whole = tar(one, sound).read_bytes()
  one.write_bytes(whole[: 4 * 512 + (len(image) - 1) // 512 * 512])  # after the last member, before the zeros
  refuse(DamagedData, "end mark")
  refuse(UnsafePath, "leaves", [("../a.jpg", image), ("../a.cls", b"1")])
  refuse(UnsafePath, "leaves", [("/a.jpg", image), ("/a.cls", b"1")])
  data = tar(one, [*sound, ("b.jpg", image), ("b.cls", b"1")]).read_bytes()
  for cut in (len(image) + 700, len(image) // 2 + 512, 300):
    one.write_bytes(data[:cut])
    refuse(DamagedData, "cut short|not a complete tar|end mark")
  with tarfile.open(one, "w:gz") as out:
    out.addfile(tarfile.TarInfo("a.jpg"))
  refuse(DamagedData, "gunzip")


def test_faults_of_zip_files_are_named(tmp_path, faces):
  folder = tmp_path / "z"
  folder.mkdir()
  file = folder / "faces.zip"
  write_zip(folder, faces, zipfile.ZIP_STORED)
  sound = file.read_bytes()
  image = next(iter(faces.values()))
  at = sound.index(image)
  for data, message in ((sound[:-30], "not a complete ZIP"), (sound[: len(sound) // 2], "not a complete ZIP"), (sound[:at] + b"xx" + sound[at + 2 :], "checksum")):
    file.write_bytes(data)
    with pytest.raises(DamagedData, match=message):
      open_container(file)
  write_zip(folder, faces, zipfile.ZIP_BZIP2)
  with pytest.raises(DamagedData, match="another way than deflate"):
    open_container(file)
  with zipfile.ZipFile(file, "w") as out:
    out.writestr("../a/b.jpg", image)
  with pytest.raises(UnsafePath, match="leaves"):
    open_container(file)


def test_faults_of_parquet_and_tfds_are_named(tmp_path, faces, monkeypatch):
  folder = make(tmp_path / "p", "parquet", faces)
  assert any("do not begin with 'train'" in note for note in open_container(find_container(folder)).notes)
  write_parquet(folder, faces, labels=[1.5] * 9)
  with pytest.raises(DamagedData, match=r"label 1\.5 is not an identity.*column 'label'|column 'label'.*label 1\.5 is not an identity"):
    open_container(find_container(folder))
  write_parquet(folder, faces, labels=[7] * 9)
  with pytest.raises(DamagedData, match="label 7, but the schema names 3"):
    open_container(find_container(folder))
  first = next((folder / "data").glob("train-00000*"))
  first.write_bytes(first.read_bytes()[:-9])
  with pytest.raises(DamagedData, match="not a complete Parquet"):
    open_container(find_container(folder))
  pq.write_table(pa.table({"image": [b"x"], "other": [1]}), first)
  with pytest.raises(ValueError, match="one of label"):
    open_container(find_container(folder))

  base = make(tmp_path / "tfds" / "faces" / "1.0.0", "tfds", faces)
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
  assert tfds_folder("tfds:faces") == base and open_container(find_container("tfds:faces")).num_records == 9
  assert open_records("tfds:faces").num_records == 9
  (shard,) = base.glob("*.tfrecord-*")
  data = shard.read_bytes()
  shard.write_bytes(data[:-5])
  with pytest.raises(DamagedData, match="truncated"):
    open_container(find_container(base))
  shard.unlink()
  with pytest.raises(DamagedData, match="announces 1 files"):
    open_container(find_container(base))


def test_a_pickled_lmdb_and_a_missing_sample_are_named(tmp_path, faces):
  lmdb = pytest.importorskip("lmdb")
  import pickle

  for name, rows, message in (
    ("pickled", {b"a/1": pickle.dumps([1])}, "pickled"),
    ("missing", {b"num-samples": b"2", b"image-000000001": next(iter(faces.values())), b"label-000000001": b"1"}, "sample 2 has no image"),
    ("float", {b"num-samples": b"1", b"image-000000001": next(iter(faces.values())), b"label-000000001": b"0.5"}, "is not an identity"),
  ):
    with lmdb.open(str(tmp_path / name), map_size=1 << 20) as out, out.begin(write=True) as writing:
      for key, value in rows.items():
        writing.put(key, value)
    with pytest.raises(DamagedData, match=message):
      open_container(find_container(tmp_path / name))


def test_a_folder_with_two_layouts_needs_a_choice(tmp_path, faces):
  folder = make(tmp_path / "both", "zip", faces)
  write_webdataset(folder, faces)
  with pytest.raises(ValueError, match="webdataset, zip"):
    find_container(folder)
  assert find_container(folder, "zip") == folder / "faces.zip"
