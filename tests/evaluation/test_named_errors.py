"""What is wrong with embeddings and lists is named, with the way out, whatever evaluates them."""

import numpy as np
import pytest

from jaxface.evaluation import (
  class_accuracy,
  compare_embeddings,
  evaluate,
  evaluate_all_pairs,
  make_toy,
  search_files,
)
from jaxface.formats import DamagedData, Embeddings, read_embeddings, write_embeddings

PROTOCOLS = ("pairs", "ytf", "rfw", "ijb-c", "ijb-c-1n", "megaface-facescrub", "trillion-pairs", "closed-set")
NAMED = [name for name in PROTOCOLS if name != "ytf"]  # whose lists name images, not videos


@pytest.fixture(scope="module", params=PROTOCOLS)
def toy(request, tmp_path_factory):
  folder = tmp_path_factory.mktemp("toy") / request.param
  return request.param, make_toy(request.param, folder), read_embeddings(folder / "embeddings.npz")


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_an_embedding_without_a_direction_is_named(toy, value):
  protocol, lists, given = toy
  embedding_nd = given.embedding_nd.copy()
  embedding_nd[3] = value
  with pytest.raises(ValueError, match=r"is zero or not finite: its direction is undefined\. Embed its image again") as caught:
    evaluate(Embeddings(embedding_nd, given.names), lists, protocol=protocol)
  assert given.names[3] in str(caught.value)


@pytest.mark.parametrize("toy", NAMED, indirect=True)
def test_a_name_that_stands_twice_is_named_with_its_rows(toy):
  protocol, lists, given = toy
  names = [*given.names[:5], given.names[3], *given.names[6:]]
  with pytest.raises(ValueError, match=r"names must be unique\. They are the rows 3 and 5: remove one, or name them by their paths") as caught:
    evaluate(Embeddings(given.embedding_nd, names), lists, protocol=protocol, skip_missing=True)
  assert repr(given.names[3]) in str(caught.value)


@pytest.mark.parametrize("toy", NAMED, indirect=True)
def test_an_image_without_an_embedding_is_named(toy):
  protocol, lists, given = toy
  with pytest.raises(ValueError, match=r"no embedding is named '.*The .* embeddings are named like .*--skip-missing"):
    evaluate(Embeddings(given.embedding_nd[1:], given.names[1:]), lists, protocol=protocol)


@pytest.fixture
def people(tmp_path):
  random = np.random.default_rng(0)
  given = Embeddings(random.normal(size=(12, 4)).astype(np.float32), [f"p{row // 3}/{row}" for row in range(12)], np.arange(12) // 3)
  write_embeddings(tmp_path / "e.npz", given)
  (tmp_path / "pairs.tsv").write_text("p0/0\tp0/1\t1\t0\np0/0\tp1/3\t0\t0\np2/6\tp2/7\t1\t1\np2/6\tp3/9\t0\t1\n")
  return tmp_path, given


def test_files_that_are_cut_short_are_named(people):
  folder, given = people
  write_embeddings(folder / "e.parquet", given)
  for name in ("e.npz", "e.parquet"):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedData, match=f"{name}.*not a complete .*Copy it again, or make it anew"):
      evaluate(folder / name, folder / "pairs.tsv")
  text = (folder / "pairs.tsv").read_text()
  (folder / "pairs.tsv").write_text(text[:-9])
  with pytest.raises(DamagedData, match=r"pairs\.tsv.*line 4"):
    evaluate(given, folder / "pairs.tsv")


def test_other_sizes_are_named(people):
  _, given = people
  wide = Embeddings(np.tile(given.embedding_nd, (1, 2)), given.names)
  with pytest.raises(ValueError, match=r"probes \(12, 8\) and gallery \(12, 4\).*made by one network"):
    search_files(given, wide)


def test_lists_of_one_kind_and_empty_classes_are_named(people):
  folder, given = people
  (folder / "one.tsv").write_text("p0/0\tp0/1\t1\t0\n")
  assert "the list has no non-mated pair" in evaluate(given, folder / "one.tsv").notes[0]
  with pytest.raises(ValueError, match="needs a list with mated and non-mated pairs"):
    compare_embeddings(given, given, folder / "one.tsv")
  with pytest.raises(ValueError, match="class 2 has no samples: its accuracy is undefined; leave it out of the classes"):
    class_accuracy(np.array([0, 1]), np.array([0, 1]), classes=np.array([0, 1, 2]))
  with pytest.raises(ValueError, match="have no labels, which all pairs need: embed a folder"):
    evaluate_all_pairs(Embeddings(given.embedding_nd, given.names))
