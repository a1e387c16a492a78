"""Files of embeddings in parts: the same bytes of arrays as written as a whole, in any blocks, and damage is found."""

import numpy as np
import pytest

from jaxface.formats.embedding_parts import EmbeddingParts, write_embedding_parts
from jaxface.formats.embeddings import Embeddings, read_embeddings, write_embeddings
from jaxface.formats.errors import DamagedData

COUNT, SIZE = 23, 5


@pytest.fixture
def table():
  rng = np.random.default_rng(0)
  return [f"name {index} ä" for index in range(COUNT)], rng.normal(size=(COUNT, SIZE)).astype(np.float32)


@pytest.mark.parametrize("block", [1, 7, 23, 100])
def test_parts_are_those_of_the_whole_file_and_the_reverse(block, table, tmp_path):
  names, rows = table
  write_embedding_parts(tmp_path / "parts.npz", names, SIZE, np.array_split(rows, 4), {"centers": "x"})
  whole = read_embeddings(tmp_path / "parts.npz")
  assert whole.names == names and whole.meta == {"centers": "x"}
  np.testing.assert_array_equal(whole.embedding_nd, rows)

  write_embeddings(tmp_path / "whole.npz", Embeddings(rows, names, None, {"centers": "x"}))
  file = EmbeddingParts.open(tmp_path / "whole.npz")
  assert (file.count, file.size, file.meta) == (COUNT, SIZE, {"centers": "x"})
  found = list(file.parts(block))
  assert [len(some) for some, _ in found[:-1]] == [block] * (len(found) - 1)
  assert [name for some, _ in found for name in some] == names
  np.testing.assert_array_equal(np.concatenate([part for _, part in found]), rows)


def test_equal_tables_give_equal_bytes(table, tmp_path):
  names, rows = table
  for name, parts in (("a", [rows]), ("b", np.array_split(rows, 5))):
    write_embedding_parts(tmp_path / f"{name}.npz", names, SIZE, parts)
  write_embeddings(tmp_path / "whole.npz", Embeddings(rows, names))
  assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_parts_that_do_not_fit_leave_no_file(table, tmp_path):
  names, rows = table
  with pytest.raises(ValueError, match="20 embeddings for 23 names"):
    write_embedding_parts(tmp_path / "a.npz", names, SIZE, [rows[:20]])
  with pytest.raises(ValueError, match=r"shape \(23, 4\), not \[n, 5\]"):
    write_embedding_parts(tmp_path / "a.npz", names, SIZE, [rows[:, :4]])
  assert not list(tmp_path.iterdir())


def test_every_flipped_byte_of_the_arrays_is_found(table, tmp_path):
  names, rows = table
  path = tmp_path / "a.npz"
  write_embedding_parts(path, names, SIZE, [rows])
  good = path.read_bytes()
  start = good.index(rows.tobytes()[:16])
  for place in (start, start + 101, start + rows.nbytes - 1):
    path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
    with pytest.raises(DamagedData, match=r"a\.npz"):
      list(EmbeddingParts.open(path).parts(7))
  for cut in (10, len(good) // 2, len(good) - 3):
    path.write_bytes(good[:cut])
    with pytest.raises(DamagedData, match=r"a\.npz"):
      list(EmbeddingParts.open(path).parts(7))


def test_other_columns_are_named(tmp_path):
  np.savez(tmp_path / "a.npz", embedding=np.zeros((2, 3), np.float32), other=np.zeros(2))
  with pytest.raises(DamagedData, match="needs the arrays embedding and name"):
    EmbeddingParts.open(tmp_path / "a.npz")
  np.savez(tmp_path / "b.npz", embedding=np.zeros((2, 3), np.float32), name=np.array(["a", "b", "c"]))
  with pytest.raises(DamagedData, match="not numbers"):
    EmbeddingParts.open(tmp_path / "b.npz")
