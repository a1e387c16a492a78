"""Intervals of CMC, TPIR, retrieval and BCubed: those of the means of each probe's figure."""

import numpy as np
import pytest

from jaxface.evaluation import (
  bcubed,
  bcubed_intervals,
  cmc,
  cmc_interval,
  fpir_interval,
  mean_interval,
  open_set,
  retrieval_intervals,
  retrieve,
  search_gallery,
  tpir_at_fpir,
  tpir_interval,
)


def probes(seed=0, people=40, images=4, noise=0.9):
  """Scores of all images but the first with the first ones; the last 10 people are not in the gallery."""
  random = np.random.default_rng(seed)
  label = np.repeat(np.arange(people), images)
  unit = random.normal(size=(people, 8))[label] + noise * random.normal(size=(len(label), 8))
  unit /= np.linalg.norm(unit, axis=1, keepdims=True)
  first = np.arange(len(label)) % images == 0
  gallery = first & (label < people - 10)
  return unit[~first] @ unit[gallery].T, label[~first], label[gallery]


def test_each_rank_has_the_interval_of_its_mean():
  score, label, gallery = probes()
  rank = search_gallery(score, label, gallery).rank
  share, ends = cmc(rank, 5), cmc_interval(rank, label, 5)
  for at in range(5):
    assert tuple(ends[at]) == mean_interval(rank[rank > 0] <= at + 1, label[rank > 0])
    assert ends[at, 0] <= share[at] <= ends[at, 1]


@pytest.mark.parametrize("rank", [None, 1])
def test_rates_at_a_threshold_are_those_of_the_curve(rank):
  score, label, gallery = probes(1)
  searches = search_gallery(score, label, gallery)
  point = tpir_at_fpir(open_set(searches, rank=rank), 0.2)
  # Wilson's interval holds the share of which it is made: these are the shares of the curve.
  tpir, fpir = tpir_interval(searches, label, point.threshold, rank=rank), fpir_interval(searches, label, point.threshold)
  assert tpir[0] < point.tar < tpir[1] and fpir[0] < point.far < fpir[1]
  mated = searches.mated
  by_hand = [searches.score[at] >= point.threshold and (rank is None or searches.rank[at] <= rank) for at in np.flatnonzero(mated)]
  assert np.mean(by_hand) == point.tar and tpir == mean_interval(np.array(by_hand), label[mated])


def test_retrieval_leaves_out_queries_without_references():
  score, label, gallery = probes(2)
  found = retrieve(score, label, gallery)
  ends = retrieval_intervals(found, label)
  assert (found.relevant == 0).any()
  for name, (low, high) in ends.items():
    assert low <= getattr(found, name) <= high
  kept = found.relevant > 0
  assert ends["map_at_r"] == mean_interval(found.average_precision_at_r[kept], label[kept])


def test_bcubed_is_the_mean_over_samples():
  random = np.random.default_rng(3)
  identity = random.permutation(np.repeat(np.arange(30), 5))
  cluster = np.where(random.random(150) < 0.7, identity, random.integers(0, 30, 150))
  precision, recall = np.zeros(150), np.zeros(150)
  for at in range(150):  # the definition
    same_cluster, same_identity = cluster == cluster[at], identity == identity[at]
    precision[at], recall[at] = same_identity[same_cluster].mean(), same_cluster[same_identity].mean()
  ends, score = bcubed_intervals(identity, cluster), bcubed(identity, cluster)
  assert ends["precision"] == pytest.approx(mean_interval(precision, identity))
  assert ends["recall"] == pytest.approx(mean_interval(recall, identity))
  assert ends["precision"][0] < score.precision < ends["precision"][1]
  assert min(ends["precision"][0], ends["recall"][0]) < ends["f"][0] < score.f < ends["f"][1] < max(ends["precision"][1], ends["recall"][1])


def test_other_lengths_are_named():
  score, label, gallery = probes(4)
  searches = search_gallery(score, label, gallery)
  for call in (
    lambda: cmc_interval(searches.rank, label[1:], 3), lambda: tpir_interval(searches, label[1:], 0.5),
    lambda: fpir_interval(searches, label[1:], 0.5), lambda: retrieval_intervals(retrieve(score, label, gallery), label[1:]),
  ):
    with pytest.raises(ValueError, match="one identity for each"):
      call()
