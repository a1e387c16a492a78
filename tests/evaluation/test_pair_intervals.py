"""Intervals over all pairs against sums over all pairs of pairs, and their coverage of a known truth."""

import numpy as np
import pytest
from scipy import stats

from jaxface.evaluation.intervals.false_accepts import AllPairs
from jaxface.evaluation.intervals.identity_units import Units
from jaxface.evaluation.intervals.rates import rate_interval, shared_variance, wilson
from jaxface.evaluation.streaming import pair_intervals
from jaxface.evaluation.streaming.all_pairs import all_pairs_tar_at_far
from jaxface.evaluation.streaming.pair_intervals import all_pairs_intervals
from jaxface.evaluation.streaming.pair_passes import PairPasses
from jaxface.evaluation.threshold.all_pairs_figures import evaluate_all_pairs
from jaxface.formats import Embeddings


def faces(seed, people=40, images=5, size=16):
  random = np.random.default_rng(seed)
  label = np.repeat(np.arange(people), images)
  return random.normal(size=(people, size))[label] + random.normal(size=(len(label), size)), label


def nonmated(embedding, label, gallery=None, gallery_label=None):
  """Scores of all non-mated pairs and their identities, falling."""
  both, labels = (embedding, label) if gallery is None else (gallery, gallery_label)
  unit, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (embedding, both))
  left, right = np.indices((len(label), len(labels))).reshape(2, -1)
  kept = label[left] != labels[right]
  if gallery is None:
    kept &= left < right
  left, right = left[kept], right[kept]
  score = (unit[left] * other[right]).sum(1)
  order = np.argsort(-score)
  return score[order], label[left][order], labels[right][order]


@pytest.mark.parametrize("one_set", [True, False])
@pytest.mark.parametrize("accepts", [1, 30, 700, 5000])
def test_the_design_factor_is_the_sum_over_pairs_that_share_an_identity(one_set, accepts):
  embedding, label = faces(0)
  gallery, gallery_label = faces(1, images=3)
  score, left, right = nonmated(embedding, label) if one_set else nonmated(embedding, label, gallery, gallery_label)
  accepted = np.arange(len(score)) < accepts
  residual = accepted - accepted.mean()
  expected = shared_variance(residual, Units(left, right, 40)) / (residual**2).sum()
  found = AllPairs(score, left, right, np.bincount(label), None if one_set else np.bincount(gallery_label))
  assert found.pairs == len(score)
  assert found.variance_ratio(accepts) == pytest.approx(expected, rel=1e-9)
  if accepts >= 30:
    assert found.interval(accepts) == pytest.approx(rate_interval(accepted, Units(left, right, 40)), rel=1e-9)
  assert found.surplus(accepts) == pytest.approx(np.bincount(left, residual, 40) + np.bincount(right, residual, 40), abs=1e-6)


def test_a_random_part_of_the_pairs_gives_the_factor_on_average():
  embedding, label = faces(2)
  score, left, right = nonmated(embedding, label)
  whole = AllPairs(score, left, right, np.bincount(label)).design(2000)
  random, found = np.random.default_rng(0), []
  for _ in range(300):
    kept = np.flatnonzero(random.random(len(score)) < 0.5)
    # The scores above the threshold, whatever their number.
    top = kept[kept < 2000]
    found.append(AllPairs(score[top], left[top], right[top], np.bincount(label), share=0.5).design(2000))
  assert np.mean(found) == pytest.approx(whole, abs=4 * np.std(found) / np.sqrt(300) + 0.02 * whole)


@pytest.mark.parametrize("with_gallery", [False, True])
def test_intervals_hold_their_figures_for_every_target(with_gallery):
  embedding, label = faces(3)
  gallery, gallery_label = faces(4, images=3)
  more = {"gallery_md": gallery, "gallery_label_m": gallery_label} if with_gallery else {}
  targets = [0.0, 1e-4, 1e-3, 0.05, 0.5, 1.0]
  found = all_pairs_intervals(embedding, label, targets, rows=64, **more)
  assert {target: one.point for target, one in found.items()} == all_pairs_tar_at_far(embedding, label, targets, **more)
  for one in found.values():
    for value, (low, high) in ((one.point.tar, one.tar), (one.point.tar, one.tar_at_threshold), (one.point.far, one.far)):
      assert 0 <= low <= value <= high <= 1 and low < high
    assert one.threshold[0] < one.threshold[1] and one.threshold[0] <= one.point.threshold <= one.threshold[1]
    assert one.design >= 1


def test_they_do_not_depend_on_the_order_or_the_blocks():
  embedding, label = faces(5)
  order = np.random.default_rng(0).permutation(len(label))
  first = all_pairs_intervals(embedding, label, [1e-3, 0.1], rows=64)
  second = all_pairs_intervals(embedding[order], label[order], [1e-3, 0.1], rows=200)
  for target, one in first.items():
    assert (*one.tar, *one.far, *one.threshold) == pytest.approx(
      (*second[target].tar, *second[target].far, *second[target].threshold), rel=1e-9
    )


def test_the_interval_of_tar_includes_that_of_the_threshold():
  embedding, label = faces(10, people=60)
  for one in all_pairs_intervals(embedding, label, [2e-4, 1e-3, 1e-2]).values():
    assert np.ptp(one.tar) > np.ptp(one.tar_at_threshold)


def test_a_random_part_of_the_false_accepts_gives_nearly_the_same_intervals(monkeypatch):
  embedding, label = faces(11, people=80, images=8)
  whole = all_pairs_intervals(embedding, label, [0.1])[0.1]
  monkeypatch.setattr(pair_intervals, "KEPT", 40_000)  # of about 80,000
  part = all_pairs_intervals(embedding, label, [0.1])[0.1]
  assert part.point == whole.point and part.tar_at_threshold == whole.tar_at_threshold and part != whole
  for name in ("tar", "far", "threshold"):
    ends, expected = np.array(getattr(part, name)), np.array(getattr(whole, name))
    np.testing.assert_allclose(ends, expected, atol=0.15 * np.ptp(expected))


def test_several_targets_share_the_passes(monkeypatch):
  embedding, label = faces(12)
  given = Embeddings(embedding.astype(np.float32), [str(row) for row in range(len(label))], label)
  passes, products = [], PairPasses._products
  monkeypatch.setattr(PairPasses, "_products", lambda self: passes.append(self) or products(self))
  evaluate_all_pairs(given, [1e-2])
  alone = len(passes)
  found = evaluate_all_pairs(given, [1e-3, 3e-3, 1e-2])
  assert len(passes) <= 2 * alone < 6 and list(found.points) == [1e-3, 3e-3, 1e-2]


def test_copies_of_every_image_do_not_narrow_the_interval_of_the_threshold():
  embedding, label = faces(6)
  once = all_pairs_intervals(embedding, label, [1e-2])[1e-2]
  twice = all_pairs_intervals(np.repeat(embedding, 3, 0), np.repeat(label, 3), [1e-2])[1e-2]
  width = [one.threshold[1] - one.threshold[0] for one in (once, twice)]
  assert twice.design > 5 * once.design and width[1] > 0.9 * width[0]


def test_without_a_false_accept_the_rule_of_three_holds():
  embedding, label = faces(7)
  found = all_pairs_intervals(embedding, label, [0.0])[0.0]
  pairs = 200 * 199 // 2 - 40 * 10
  assert found.far == pytest.approx(wilson(0, pairs / found.design)) and found.far[1] >= 3 / pairs
  assert found.threshold[1] == 1.0


def test_more_pairs_are_kept_where_the_interval_reaches_further():
  """One person in most of the false accepts: the first depth is not enough."""
  random = np.random.default_rng(8)
  embedding, label = random.normal(size=(400, 16)), np.arange(400) // 2
  label[:60] = 0
  # Images of this person lie at random, close to one image each of others: they share a person, but no image.
  embedding[60:120] = embedding[:60] + 0.1 * random.normal(size=(60, 16))
  found = all_pairs_intervals(embedding, label, [7e-4])[7e-4]
  assert found.design > 10 and found.threshold[0] < found.point.threshold < found.threshold[1]


def test_wrong_arguments_are_named():
  embedding, label = faces(9)
  with pytest.raises(ValueError, match="must lie in"):
    all_pairs_intervals(embedding, label, [2.0])
  with pytest.raises(ValueError, match="at least one of each"):
    all_pairs_intervals(embedding, np.arange(len(label)), [0.1])


@pytest.mark.sweep
@pytest.mark.parametrize(("far", "fewest"), [(1e-3, 85), (1e-4, 85)])
def test_they_hold_the_truth_where_intervals_of_independent_pairs_do_not(far, fewest):
  """Random directions: the threshold of a FAR has a closed form. 100 sets of 600 embeddings of 60 people; 177 or 18 false accepts."""
  size = 16
  truth = 2 * stats.beta((size - 1) / 2, (size - 1) / 2).isf(far) - 1
  held = np.zeros(2)
  for seed in range(100):
    random = np.random.default_rng(seed)
    label = np.repeat(np.arange(60), 10)
    # Nearly one direction for each person: pairs of two people succeed together.
    embedding = random.normal(size=(60, size))[label] + 0.2 * random.normal(size=(600, size))
    found = all_pairs_intervals(embedding, label, [far])[far]
    pairs = 600 * 599 // 2 - 60 * 45
    in_truth = stats.beta((size - 1) / 2, (size - 1) / 2).sf((found.point.threshold + 1) / 2)
    independent = wilson(found.point.far * pairs, pairs)
    held += [found.threshold[0] <= truth <= found.threshold[1], independent[0] <= in_truth <= independent[1]]
  assert held[0] >= fewest > 60 > held[1]
