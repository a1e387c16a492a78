"""Embedding files: both kinds give back what was written, damage is named, files made elsewhere are read."""

import dataclasses
import json
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from jaxface.formats.embeddings import Embeddings, read_embeddings, write_embeddings
from jaxface.formats.errors import DamagedData

SUFFIXES = [".npz", ".parquet"]
META = {"model": "iresnet18", "mirror": True, "size": [112, 112], "note": "é"}


def made(count: int = 7, size: int = 5, labels: bool = True) -> Embeddings:
  rng = np.random.default_rng(0)
  return Embeddings(
    rng.normal(size=(count, size)).astype(np.float32),
    [f"Zoë/Zoë_{index:04d}" for index in range(count)],
    np.arange(count) // 2 if labels else None,
    META,
  )


def assert_equal(one: Embeddings, other: Embeddings) -> None:
  np.testing.assert_array_equal(one.embedding_nd, other.embedding_nd)
  assert one.embedding_nd.dtype == np.float32
  assert one.names == other.names
  assert (one.label_n is None) == (other.label_n is None)
  if one.label_n is not None:
    np.testing.assert_array_equal(one.label_n, other.label_n)
    assert one.label_n.dtype == np.int64
  assert dict(one.meta) == dict(other.meta)


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_reads_what_was_written_and_writes_the_same_bytes(tmp_path, suffix, labels):
  embeddings = made(labels=labels)
  for name in ("a", "b"):
    write_embeddings(tmp_path / (name + suffix), embeddings)
  assert_equal(read_embeddings(tmp_path / ("a" + suffix)), embeddings)
  assert (tmp_path / ("a" + suffix)).read_bytes() == (tmp_path / ("b" + suffix)).read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows(tmp_path, suffix):
  write_embeddings(
    tmp_path / f"none{suffix}", Embeddings(np.empty((0, 4), np.float32), [], np.empty(0, np.int64))
  )
  assert read_embeddings(tmp_path / f"none{suffix}").names == []


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_named_or_without_effect(tmp_path_factory, suffix, position, bit):
  path = tmp_path_factory.getbasetemp() / f"flip{suffix}"
  embeddings = made()
  write_embeddings(path, embeddings)
  data = bytearray(path.read_bytes())
  data[int(position * len(data))] ^= 1 << bit
  path.write_bytes(data)
  try:
    back = read_embeddings(path)
  except DamagedData as error:
    assert str(path) in str(error)
  else:  # a bit in padding, a date, a statistic, or where the metadata are found
    assert_equal(dataclasses.replace(back, meta={}), dataclasses.replace(embeddings, meta={}))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("keep", [0, 3, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path, suffix, keep):
  path = tmp_path / f"cut{suffix}"
  write_embeddings(path, made())
  data = path.read_bytes()
  path.write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
  with pytest.raises(DamagedData, match=f"cut{suffix}: not a complete"):
    read_embeddings(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_write_leaves_the_old_file(tmp_path, suffix):
  path = tmp_path / f"kept{suffix}"
  write_embeddings(path, made())
  before = path.read_bytes()
  with pytest.raises((ValueError, TypeError)):
    write_embeddings(path, Embeddings(made().embedding_nd, made().names, None, {"bad": float("nan")}))
  assert path.read_bytes() == before
  assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_npz_from_elsewhere(tmp_path):
  path = tmp_path / "theirs.npz"
  np.savez_compressed(
    path, features=np.asfortranarray(np.arange(6.0).reshape(3, 2)), names=np.array(["a", "b", "cc"])
  )
  back = read_embeddings(path)
  np.testing.assert_array_equal(back.embedding_nd, [[0, 1], [2, 3], [4, 5]])
  assert (back.names, back.label_n, dict(back.meta)) == (["a", "b", "cc"], None, {})


def test_parquet_from_elsewhere(tmp_path):
  path = tmp_path / "theirs.parquet"
  parquet.write_table(
    pa.table(
      {"name": ["a", "b"], "label": pa.array([4, 2], pa.int16()), "embeddings": [[0.5, 1.0], [2.0, 3.0]]}
    ),
    path,
  )
  back = read_embeddings(path)
  np.testing.assert_array_equal(back.embedding_nd, [[0.5, 1], [2, 3]])
  np.testing.assert_array_equal(back.label_n, [4, 2])


def test_nothing_is_unpickled(tmp_path):
  path = tmp_path / "evil.npz"
  np.savez(path, embedding=np.zeros((1, 2), np.float32), name=np.array([{"a": 1}], object))
  with pytest.raises(DamagedData, match=r"evil.npz: name.npy holds Python objects, .*np.savez\(FILE, embedding=np.stack"):
    read_embeddings(path)


class Bomb:
  """Would make a file when it is unpickled."""

  def __init__(self, path):
    self.path = str(path)

  def __reduce__(self):
    return open, (self.path, "w")


@pytest.mark.parametrize("column", ["name", "embedding", "label"])
def test_an_object_array_is_refused_with_the_line_that_rewrites_it(tmp_path, column):
  good = {"embedding": np.ones((2, 3), np.float32), "name": np.array(["a", "b"]), "label": np.array([0, 1])}
  array = np.empty(2, object)
  array[:] = [Bomb(tmp_path / "made"), 1]
  path = tmp_path / "theirs.npz"
  np.savez(path, **{**good, column: array})
  with pytest.raises(DamagedData, match=f"{column}.npy holds Python objects, which would have to be unpickled and is rejected"):
    read_embeddings(path)
  assert not (tmp_path / "made").exists()
  # The line that the message gives, on one's own file of object arrays.
  rows = np.empty(2, object)
  rows[:] = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
  np.savez(path, embedding=rows, name=np.array(["a", "bb"], object))
  old = np.load(path, allow_pickle=True)
  np.savez(path, embedding=np.stack(list(old["embedding"])).astype("float32"), name=old["name"].astype(str))
  back = read_embeddings(path)
  np.testing.assert_array_equal(back.embedding_nd, [[1, 2], [3, 4]])
  assert back.names == ["a", "bb"]


NAMES, IDS = ["Zoë/1", "Al/1", "Zoë/2"], ["Zoë", "Al", "Zoë"]


@pytest.mark.parametrize(
  ("suffix", "kind"),
  [(".npz", "text"), (".npz", "bytes"), *((".parquet", kind) for kind in ("text", "bytes", "object", "category"))],
)
def test_names_and_labels_as_text_bytes_objects_or_categories(tmp_path, suffix, kind):
  """Objects and categories are what pandas makes of text; in .npz objects need unpickling, in Parquet they are text."""
  path = tmp_path / f"theirs{suffix}"
  if suffix == ".npz":
    made = {"text": np.array, "bytes": lambda words: np.array([word.encode() for word in words])}[kind]
    np.savez(path, embedding=np.eye(3), name=made(NAMES), label=made(IDS))
  else:
    made = {
      "text": pa.array, "bytes": lambda words: pa.array([word.encode() for word in words], pa.binary()),
      "object": lambda words: pa.array(np.array(words, object)), "category": lambda words: pa.array(words).dictionary_encode(),
    }[kind]
    parquet.write_table(pa.table({"name": made(NAMES), "embedding": np.eye(3).tolist(), "label": made(IDS)}), path)
  back = read_embeddings(path)
  assert back.names == NAMES and back.label_n.tolist() == [1, 0, 1] and back.label_n.dtype == np.int64


def test_labels_as_whole_floats_are_numbers_and_others_are_refused(tmp_path):
  path = tmp_path / "theirs.npz"
  np.savez(path, embedding=np.eye(2), name=np.array(["a", "b"]), label=np.array([3.0, 5.0]))
  assert read_embeddings(path).label_n.tolist() == [3, 5]
  for label in (np.array([3.5, 1]), np.array([np.nan, 1]), np.array([True, False])):
    np.savez(path, embedding=np.eye(2), name=np.array(["a", "b"]), label=label)
    with pytest.raises(DamagedData, match=r"theirs.npz: labels are .*, not whole numbers or names. The form: np.savez"):
      read_embeddings(path)
  np.savez(path, embedding=np.eye(2), name=np.array([b"\xff", b"b"]))
  with pytest.raises(DamagedData, match="names are bytes that are not UTF-8"):
    read_embeddings(path)


def test_a_header_that_announces_more_than_there_is_takes_no_memory(tmp_path):
  path = tmp_path / "bomb.npz"
  with zipfile.ZipFile(path, "w") as archive, archive.open("embedding.npy", "w") as file:
    np.lib.format.write_array_header_1_0(
      file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 512)}
    )
  with zipfile.ZipFile(path, "a") as archive:
    archive.writestr("name.npy", b"")
  with pytest.raises(
    DamagedData, match=r"declares float32 \(1099511627776, 512\), which does not match its size"
  ):
    read_embeddings(path)


@pytest.mark.parametrize(
  ("column", "message"),
  [
    ({"name": ["a"]}, r"no 'embedding' among its columns \['name'\]"),
    (
      {"name": ["a", "b"], "embedding": [[1.0], [1.0, 2.0]]},
      "record 1: column 'embedding' has 2 numbers where row 0 has 1",
    ),
    ({"name": ["a"], "embedding": [1.0]}, "column 'embedding' is double, not lists of numbers"),
    ({"name": ["a", None], "embedding": [[1.0], [2.0]]}, "column 'name' has 1 empty cells"),
    ({"name": ["a"], "embedding": [[None]]}, "column 'embedding' has 1 empty numbers"),
    ({"name": [3], "embedding": [[1.0]]}, r"names are int64 \(1,\), not text"),
    ({"name": ["a"], "embedding": [[1.0]], "label": [0.5]}, "labels are float64, not whole numbers or names"),
    ({"name": [b"\xff"], "embedding": [[1.0]]}, "column 'name' has bytes that are not UTF-8"),
    ({"name": ["a"], "embedding": [["x"]]}, "embeddings are object .*, not numbers"),
  ],
)
def test_parquet_that_does_not_fit_says_why(tmp_path, column, message):
  path = tmp_path / "theirs.parquet"
  parquet.write_table(pa.table(column), path)
  with pytest.raises(DamagedData, match=message):
    read_embeddings(path)


@pytest.mark.parametrize("meta", [json.dumps([1]), "made on Monday", [3, 4], ["{}"], "[" * 100_000, '{"meta": "Monday"}'])
def test_an_array_meta_that_is_not_ours_is_refused_with_the_form(tmp_path, meta):
  path = tmp_path / "theirs.npz"
  np.savez(path, embedding=np.zeros((1, 2), np.float32), name=np.array(["a"]), meta=np.array(meta))
  with pytest.raises(DamagedData, match=r"array 'meta'\) is .*but must be one text that is a JSON object.*omit it, or rename it.*np\.savez\(") as caught:
    read_embeddings(path)
  assert len(str(caught.value)) < 500 + len(str(path))


@pytest.mark.parametrize("name", ["e.npy", "e", "e.pkl"])
def test_other_suffixes_are_refused(tmp_path, name):
  for call in (lambda path: write_embeddings(path, made()), *([] if name == "e.npy" else [read_embeddings])):
    with pytest.raises(ValueError, match=r"embeddings are stored in \.npz or \.parquet, not .*np\.savez\(") as caught:
      call(tmp_path / name)
    assert ("embedding=np.load('e.npy')" in str(caught.value)) == (name == "e.npy")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_absent_file_is_just_absent(tmp_path, suffix):
  with pytest.raises(FileNotFoundError):
    read_embeddings(tmp_path / f"none{suffix}")


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"embedding_nd": np.zeros((2, 3))}, "float64"),
    ({"names": ["a"]}, "1 names for 2 embeddings"),
    ({"label_n": np.zeros(3, np.int64)}, r"labels \(3,\) for 2 embeddings"),
  ],
)
def test_parts_must_fit_together(change, message):
  whole = {"embedding_nd": np.zeros((2, 3), np.float32), "names": ["a", "b"], "label_n": None}
  with pytest.raises(ValueError, match=message):
    Embeddings(**(whole | change))
