"""Embeddings in a `.npy` with names in a text file: read as those of an `.npz`; faults are named; large ones are mapped."""

import numpy as np
import pytest

from jaxface.evaluation import all_pairs_tar_at_far, evaluate, evaluate_all_pairs, make_toy
from jaxface.formats import DamagedData, read_embeddings

EMBEDDING = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
NAMES = [f"p{row // 4}/é {row % 4}" for row in range(40)]


def written(folder, lines=NAMES, embedding_nd=EMBEDDING):
  np.save(folder / "faces.npy", embedding_nd)
  (folder / "faces.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
  return folder / "faces.npy"


def test_names_are_the_lines_and_labels_a_second_column(tmp_path):
  found = read_embeddings(written(tmp_path))
  assert found.names == NAMES and found.label_n is None and np.array_equal(found.embedding_nd, EMBEDDING)
  found = read_embeddings(written(tmp_path, [f"{name}\tperson {row % 10}" for row, name in enumerate(NAMES)]))
  assert found.names == NAMES and found.label_n.tolist() == [row % 10 for row in range(40)]


@pytest.mark.parametrize("change", [np.asfortranarray, lambda array: array.astype(np.float64), lambda array: array.astype(np.float16)])
def test_other_types_and_orders_are_converted(tmp_path, change):
  found = read_embeddings(written(tmp_path, embedding_nd=change(EMBEDDING)))
  np.testing.assert_allclose(found.embedding_nd, EMBEDDING, atol=2e-3)
  assert found.embedding_nd.dtype == np.float32 and found.embedding_nd.flags["C_CONTIGUOUS"]


def test_float32_is_mapped_and_gives_the_figures_of_an_array(tmp_path):
  path = written(tmp_path, [f"{name}\t{row // 4}" for row, name in enumerate(NAMES)])
  given = read_embeddings(path)
  assert isinstance(given.embedding_nd, np.memmap) or isinstance(given.embedding_nd.base, np.memmap)
  right = all_pairs_tar_at_far(EMBEDDING, np.arange(40) // 4, [0.1])[0.1]
  assert evaluate_all_pairs(path, [0.1]).points[0.1].point == right


def test_protocols_take_it(tmp_path):
  lists = make_toy("cfp-fp", tmp_path / "toy")
  given = read_embeddings(tmp_path / "toy" / "embeddings.npz")
  path = written(tmp_path, given.names, given.embedding_nd)
  assert evaluate(path, lists, protocol="cfp-fp").figures == evaluate(given, lists, protocol="cfp-fp").figures


@pytest.mark.parametrize(("lines", "message"), [
  (NAMES[:-1], "39 names for the 40 rows of faces.npy"),
  ([*NAMES, "more"], "41 names for the 40 rows"),
  ([*NAMES[:3], "", *NAMES[4:]], "line 4: '': expected NAME"),
  ([*NAMES[:3], "a\tb", *NAMES[4:]], r"line 4: 'a\\tb': expected NAME, or NAME, a tab and IDENTITY, the same on all lines"),
  ([f"{name}\tb\tc" for name in NAMES], "line 1"),
])
def test_lines_that_do_not_fit_are_named(tmp_path, lines, message):
  with pytest.raises(DamagedData, match=message) as caught:
    read_embeddings(written(tmp_path, lines))
  assert "faces.txt" in str(caught.value)


def test_missing_and_damaged_files_are_named(tmp_path):
  path = written(tmp_path)
  (tmp_path / "faces.txt").write_bytes(b"\xff\xfe")
  with pytest.raises(DamagedData, match=r"faces\.txt.*not UTF-8"):
    read_embeddings(path)
  (tmp_path / "faces.txt").unlink()
  with pytest.raises(FileNotFoundError, match=r"faces.npy: has no names: write them to .*faces.txt, one line for each of its 40 rows"):
    read_embeddings(path)
  written(tmp_path)
  path.write_bytes(path.read_bytes()[:-20])
  with pytest.raises(DamagedData, match=r"not a complete \.npy file"):
    read_embeddings(path)
  with pytest.raises(FileNotFoundError, match=r"none\.npy"):
    read_embeddings(tmp_path / "none.npy")
  np.save(path, np.array([{}], object), allow_pickle=True)
  with pytest.raises(DamagedData, match=r"not a complete \.npy file of numbers"):
    read_embeddings(path)
