"""Saved evaluations: what is read is what was written; damage is named; nothing is unpickled."""

import dataclasses

import numpy as np
import pytest

from jaxface.evaluation import PROTOCOLS, evaluate, make_toy, read_evaluation, read_protocol, save_evaluation
from jaxface.formats import Embeddings, Pairs
from jaxface.formats.errors import DamagedData


def people() -> Embeddings:
  rng = np.random.default_rng(0)
  embedding_nd = (np.repeat(rng.normal(size=(8, 6)), 3, axis=0) + rng.normal(size=(24, 6))).astype(np.float32)
  return Embeddings(embedding_nd, [f"p{person}/é{image}" for person in range(8) for image in range(3)], meta={"model": "net", "raw": True})


def pairs(folds: int = 2) -> Pairs:
  left = [f"p{person}/é0" for person in range(8) for _ in range(2)]
  right = [f"p{(person + other) % 8}/é1" for person in range(8) for other in range(2)]
  return Pairs(left, right, np.array([True, False] * 8), np.arange(16) % folds, "list.txt", np.arange(1, 17))


def test_an_evaluation_of_pairs_is_read_as_it_was_written(tmp_path):
  found = evaluate(people(), pairs(), save=tmp_path / "a.npz", title="ours")
  again = read_evaluation(tmp_path / "a.npz")
  np.testing.assert_array_equal(again.score_p, found.score_p)
  assert again.pairs.left == found.pairs.left and again.pairs.right == found.pairs.right and again.pairs.file == "list.txt"
  np.testing.assert_array_equal(again.pairs.line, found.pairs.line)
  assert again.verification.to_json() == found.verification.to_json() and again.figures == found.figures
  assert again.meta == {"model": "net", "raw": True, "title": "ours"} and str(again) == str(found) and again.notes == found.notes
  save_evaluation(tmp_path / "b.npz", again)
  assert (tmp_path / "b.npz").read_bytes() == (tmp_path / "a.npz").read_bytes()


def test_a_threshold_from_another_list_is_kept(tmp_path):
  found = evaluate(people(), pairs(1), threshold_from=pairs(2), save=tmp_path / "a.npz")
  again = read_evaluation(tmp_path / "a.npz").verification
  assert again.folds.threshold_from == "train pairs" and again.threshold_cosine == found.verification.threshold_cosine


def test_a_list_of_one_kind_has_scores_only(tmp_path):
  alone = dataclasses.replace(pairs(), same=np.ones(16, bool))
  found = evaluate(people(), alone, save=tmp_path / "a.npz")
  again = read_evaluation(tmp_path / "a.npz")
  assert again.verification is None and again.figures == found.figures
  np.testing.assert_array_equal(again.score_p, found.score_p)


@pytest.mark.parametrize("name", ["closed-set", "ijb-c-1n"])
def test_searches_are_kept_and_agree_with_the_figures(name, tmp_path):
  toy = make_toy(name, tmp_path / "lists")
  images = read_protocol(name, toy).images
  rng = np.random.default_rng(0)
  embeddings = Embeddings(rng.normal(size=(len(images), 4)).astype(np.float32), list(images))
  found = evaluate(embeddings, toy, protocol=name, save=tmp_path / "a.npz")
  again = read_evaluation(tmp_path / "a.npz")
  assert again.figures == found.figures and list(again.searches) == list(found.searches) and again.searches
  for gallery, one in again.searches.items():
    np.testing.assert_array_equal(one.rank, found.searches[gallery].rank)
    np.testing.assert_array_equal(one.score, found.searches[gallery].score)
    first = (one.rank[one.rank > 0] == 1).mean()
    right = found.figures["accuracy"] if name == "closed-set" else found.figures["galleries"][gallery.removeprefix("gallery ")]["rank-1"]
    assert first == pytest.approx(right)


def test_every_changed_byte_is_an_error_or_changes_nothing(tmp_path):
  evaluate(people(), pairs(), save=tmp_path / "a.npz")
  whole = (tmp_path / "a.npz").read_bytes()
  right = read_evaluation(tmp_path / "a.npz")
  refused = 0
  for at in np.random.default_rng(0).permutation(len(whole))[:400]:
    damaged = bytearray(whole)
    damaged[at] ^= 0x41
    (tmp_path / "b.npz").write_bytes(bytes(damaged))
    try:
      again = read_evaluation(tmp_path / "b.npz")
    except DamagedData as error:
      assert "b.npz" in str(error)
      refused += 1
    else:
      assert again.figures == right.figures and (again.score_p == right.score_p).all()
  assert refused > 200
  for size in (0, 10, len(whole) // 2, len(whole) - 1):
    (tmp_path / "b.npz").write_bytes(whole[:size])
    with pytest.raises(DamagedData):
      read_evaluation(tmp_path / "b.npz")


def test_other_files_are_named(tmp_path):
  np.savez(tmp_path / "e.npz", embedding=np.ones((2, 2), np.float32), name=np.array(["a", "b"]))
  with pytest.raises(DamagedData, match="but embeddings: make one with jaxface evaluate"):
    read_evaluation(tmp_path / "e.npz")
  np.savez(tmp_path / "o.npz", about=np.array([{"a": 1}], dtype=object))
  with pytest.raises(DamagedData, match="Python objects"):
    read_evaluation(tmp_path / "o.npz")
  with pytest.raises(FileNotFoundError):
    read_evaluation(tmp_path / "none.npz")
  with pytest.raises(ValueError, match="are stored in"):
    evaluate(people(), pairs(), save=tmp_path / "a.json")


def test_every_protocol_can_be_saved(tmp_path):
  for name in PROTOCOLS:
    toy = make_toy(name, tmp_path / name)
    images = read_protocol(name, toy).images
    embeddings = Embeddings(np.random.default_rng(0).normal(size=(len(images), 4)).astype(np.float32), list(images))
    found = evaluate(embeddings, toy, protocol=name, save=tmp_path / f"{name}.npz")
    assert read_evaluation(tmp_path / f"{name}.npz").figures == found.figures, name
