"""Embeddings in every form: what other programs read is what was written, whatever the parts."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from jaxface.formats.embedding_forms import write_embedding_file
from jaxface.formats.embeddings import Embeddings, read_embeddings, write_embeddings
from jaxface.formats.errors import DamagedData

NAMES = [f"Zoë {number // 3}/{number}" for number in range(20)]
LABELS = np.arange(20) // 3
ROWS = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
META = {"model_digest": "0123456789abcdef", "mirror": "sum"}


def write(path, cuts=(), **changes):
  return write_embedding_file(path, **{"names": NAMES, "label_n": LABELS, "size": 6, "parts": np.split(ROWS, cuts), "meta": META, **changes})


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@given(st.lists(st.integers(0, 20), max_size=4))
def test_files_are_read_back_whatever_their_parts(tmp_path_factory, suffix, cuts):
  path = tmp_path_factory.getbasetemp() / f"parts{suffix}"
  assert write(path, sorted(cuts)) == [path]
  found = read_embeddings(path)
  np.testing.assert_array_equal(found.embedding_nd, ROWS)
  assert found.names == NAMES and found.label_n.tolist() == LABELS.tolist() and found.meta == META
  write_embeddings(path.with_stem("whole"), Embeddings(ROWS, NAMES, LABELS.astype(np.int64), META))
  if suffix == ".npz":
    assert path.read_bytes() == path.with_stem("whole").read_bytes()


def test_the_arrow_schema(tmp_path):
  write(tmp_path / "e.parquet")
  schema = parquet.read_schema(tmp_path / "e.parquet")
  assert [(field.name, field.type) for field in schema] == [("name", pa.string()), ("label", pa.int64()), ("embedding", pa.list_(pa.float32(), 6))]
  assert schema.metadata[b"model_digest"] == b"0123456789abcdef"
  assert json.loads(schema.metadata[b"jaxface"])["meta"] == META
  write(tmp_path / "n.parquet", label_n=None, meta=None)
  schema = parquet.read_schema(tmp_path / "n.parquet")
  assert schema.names == ["name", "embedding"] and b"model_digest" not in schema.metadata


def test_pandas_reads_the_parquet_file(tmp_path):
  pandas = pytest.importorskip("pandas", reason="ABSENT: pandas is not installed: reading by it was not tested here")
  write(tmp_path / "e.parquet", [7])
  frame = pandas.read_parquet(tmp_path / "e.parquet")
  assert frame["name"].tolist() == NAMES and frame["label"].tolist() == LABELS.tolist()
  np.testing.assert_array_equal(np.stack(frame["embedding"].tolist()), ROWS)


def test_duckdb_reads_the_parquet_file(tmp_path):
  duckdb = pytest.importorskip("duckdb", reason="ABSENT: DuckDB is not installed: reading by it was not tested here")
  path = tmp_path / "e.parquet"
  write(path, [7])
  rows = duckdb.sql(f"select name, label, embedding from '{path}' where label = 2 order by name").fetchall()
  assert [row[0] for row in rows] == NAMES[6:9]
  np.testing.assert_array_equal(np.array([row[2] for row in rows], np.float32), ROWS[6:9])
  (digest,) = duckdb.sql(f"select decode(value) from parquet_kv_metadata('{path}') where decode(key) = 'model_digest'").fetchall()[0]
  assert digest == "0123456789abcdef"


def test_npy_with_names_labels_and_metadata(tmp_path):
  files = write(tmp_path / "e.npy", [3, 11])
  assert sorted(file.name for file in files) == ["e.meta.json", "e.npy", "e.txt"] == sorted(file.name for file in tmp_path.iterdir())
  np.testing.assert_array_equal(np.load(tmp_path / "e.npy", allow_pickle=False), ROWS)
  found = read_embeddings(tmp_path / "e.npy")
  np.testing.assert_array_equal(found.label_n, LABELS)
  assert found.names == NAMES and found.meta == META
  write(tmp_path / "e.npy", label_n=None)
  assert read_embeddings(tmp_path / "e.npy").label_n is None and (tmp_path / "e.txt").read_text(encoding="utf-8").splitlines() == NAMES
  meta = tmp_path / "e.meta.json"
  meta.write_text(meta.read_text().replace("false", "true"))
  with pytest.raises(DamagedData, match=r"e\.meta\.json"):
    read_embeddings(tmp_path / "e.npy")
  with pytest.raises(ValueError, match="has a line break"):
    write(tmp_path / "f.npy", names=["a\nb", *NAMES[1:]])
  assert not (tmp_path / "f.npy").exists()


def test_faiss_finds_what_the_cosines_say(tmp_path):
  faiss = pytest.importorskip("faiss", reason="EXTRA ABSENT: FAISS is not installed: its index was not tested here")
  write(tmp_path / "e.faiss", [5])
  index = faiss.read_index(str(tmp_path / "e.faiss"))
  score_qk, row_qk = index.search(ROWS[:4] / np.linalg.norm(ROWS[:4], axis=1, keepdims=True), 5)
  unit_nd = ROWS.astype(np.float64) / np.linalg.norm(ROWS.astype(np.float64), axis=1, keepdims=True)
  cosine_qn = unit_nd[:4] @ unit_nd.T
  np.testing.assert_array_equal(row_qk, np.argsort(-cosine_qn)[:, :5])
  np.testing.assert_allclose(score_qk, -np.sort(-cosine_qn)[:, :5], atol=1e-6)
  assert [line.split("\t") for line in (tmp_path / "e.txt").read_text(encoding="utf-8").splitlines()] == [[*row] for row in zip(NAMES, map(str, LABELS))]
  with pytest.raises(ValueError, match="the embedding of row 2 is zero or not finite"):
    write(tmp_path / "z.faiss", parts=[ROWS * (np.arange(20) != 2)[:, None]])
  assert not (tmp_path / "z.faiss").exists()


def test_without_faiss_the_extra_is_named(tmp_path, monkeypatch):
  import sys

  monkeypatch.setitem(sys.modules, "faiss", None)
  with pytest.raises(ModuleNotFoundError, match=r"pip install 'jaxface\[search\]'"):
    write(tmp_path / "e.faiss")


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".npy"])
@pytest.mark.parametrize(("changes", "message"), [
  ({"parts": [ROWS[:19]]}, "19 embeddings for 20 names"), ({"parts": [ROWS[:, :5]]}, r"shape \(20, 5\), not \[n, 6\]"), ({"label_n": LABELS[:3]}, "3 labels for 20 names"),
])
def test_what_does_not_match_is_named_and_nothing_is_written(tmp_path, suffix, changes, message):
  with pytest.raises(ValueError, match=message):
    write(tmp_path / f"e{suffix}", **changes)
  assert not (tmp_path / f"e{suffix}").exists() and not list(tmp_path.glob(".*"))


def test_another_suffix_is_named():
  with pytest.raises(ValueError, match=r"e\.csv: embeddings are stored in \.npz, \.parquet, \.npy or \.faiss, not \.csv"):
    write("e.csv")
