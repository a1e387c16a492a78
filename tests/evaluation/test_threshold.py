"""The threshold at a FAR: exact, with intervals that agree with those of a list of all pairs and that hold the true threshold."""

import itertools
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from jaxface.evaluation.intervals.false_accepts import FEWEST, AllPairs, ListedPairs, threshold_interval
from jaxface.evaluation.intervals.identity_units import Units
from jaxface.evaluation.intervals.rates import rate_interval
from jaxface.evaluation.measures import roc
from jaxface.evaluation.pairs.pair_score import cosine_of_pairs
from jaxface.evaluation.streaming.pair_intervals import mated_interval
from jaxface.evaluation.threshold.measure import measure_threshold
from jaxface.evaluation.threshold.report import report_threshold
from jaxface.evaluation.threshold.traffic import Traffic
from jaxface.formats import Embeddings, Pairs


def faces(people=12, seed=0, noise=0.8, dim=6):
  """Embeddings of people with 1 to 5 images each."""
  rng = np.random.default_rng(seed)
  label_n = np.repeat(np.arange(people), rng.integers(1, 6, people))
  rng.shuffle(label_n)
  embedding_nd = rng.normal(size=(people, dim))[label_n] + noise * rng.normal(size=(len(label_n), dim))
  names = [f"p{label}/{row}" for row, label in enumerate(label_n)]
  return Embeddings(embedding_nd.astype(np.float32), names, label_n, {"mirror": "sum", "model_digest": "0123"})


def listed(given):
  """All pairs of labelled embeddings as a list, with their cosines."""
  left_p, right_p = np.array(list(itertools.combinations(range(len(given.names)), 2))).T
  same_p = given.label_n[left_p] == given.label_n[right_p]
  names = given.names
  pairs = Pairs([names[row] for row in left_p], [names[row] for row in right_p], same_p, np.zeros(len(same_p), np.int64), "all.tsv", None)
  score_p = cosine_of_pairs(given.embedding_nd, left_p, right_p)
  return pairs, score_p, Units(given.label_n[left_p], given.label_n[right_p], int(given.label_n.max()) + 1)


@hypothesis.given(st.integers(0, 1000), st.sampled_from([0.003, 0.02, 0.1, 0.5]))
def test_all_pairs_agree_with_a_list_of_all_pairs(seed, far):
  given = faces(seed=seed)
  hypothesis.assume(np.bincount(given.label_n).max() > 1)
  pairs, score_p, units = listed(given)
  found, _ = measure_threshold(given, None, far)
  other, _ = measure_threshold(given, pairs, far)
  point = roc.tar_at_far(roc.roc(score_p, pairs.same), far)
  assert (found.tar, found.far, found.value) == point == (other.tar, other.far, other.value)
  assert found.far <= far and found.interval[0] <= found.value <= found.interval[1] + 1e-12
  assert found.interval == other.interval
  np.testing.assert_allclose(found.far_interval, other.far_interval, rtol=1e-9)
  np.testing.assert_allclose(found.tar_interval, other.tar_interval, rtol=1e-9)
  mated = Units(units.left_p[pairs.same], units.right_p[pairs.same], units.total)
  np.testing.assert_allclose(found.tar_interval, rate_interval(score_p[pairs.same] >= found.value, mated), rtol=1e-9)
  assert (found.nonmated, found.mated) == (int((~pairs.same).sum()), int(pairs.same.sum()))


@hypothesis.given(st.integers(0, 1000))
def test_every_interval_of_the_far_is_that_of_the_list(seed):
  given = faces(people=7, seed=seed)
  pairs, score_p, units = listed(given)
  slow = ListedPairs.of(score_p, np.asarray(pairs.same), units)
  order = np.argsort(-score_p[~pairs.same], kind="stable")
  left_t, right_t = units.left_p[~pairs.same][order], units.right_p[~pairs.same][order]
  fast = AllPairs(slow.score_t, left_t, right_t, np.bincount(given.label_n), whole=True)
  assert fast.pairs == slow.pairs
  for count in range(slow.pairs + 1):
    np.testing.assert_allclose(fast.variance_ratio(count), slow.variance_ratio(count), rtol=1e-9)
    np.testing.assert_allclose(fast.interval(count), slow.interval(count), rtol=1e-9, atol=1e-12)
    if FEWEST <= count < slow.pairs:
      accepted_t = np.arange(slow.pairs) < count
      np.testing.assert_allclose(slow.interval(count), rate_interval(accepted_t, slow.units), rtol=1e-9)


def test_the_threshold_has_as_many_false_accepts_as_95_of_100_samples():
  """100 pairs that share nobody, 4 expected: 4 ± 1.96 · 2 gives 0.08 to 7.92. Where four each share a person, the variance is 3.81 times that."""
  score_t, other_t = np.linspace(0.99, 0.0, 100), np.arange(100) + 100
  found = ListedPairs(score_t, Units(np.arange(100), other_t, 200))
  assert threshold_interval(found, 0.04) == (score_t[8], math.inf)
  assert threshold_interval(found, 0.09) == (score_t[15], score_t[2])  # 3.12 to 14.88
  assert threshold_interval(found, 1.0) == (-math.inf, score_t[79])
  of_four = ListedPairs(score_t, Units(np.arange(100) // 4, other_t, 200))
  assert of_four.design(9) == pytest.approx(80 / 21)
  assert threshold_interval(of_four, 0.09) == (score_t[21], math.inf)  # -2.48 to 20.48


def test_a_smaller_far_bounds_the_threshold_where_one_person_has_the_others():
  """1,000 pairs: 40 share nobody, the next 260 one person. At FAR 0.3 nothing bounds the threshold, at 0.03 the scores above do."""
  score_t = np.linspace(0.99, 0.0, 1000)
  left_t = np.where((np.arange(1000) >= 40) & (np.arange(1000) < 300), 0, np.arange(1000))
  found = ListedPairs(score_t, Units(left_t, np.arange(1000) + 1000, 2000))
  assert found.design(300) * 1.96**2 > 300 and found.design(30) < 3
  assert threshold_interval(found, 0.3)[1] == threshold_interval(found, 0.03)[1] < 1


def test_equal_scores_are_accepted_together():
  score_t = np.repeat([0.9, 0.5, 0.1], [2, 3, 95])
  found = ListedPairs(score_t, Units(np.arange(100), np.arange(100) + 100, 200))
  assert threshold_interval(found, 0.02) == (0.1, math.inf)
  assert threshold_interval(found, 0.06) == (0.1, 0.9)  # 1.2 to 10.8


def test_more_scores_are_asked_for_where_the_interval_needs_them():
  score_t = np.linspace(0.99, 0.6, 40)
  found = AllPairs(score_t, np.arange(40), np.arange(40) + 40, np.ones(80, int))  # of 3,160 pairs
  assert threshold_interval(found, 0.01) is None  # 31.6 + 11.02
  assert threshold_interval(found, 0.008) == (score_t[36], score_t[14])  # 15.4 to 35.1


@pytest.mark.sweep
def test_the_interval_holds_the_true_threshold():
  """Of 95 % intervals at least 90 % hold the threshold of the whole population, whose images are clustered by person."""
  rng, people, dim, far = np.random.default_rng(0), 4000, 8, 0.01
  centre_id = rng.normal(size=(people, dim))
  person_n = rng.integers(people, size=60_000)
  truth_nd = centre_id[person_n] + 0.5 * rng.normal(size=(60_000, dim))
  left_p, right_p = np.arange(30_000), np.arange(30_000, 60_000)
  true = np.quantile(cosine_of_pairs(truth_nd, left_p, right_p)[person_n[left_p] != person_n[right_p]], 1 - far)
  held = 0
  for _ in range(100):
    label_n = np.repeat(np.arange(60), 4)
    embedding_nd = rng.normal(size=(60, dim))[label_n] + 0.5 * rng.normal(size=(len(label_n), dim))
    given = Embeddings(embedding_nd.astype(np.float32), [str(row) for row in range(len(label_n))], label_n)
    low, high = measure_threshold(given, None, far)[0].interval
    held += low <= true <= high
  assert held >= 90, held


def test_the_mated_interval_without_errors_has_a_width():
  low, high = mated_interval(np.array([3, 0, 1]), np.array([3, 0, 1]))
  assert high == 1.0 and 0.2 < low < 0.6  # two people


@pytest.mark.parametrize(("far", "message"), [(0.0, "between 0 and 1"), (1.0, "between 0 and 1"), (float("nan"), "between 0 and 1")])
def test_a_wrong_target_is_refused(far, message):
  with pytest.raises(ValueError, match=message):
    measure_threshold(faces(), None, far)


def test_embeddings_that_cannot_be_measured_are_refused():
  given = faces()
  with pytest.raises(ValueError, match="no labels"):
    measure_threshold(Embeddings(given.embedding_nd, given.names), None, 0.1)
  broken_nd = given.embedding_nd.copy()
  broken_nd[3] = 0
  with pytest.raises(ValueError, match="row 3"):
    measure_threshold(Embeddings(broken_nd, given.names, given.label_n), None, 0.1)
  with pytest.raises(ValueError, match="0 mated"):
    measure_threshold(Embeddings(given.embedding_nd, given.names, np.arange(len(given.names))), None, 0.1)


def test_false_accepts_of_a_gallery_and_a_day():
  use = Traffic(gallery=10_000, searches_per_day=5_000)
  assert use.per_search(1e-4) == pytest.approx(1) and use.per_day(1e-4) == pytest.approx(5_000)
  assert use.any_in_search(1e-4) == pytest.approx(1 - (1 - 1e-4) ** 10_000) and use.any_in_search(0) == 0 and use.any_in_search(1) == 1
  assert use.far_for(30) == pytest.approx(1 / (30 * 10_000 * 5_000)) and use.per_day(use.far_for(30)) == pytest.approx(1 / 30)
  figures = use.to_json(1e-4, (5e-5, 2e-4))
  assert figures["false_accepts_per_day_interval"] == pytest.approx([2_500, 10_000])
  for wrong in ({"gallery": 0, "searches_per_day": 1}, {"gallery": 1, "searches_per_day": 0}, {"gallery": 1, "searches_per_day": float("nan")}):
    with pytest.raises(ValueError, match="positive"):
      Traffic(**wrong)


def test_the_report_has_every_figure_and_the_rules_of_3_and_30():
  given = faces()
  found = report_threshold(measure_threshold(given, None, 1e-4)[0], Traffic(100, 10))
  text = str(found)
  assert any("rule of 3" in note for note in found.notes) and any("no non-mated pair is accepted" in note for note in found.notes)
  assert "threshold cosine" in text and "gallery of 100" in text and "365 days" in text
  assert found.figures["traffic"]["gallery"] == 100 and found.figures["nonmated"] == found.threshold.nonmated
  few = report_threshold(measure_threshold(given, listed(given)[0], 0.05)[0], Traffic(100, 10))
  assert any("rule of 30" in note and "--all-pairs" in note for note in few.notes)
