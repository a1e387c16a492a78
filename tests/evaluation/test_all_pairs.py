"""All-pairs figures against the ROC of every score, formed in NumPy: bit for bit, for any blocks, devices, order and ties."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.evaluation.measures.roc import roc, tar_at_far
from jaxface.evaluation.pairs.pair_score import cosine_of_pairs
from jaxface.evaluation.streaming import score_blocks
from jaxface.evaluation.streaming.all_pairs import all_pairs_tar_at_far, count_all_pairs
from jaxface.evaluation.streaming.pair_passes import PairPasses
from jaxface.evaluation.streaming.score_band import BOTTOM, TOP, Found, ScoreBand
from jaxface.evaluation.streaming.score_blocks import (
  Layout,
  device_hits,
  exact_scores,
  read_block,
  score_error,
)

# Minutes on two cores; tests of nearest embeddings and of rows cover the same blocks in CI.
pytestmark = pytest.mark.sweep

TARGETS = (0.0, 1e-6, 1e-3, 0.01, 0.1, 0.5, 0.999, 1.0)


def faces(seed, count, size=16, people=None, noise=1.0):
  random = np.random.default_rng(seed)
  label_n = random.integers(0, people or max(count // 4, 2), count)
  center_cd = random.normal(size=(label_n.max() + 1, size))
  return (center_cd[label_n] + noise * random.normal(size=(count, size))).astype(np.float32), label_n


def every_score(embedding_nd, label_n, gallery_md=None, gallery_label_m=None):
  """All scores and whether they are mated, from the definition."""
  if gallery_md is None:
    left_p, right_p = np.triu_indices(len(embedding_nd), 1)
    return cosine_of_pairs(embedding_nd, left_p, right_p), label_n[left_p] == label_n[right_p]
  left_p, right_p = (grid.ravel() for grid in np.indices((len(embedding_nd), len(gallery_md))))
  both_nd = np.concatenate([embedding_nd, gallery_md])
  return cosine_of_pairs(both_nd, left_p, right_p + len(embedding_nd)), label_n[left_p] == gallery_label_m[right_p]


def by_definition(*arrays):
  curve = roc(*every_score(*arrays))
  return {target: tar_at_far(curve, target) for target in TARGETS}


@pytest.mark.parametrize("devices", [1, 3, 8])
@pytest.mark.parametrize("rows", [40, 64, 2048])
def test_one_set_equals_the_roc_of_every_score(devices, rows):
  arrays = faces(0, 301)
  found = all_pairs_tar_at_far(*arrays, TARGETS, devices=jax.devices()[:devices], rows=rows)
  assert found == by_definition(*arrays)


@pytest.mark.parametrize("devices", [1, 4])
def test_two_sets_equal_the_roc_of_every_score(devices):
  probe, gallery = faces(1, 150), faces(2, 217)
  found = all_pairs_tar_at_far(
    *probe, TARGETS, gallery_md=gallery[0], gallery_label_m=gallery[1], devices=jax.devices()[:devices], rows=64
  )
  assert found == by_definition(*probe, *gallery)


@given(seed=st.integers(0, 999), values=st.integers(1, 3), count=st.integers(3, 40), size=st.integers(1, 4))
def test_ties_are_counted_by_definition(seed, values, count, size):
  random = np.random.default_rng(seed)
  embedding_nd = random.integers(-values, values + 1, (count, size)).astype(np.float32)
  embedding_nd[~embedding_nd.any(1)] = 1
  label_n = np.append([0, 0, 1], random.integers(0, 4, count - 3))
  found = all_pairs_tar_at_far(embedding_nd, label_n, TARGETS, devices=jax.devices()[:1], rows=16)
  assert found == by_definition(embedding_nd, label_n)


def test_equal_perfect_and_inverted_scores():
  same_nd, label_n = np.ones((6, 3), np.float32), np.array([0, 0, 0, 1, 1, 2])
  assert all_pairs_tar_at_far(same_nd, label_n, [0.5])[0.5] == (0.0, 0.0, np.nextafter(1.0, 2.0))
  assert all_pairs_tar_at_far(same_nd, label_n, [1.0])[1.0] == (1.0, 1.0, 1.0)
  perfect_nd = np.eye(3, dtype=np.float32)[label_n]
  assert all_pairs_tar_at_far(perfect_nd, label_n, [0.0])[0.0] == (1.0, 0.0, 1.0)
  # Mated pairs are opposite, non-mated ones orthogonal.
  inverted_nd = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)
  assert all_pairs_tar_at_far(inverted_nd, np.array([0, 0, 1, 1]), [0.9])[0.9] == (0.0, 0.0, np.nextafter(0.0, 1.0))


@given(seed=st.integers(0, 999))
def test_order_of_the_embeddings_has_no_effect(seed):
  embedding_nd, label_n = faces(3, 90)
  order_n = np.random.default_rng(seed).permutation(90)
  options = {"devices": jax.devices()[:2], "rows": 32}
  assert all_pairs_tar_at_far(embedding_nd[order_n], label_n[order_n], TARGETS, **options) == all_pairs_tar_at_far(
    embedding_nd, label_n, TARGETS, **options
  )


@pytest.mark.parametrize("two", [False, True])
def test_counts_at_thresholds_equal_those_of_every_score(two):
  arrays = (*faces(4, 130), *faces(5, 77)) if two else faces(4, 130)
  score_p, same_p = every_score(*arrays)
  # Thresholds that are scores are the hard ones: the product in float32 is on either side.
  threshold_t = np.concatenate([np.random.default_rng(0).choice(score_p, 20), [-3.0, -1.0, 0.3, 1.0, 1.1]])
  gallery = {"gallery_md": arrays[2], "gallery_label_m": arrays[3]} if two else {}
  counts = count_all_pairs(*arrays[:2], threshold_t, **gallery, rows=48, devices=jax.devices()[:3])
  assert counts.false_accepts.tolist() == [(score_p[~same_p] >= value).sum() for value in threshold_t]
  assert counts.true_accepts.tolist() == [(score_p[same_p] >= value).sum() for value in threshold_t]
  assert (counts.mated, counts.nonmated) == (same_p.sum(), (~same_p).sum())


@pytest.mark.parametrize("crowded", [False, True])
@pytest.mark.parametrize("ends", [(0.9, 0.95), (-0.9, -0.8), (0.1, 0.1000001), (-1.0, 1.0)])
def test_a_wrong_guess_costs_passes_but_not_exactness(ends, crowded, monkeypatch):
  arrays = faces(6, 200)
  guess = (*ends, score_error(16) if crowded else 0.0)
  monkeypatch.setattr(PairPasses, "_guess", lambda self, positions, nonmated: dict.fromkeys(positions, guess))
  assert all_pairs_tar_at_far(*arrays, TARGETS, rows=64) == by_definition(*arrays)


def test_crowded_ranges_are_narrowed_by_products_first(monkeypatch):
  arrays = faces(10, 200)
  monkeypatch.setattr("jaxface.evaluation.streaming.pair_passes._FEW", 10)
  passes = []
  scan = PairPasses.scan
  monkeypatch.setattr(PairPasses, "scan", lambda self, bands: passes.append([band.error for band in bands]) or scan(self, bands))
  assert all_pairs_tar_at_far(*arrays, TARGETS, rows=64) == by_definition(*arrays)
  assert any(passes[0]) and not any(passes[-1])


def test_more_scores_than_the_capacity_are_narrowed_down_exactly():
  score_p = np.random.default_rng(0).normal(0, 0.2, 5000).clip(-1, 1)
  score_p[::7] = score_p[0]
  falling = np.sort(score_p)[::-1]
  for position in (0, 1, 17, 2500, 4998, 4999):
    ends, answer, passes = (BOTTOM, TOP), None, 0
    while not isinstance(answer, Found):
      band = ScoreBand(*ends, capacity=5)
      for part in np.array_split(score_p, 13):
        band.add(part)
      answer = ends = band.find(position)
      passes += 1
    assert passes <= 4
    assert answer.score == falling[position]
    assert answer.above == (score_p > answer.score).sum()
    greater = score_p[score_p > answer.score]
    assert answer.next_above is None or answer.next_above == greater.min()


@pytest.mark.parametrize("floor", [-1.0, 0.0, 0.4, 2.0])
def test_hits_compacted_on_the_device_are_those_of_the_host(floor):
  product_rc = np.random.default_rng(0).uniform(-1, 1, (37, 23)).astype(np.float32)
  place_p, value_p = device_hits(jax.device_put(product_rc), floor)
  assert np.array_equal(place_p, np.flatnonzero(product_rc >= floor))
  assert np.array_equal(value_p, product_rc.ravel()[place_p])


def test_a_device_that_compacts_gives_the_same(monkeypatch):
  def compacted(product_rr, floor):
    for shard in product_rr.addressable_shards:
      place_p, value_p = device_hits(shard.data, floor)
      columns = shard.data.shape[1]
      yield score_blocks.Hits(place_p // columns, place_p % columns + (shard.index[1].start or 0), value_p)

  arrays = faces(7, 120)
  monkeypatch.setattr("jaxface.evaluation.streaming.pair_passes.hits", compacted)
  assert all_pairs_tar_at_far(*arrays, TARGETS, rows=64, devices=jax.devices()[:2]) == by_definition(*arrays)


@given(seed=st.integers(0, 999), size=st.sampled_from([1, 2, 7, 128, 512]), scale=st.sampled_from([1e-12, 1.0, 1e12]))
def test_a_product_differs_from_the_score_by_less_than_the_bound(seed, size, scale):
  random = np.random.default_rng(seed)
  embedding_nd = (scale * random.standard_t(2, (24, size))).astype(np.float32)
  block = read_block(embedding_nd, 0, 24)
  left_p, right_p = (grid.ravel() for grid in np.indices((24, 24)))
  score_p = exact_scores(block, block, left_p, right_p)
  assert np.array_equal(score_p, cosine_of_pairs(embedding_nd, left_p, right_p))
  product_rr = score_blocks.products(block.unit(24), block.unit(24))
  assert np.abs(np.asarray(product_rr, np.float64).ravel() - score_p).max() < score_error(size) / 3


def test_scores_do_not_depend_on_how_many_are_computed_at_once():
  embedding_nd, _ = faces(8, 40, size=129)
  left_p, right_p = np.triu_indices(40)
  together_p = cosine_of_pairs(embedding_nd, left_p, right_p)
  alone_p = [cosine_of_pairs(embedding_nd, left_p[k : k + 1], right_p[k : k + 1])[0] for k in range(len(left_p))]
  assert together_p.tolist() == alone_p
  assert together_p.tolist() == cosine_of_pairs(embedding_nd, right_p, left_p).tolist()


def test_text_labels_and_a_layout_that_rounds_up():
  embedding_nd, label_n = faces(9, 60)
  names_n = np.array([f"person{label}" for label in label_n])
  assert all_pairs_tar_at_far(embedding_nd, names_n, TARGETS) == by_definition(embedding_nd, label_n)
  assert Layout.of(jax.devices()[:3], 100).rows == 102


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"embedding_nd": np.zeros((4, 3), np.float32)}, "row 0: the embedding is zero or not finite"),
    ({"embedding_nd": np.array([[1], [2], [np.nan], [1]])}, "row 2: the embedding is zero"),
    ({"label_n": np.arange(4)}, "0 mated and 6 non-mated pairs"),
    ({"label_n": np.zeros(4)}, "6 mated and 0 non-mated pairs"),
    ({"label_n": np.zeros(3)}, r"labels \(3,\): they must be \[N, D\] with N labels"),
    ({"targets": [1.5]}, r"target FAR 1.5: it must lie in \[0, 1\]"),
    ({"gallery_md": np.ones((2, 2)), "gallery_label_m": np.zeros(2)}, "both must have the same D"),
    ({"gallery_md": np.ones((2, 3))}, "a gallery needs embeddings and labels"),
    ({"rows": 0}, "0 rows in a block"),
  ],
)
def test_errors(change, message):
  options = {"embedding_nd": np.eye(4, 3) + 1, "label_n": np.array([0, 0, 1, 1]), "targets": [0.1]} | change
  with pytest.raises(ValueError, match=message):
    all_pairs_tar_at_far(options.pop("embedding_nd"), options.pop("label_n"), options.pop("targets"), **options)


@pytest.mark.sweep
def test_many_sets():
  for seed, count, size in itertools.product(range(20), (50, 333), (2, 64)):
    arrays = faces(seed, count, size, noise=0.3 + seed / 10)
    assert all_pairs_tar_at_far(*arrays, TARGETS, rows=96) == by_definition(*arrays)
