"""Embeddings read by rows from mapped files: the array of the file, for any slices, and named errors."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from jaxface.evaluation import all_pairs_tar_at_far, nearest_embeddings
from jaxface.formats import DamagedData, EmbeddingRows, Embeddings, read_embeddings, write_embeddings
from jaxface.formats.embedding_parts import write_embedding_parts

COUNT, SIZE = 103, 6
EMBEDDING = np.random.default_rng(0).normal(size=(COUNT, SIZE)).astype(np.float32)


def npy(folder):
  np.save(folder / "x.npy", EMBEDDING)
  return folder / "x.npy"


def npz(folder):
  write_embeddings(folder / "x.npz", Embeddings(EMBEDDING, [f"image{row}" for row in range(COUNT)]))
  return folder / "x.npz"


def parts(folder):
  write_embedding_parts(folder / "p.npz", [str(row) for row in range(COUNT)], SIZE, np.array_split(EMBEDDING, 4))
  return folder / "p.npz"


def lists(folder, rows=EMBEDDING, group=10, name="x.parquet"):
  parquet.write_table(pa.table({"embedding": [list(row) for row in rows]}), folder / name, row_group_size=group)
  return folder / name


WRITERS = [npy, npz, parts, lists]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  return [EmbeddingRows.open(write(tmp_path_factory.mktemp(write.__name__))) for write in WRITERS]


@given(start=st.integers(-5, COUNT + 5), stop=st.integers(-5, COUNT + 5))
def test_a_slice_is_that_of_the_array(files, start, stop):
  for rows in files:
    assert rows.shape == (COUNT, SIZE) and len(rows) == COUNT
    assert np.array_equal(rows[start:stop], EMBEDDING[start:stop])


def test_figures_of_a_mapped_file_are_those_of_the_array(files):
  label_n = np.arange(COUNT) // 3
  expected = all_pairs_tar_at_far(EMBEDDING, label_n, [0.01], rows=32)
  nearest = nearest_embeddings(EMBEDDING[:9], EMBEDDING, 4)
  for rows in files:
    assert all_pairs_tar_at_far(rows, label_n, [0.01], rows=32) == expected
    assert np.array_equal(nearest_embeddings(rows[:9], rows, 4).row, nearest.row)


def test_arrays_of_other_programs(tmp_path):
  np.savez(tmp_path / "f.npz", features=EMBEDDING.astype(np.float16))
  assert EmbeddingRows.open(tmp_path / "f.npz")[3:5].dtype == np.float16
  np.save(tmp_path / "columns.npy", np.asfortranarray(EMBEDDING))
  assert np.array_equal(EmbeddingRows.open(tmp_path / "columns.npy")[90:], EMBEDDING[90:])


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_cut_short_is_named(write, tmp_path):
  path = write(tmp_path)
  whole = path.read_bytes()
  for size in (0, 10, 200, len(whole) // 2, len(whole) - 1):
    path.write_bytes(whole[:size])
    with pytest.raises(DamagedData, match=path.name):
      EmbeddingRows.open(path)[:]


def test_a_number_that_is_not_finite_and_a_zero_row_are_named_with_the_file(tmp_path):
  for value, row in ((np.nan, 77), (0.0, 42)):
    bad_nd = EMBEDDING.copy()
    bad_nd[row] = value
    np.save(tmp_path / "bad.npy", bad_nd)
    for path in (tmp_path / "bad.npy", lists(tmp_path, bad_nd, name="bad.parquet")):
      with pytest.raises(ValueError, match=rf"{path.name}, row {row}: the embedding is zero or not finite"):
        nearest_embeddings(EMBEDDING[:2], EmbeddingRows.open(path), 1, rows=32)


def test_mixed_dimensions_are_named_with_the_row(tmp_path):
  rows = [*EMBEDDING[:25], EMBEDDING[25, :4], *EMBEDDING[26:]]
  with pytest.raises(DamagedData, match="record 25: column 'embedding' has 4 numbers where row 20 has 6"):
    EmbeddingRows.open(lists(tmp_path, rows))[:]
  rows = [*EMBEDDING[:20], *EMBEDDING[20:, :4]]
  with pytest.raises(DamagedData, match="record 20: column 'embedding' has 4 numbers where row 0 has 6"):
    EmbeddingRows.open(lists(tmp_path, rows))[:]


@pytest.mark.parametrize(
  ("name", "write", "message"),
  [
    ("x.npz", lambda path: np.savez_compressed(path, embedding=EMBEDDING), "is compressed and cannot be mapped: .*np.savez"),
    ("x.npz", lambda path: np.savez(path, other=EMBEDDING), "no 'embedding' among its columns"),
    ("x.npz", lambda path: np.savez(path, embedding=EMBEDDING[0]), r"float32 \(6,\), not numbers \[N, D\]"),
    ("x.npy", lambda path: np.save(path, np.array(["a"])), "not numbers"),
    ("x.npy", lambda path: np.save(path, np.array([{}]), allow_pickle=True), "not a complete .npy file of numbers"),
    ("x.txt", lambda path: path.write_text(""), "rows are read from .npy, .npz or .parquet, not .txt"),
    ("x.parquet", lambda path: parquet.write_table(pa.table({"embedding": [1.0]}), path), "not lists of numbers"),
    ("x.parquet", lambda path: parquet.write_table(pa.table({"embedding": [[1.0], None]}), path), "1 empty cells"),
  ],
)
def test_other_content_is_refused_with_what_would_be_right(name, write, message, tmp_path):
  write(tmp_path / name)
  with pytest.raises(ValueError, match=message):
    EmbeddingRows.open(tmp_path / name)[:]


def test_rows_are_read_in_order_only(files):
  with pytest.raises(ValueError, match="one after another"):
    files[0][::2]


def test_a_missing_file(tmp_path):
  for suffix in ("npy", "npz", "parquet"):
    with pytest.raises(FileNotFoundError):
      EmbeddingRows.open(tmp_path / f"absent.{suffix}")


def test_an_empty_parquet_file(tmp_path):
  table = pa.table({"embedding": pa.array([], pa.list_(pa.float32()))})
  parquet.write_table(table, tmp_path / "x.parquet")
  assert EmbeddingRows.open(tmp_path / "x.parquet")[:].shape[0] == read_rows(tmp_path) == 0


def read_rows(folder):
  np.savez(folder / "empty.npz", embedding=np.zeros((0, 3), np.float32), name=np.zeros(0, "U1"))
  return len(read_embeddings(folder / "empty.npz").names)
