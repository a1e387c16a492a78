"""`evaluate`: files in, figures out, for lists with missing images and of one kind too."""

import json

import numpy as np
import pytest

from jaxface.evaluation import LargestFeatures, evaluate, verify
from jaxface.formats import Embeddings, Pairs, write_embeddings


@pytest.fixture
def people():
  """Twelve images of four people, three each, near one direction per person; positive, as after a ReLU."""
  rng = np.random.default_rng(0)
  embedding_nd = np.abs(np.repeat(rng.normal(size=(4, 6)), 3, axis=0) + 0.1 * rng.normal(size=(12, 6))).astype(np.float32)
  return Embeddings(embedding_nd, [f"p{person}/{image}" for person in range(4) for image in range(3)])


def pairs_of(same, left, right):
  return Pairs(left, right, np.array(same, bool), np.zeros(len(left), np.int64))


BOTH = pairs_of([1, 1, 0, 0], ["p0/0", "p1/0", "p0/0", "p2/1"], ["p0/1", "p1/2", "p1/0", "p3/0"])


def test_a_list_of_both_kinds_has_the_figures_of_verify(people, tmp_path):
  write_embeddings(tmp_path / "people.npz", people)
  found = evaluate(tmp_path / "people.npz", BOTH, out=tmp_path / "new" / "figures.json")
  right = verify(people, BOTH)
  assert found.verification.to_json() == right.to_json() and str(found).startswith(right.summary())
  plain = json.loads((tmp_path / "new" / "figures.json").read_text())
  assert plain == found.figures and plain["auc"] == right.auc
  assert tuple(plain["notes"]) == found.notes


def test_a_list_of_one_kind_has_scores_and_takes_the_threshold_of_another(people):
  alone = pairs_of([1, 1], ["p0/0", "p3/1"], ["p0/2", "p3/2"])
  found = evaluate(people, alone, threshold_from=BOTH)
  assert found.verification is None and found.figures["pairs"] == 2
  assert found.figures["accepted"] == int((found.score_p >= found.figures["threshold_cosine"]).sum())
  assert "no non-mated pair" in found.notes[-1] and "of 2 accepted" in str(found)


def test_missing_images_are_refused_or_left_out(people):
  more = pairs_of([1, 0, 0], ["p0/0", "p0/0", "x"], ["p0/1", "p1/0", "p1/1"])
  with pytest.raises(ValueError, match="no embedding is named 'x'"):
    evaluate(people, more)
  found = evaluate(people, more, skip_missing=True)
  assert len(found.pairs) == 2 and "1 of 3 pairs" in found.notes[0]


def test_the_fit_of_largest_features_is_made_applied_and_kept(people, tmp_path):
  write_embeddings(tmp_path / "train.npz", people)
  made = evaluate(people, BOTH, normalise=tmp_path / "train.npz", save_fit=tmp_path / "fit.json")
  fit = LargestFeatures.fit(people.embedding_nd)
  right = verify(Embeddings(fit.apply(people.embedding_nd), people.names), BOTH)
  for again in (made, evaluate(people, BOTH, normalise=tmp_path / "fit.json"), evaluate(people, BOTH, normalise=fit)):
    np.testing.assert_allclose(again.score_p, right.score_p, rtol=1e-6)
  scaled = Embeddings(people.embedding_nd, people.names, meta={"raw": False})
  with pytest.raises(ValueError, match="scaled to length one"):
    evaluate(scaled, BOTH, normalise=fit)
  with pytest.raises(ValueError, match="save_fit needs normalise"):
    evaluate(people, BOTH, save_fit=tmp_path / "fit.json")
  with pytest.raises(ValueError, match="protocol = 'ijb' is unknown: choose one of pairs, lfw"):
    evaluate(people, BOTH, protocol="ijb")
