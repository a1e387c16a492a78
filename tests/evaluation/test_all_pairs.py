"""TAR at FAR over all pairs, against a ROC of all scores."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.evaluation import all_pair_scores, pair_tiles
from jaxface.evaluation.all_pair_scores import all_pairs
from jaxface.evaluation.measures import roc, tar_at_far

TARGETS = [0.0, 1e-3, 0.02, 0.1, 0.5, 0.9, 1.0]


@pytest.fixture(autouse=True, scope="module")
def small():
  """Tiles of 64 rows, so that a few hundred embeddings have many, and a sample of a few hundred pairs."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(pair_tiles, "TILE", 64)
    patch.setattr(pair_tiles, "_GROUPS", 2)
    patch.setattr(all_pair_scores, "_SAMPLE", 500)
    jax.clear_caches()
    yield
  jax.clear_caches()


def people(seed, count=300, identities=40, size=6, span=None):
  random = np.random.default_rng(seed)
  identity = random.integers(0, identities, count)
  embedding = random.normal(size=(identities, size))[identity] + random.normal(size=(count, size))
  return (np.rint(span * embedding) if span else embedding).astype(np.float32), identity


def check(embedding, identity, found, exact):
  score = (embedding @ embedding.T)[np.triu_indices(len(identity), 1)].astype(np.float64)
  same = (identity[:, None] == identity)[np.triu_indices(len(identity), 1)]
  curve = roc(score, same)
  assert (found.mated, found.nonmated) == (curve.mated, curve.nonmated)
  for target, point in found.operating.items():
    expected = tar_at_far(curve, target)
    assert point.tar == expected.tar and point.far == expected.far, target
    if exact:  # scores without rounding: the same pairs are accepted
      assert ((score >= point.threshold) == (score >= expected.threshold)).all()
  np.testing.assert_allclose(found.mated_score, np.sort(score[same]), rtol=1e-5, atol=1e-5)


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), count=st.sampled_from([2, 63, 64, 65, 200]), span=st.sampled_from([1, 4]))
def test_the_figures_are_those_of_all_scores_with_many_ties(seed, count, span):
  embedding, identity = people(seed, count, identities=max(2, count // 5), span=span)
  identity[:2] = 0
  if count == 2:
    with pytest.raises(ValueError, match="1 mated and 0 non-mated"):
      all_pairs(embedding, identity, TARGETS)
    return
  identity[2] = 1
  check(embedding, identity, all_pairs(embedding, identity, TARGETS, seed=seed), exact=True)


@pytest.mark.parametrize("devices", [1, 3, 8])
def test_devices_and_samples_change_nothing(devices):
  embedding, identity = people(0)
  found = all_pairs(embedding, identity, TARGETS, devices=jax.devices()[:devices], seed=devices)
  check(embedding, identity, found, exact=False)
  alone = all_pairs(embedding, identity, TARGETS, devices=jax.devices()[:1])
  assert found.operating == alone.operating
  np.testing.assert_array_equal(found.mated_score, alone.mated_score)


def test_the_order_of_the_rows_changes_nothing():
  embedding, identity = people(1, span=3)
  order = np.random.default_rng(0).permutation(len(identity))
  assert all_pairs(embedding[order], 7 * identity[order] - 50, TARGETS).operating == all_pairs(embedding, identity, TARGETS).operating


def test_brackets_that_miss_or_hold_too_much_are_moved(monkeypatch):
  embedding, identity = people(2, count=150)
  expected = all_pairs(embedding, identity, TARGETS)
  monkeypatch.setattr(all_pair_scores, "_MOST", 50)
  assert all_pairs(embedding, identity, TARGETS).operating == expected.operating
  # A sample that is wrong: all of its scores are too low.
  monkeypatch.setattr(pair_tiles.Tiles, "sample", lambda self, count, seed: np.linspace(-30, -20, 500, dtype=np.float32))
  monkeypatch.setattr(all_pair_scores, "_MOST", 2**24)
  assert all_pairs(embedding, identity, TARGETS).operating == expected.operating


def test_equal_scores_are_counted_rather_than_collected(monkeypatch):
  monkeypatch.setattr(all_pair_scores, "_MOST", 50)
  embedding, identity = np.ones((200, 3), np.float32), np.arange(200) // 4
  embedding[:20] *= 2
  check(embedding, identity, all_pairs(embedding, identity, TARGETS), exact=True)


def test_a_file_is_read_in_blocks(tmp_path):
  embedding, identity = people(3)
  np.save(tmp_path / "e.npy", embedding)
  found = all_pairs(np.load(tmp_path / "e.npy", mmap_mode="r"), identity, [0.01])
  assert found.operating == all_pairs(embedding, identity, [0.01]).operating


@pytest.mark.parametrize(("change", "message"), [
  (lambda e, i: (e, i[1:], [0.1]), "they must be"),
  (lambda e, i: (e, i, [1.5]), "target FAR 1.5"),
  (lambda e, i: (e, np.arange(len(i)), [0.1]), "0 mated and"),
  (lambda e, i: (np.where(np.arange(len(i))[:, None] == 9, np.nan, e), i, [0.1]), "embedding 9 is not finite"),
])
def test_wrong_input_says_what_is_wrong(change, message):
  with pytest.raises(ValueError, match=message):
    all_pairs(*change(*people(4)))
