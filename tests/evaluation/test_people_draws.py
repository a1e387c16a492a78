"""Figures under random weights of the people: loops from the definitions, and equal weights give the figure itself."""

import numpy as np
import pytest

from jaxface.evaluation import (
  Units,
  open_set,
  pairwise_f,
  pairwise_intervals,
  roc,
  search_gallery,
  tar_at_far,
  tpir_at_fpir,
)
from jaxface.evaluation.intervals import people_draws
from jaxface.evaluation.intervals.bootstrap import random_weights
from jaxface.evaluation.intervals.people_draws import (
  mean_draws,
  pairwise_draws,
  people_digest,
  template_draws,
  tpir_draws,
)
from jaxface.evaluation.measures import roc as measures

TARGETS = {"1e-2": 1e-2, "1e-1": 1e-1}


@pytest.fixture
def few(monkeypatch):
  monkeypatch.setattr(people_draws, "DRAWS", 6)


@pytest.fixture
def equal(monkeypatch):
  """One draw, whose weights are all 1."""
  monkeypatch.setattr(people_draws, "random_weights", lambda total, *_, **__: iter([np.ones((1, total))]))


def weights(total):
  return np.concatenate(list(random_weights(total, 6, 0, width=1)))


def pairs(seed=0, count=400, people=12, levels=40):
  rng = np.random.default_rng(seed)
  same_p = rng.random(count) < 0.3
  left_p = rng.integers(0, people, count)
  right_p = np.where(same_p, left_p, (left_p + rng.integers(1, people, count)) % people)
  return (np.round((rng.normal(size=count) + 2 * same_p) * levels / 6) / levels, same_p, Units(left_p, right_p, people))


def searches(seed=0, probes=80, entries=9, levels=15):
  rng = np.random.default_rng(seed)
  person_n = rng.integers(0, 14, probes)
  score_nm = rng.integers(0, levels, (probes, entries)) / levels  # many ties
  score_nm[np.arange(probes), person_n % entries] += 0.4 * (person_n < entries)
  return search_gallery(score_nm, person_n, np.arange(entries)), person_n


def test_means_are_weighted_by_people(few):
  rng = np.random.default_rng(0)
  value_n, person_n = rng.random(50) < 0.7, rng.integers(0, 7, 50)
  right = [sum(w[p] * v for v, p in zip(value_n, person_n)) / sum(w[p] for p in person_n) for w in weights(9)]
  np.testing.assert_allclose(mean_draws(value_n, person_n, 9), right, rtol=1e-12)


def test_tpir_chooses_the_threshold_of_each_draw(few):
  found, person_n = searches()
  right = []
  for w in weights(14):
    others, mates = found.rank == 0, found.rank > 0
    best = []
    for target in TARGETS.values():
      kept = [0.0]
      for t in np.unique(np.append(found.score, 9.0)):
        fpir = (w[person_n] * others * (found.score >= t)).sum() / (w[person_n] * others).sum()
        if fpir <= target:
          kept.append((w[person_n] * (found.rank == 1) * (found.score >= t)).sum() / (w[person_n] * mates).sum())
      best.append(max(kept))
    right.append(best)
  np.testing.assert_allclose(tpir_draws(found, person_n, 14, list(TARGETS.values())), right, rtol=1e-12)


def test_tar_of_pairs_chooses_the_threshold_of_each_draw(few):
  score_p, same_p, units = pairs()
  right = {name: [] for name in TARGETS}
  for w in weights(units.total):
    weight_p = np.where(same_p, w[units.left_p], w[units.left_p] * w[units.right_p])
    for name, target in TARGETS.items():
      kept = [0.0]
      for t in np.unique(np.append(score_p, 99.0)):
        accepted = score_p >= t
        if weight_p[accepted & ~same_p].sum() / weight_p[~same_p].sum() <= target:
          kept.append(weight_p[accepted & same_p].sum() / weight_p[same_p].sum())
      right[name].append(max(kept))
  found = template_draws(score_p, same_p, units, TARGETS, 0.2)
  for name, drawn_r in right.items():
    np.testing.assert_allclose(found[name], drawn_r, rtol=1e-12)
  assert found["eer"].shape == (6,) and "eer" not in template_draws(score_p, same_p, units, TARGETS, 0.0)


def test_pairs_of_clusters_are_weighted_by_their_people(few):
  rng = np.random.default_rng(0)
  identity_n, cluster_n = rng.integers(0, 6, 40), rng.integers(0, 9, 40)
  precision, recall = pairwise_draws(identity_n, cluster_n)
  for w, one, other in zip(weights(6), precision, recall):
    right = together = same = 0.0
    for a in range(40):
      for b in range(a):
        alike = identity_n[a] == identity_n[b]
        weight = w[identity_n[a]] if alike else w[identity_n[a]] * w[identity_n[b]]
        right += weight * (alike and cluster_n[a] == cluster_n[b])
        together += weight * (cluster_n[a] == cluster_n[b])
        same += weight * alike
    assert (one, other) == pytest.approx((right / together, right / same))


def test_intervals_of_pairwise_f_hold_the_truth():
  """Of 8 images of an identity some stray into a cluster with those of the nine next ones; the truth is that of very many identities."""

  def clustered(seed, people):
    random = np.random.default_rng(seed)
    identity_n = np.repeat(np.arange(people), 8)
    hard_n = (random.random(people) < 0.3)[identity_n]
    astray_n = random.random(8 * people) < np.where(hard_n, 0.4, 0.05)
    return identity_n, np.where(astray_n, people + identity_n // 10, identity_n)

  truth, held = pairwise_f(*clustered(0, 100_000)), {"precision": 0, "recall": 0, "f": 0}
  for seed in range(100):
    ends = pairwise_intervals(*clustered(seed + 1, 100))
    for name in held:
      held[name] += ends[name][0] <= getattr(truth, name) <= ends[name][1]
  assert min(held.values()) >= 88, held
  assert pairwise_intervals(np.arange(5), np.arange(5)) == {name: (1.0, 1.0) for name in held}


@pytest.mark.parametrize("seed", range(5))
def test_equal_weights_give_the_figures(seed, equal):
  score_p, same_p, units = pairs(seed)
  curve = roc(score_p, same_p)
  eer = measures.eer(curve).far
  found = template_draws(score_p, same_p, units, TARGETS, eer)
  for name, target in TARGETS.items():
    assert found[name] == pytest.approx([tar_at_far(curve, target).tar], abs=1e-12)
  # Between two non-mated scores the polyline here has no points of mated ones: at most one non-mated step of ties apart.
  step = np.diff(curve.far).max()
  assert abs(found["eer"][0] - eer) <= step
  looked, person_n = searches(seed)
  opened = open_set(looked, rank=1)
  [drawn_t] = tpir_draws(looked, person_n, 14, [0.1, 0.3])
  assert drawn_t == pytest.approx([tpir_at_fpir(opened, far).tar for far in (0.1, 0.3)], abs=1e-12)


def test_a_random_part_of_many_pairs_gives_nearly_the_same(few, monkeypatch):
  score_p, same_p, units = pairs(count=60_000, people=300, levels=10_000)
  whole = template_draws(score_p, same_p, units, {"1e-1": 1e-1}, 0.1)
  monkeypatch.setattr(people_draws, "_SAMPLE", 8_000)  # of 16,800: the FAR varies by 3 % of itself
  monkeypatch.setattr(people_draws, "_ADDED", 1_000)
  part = template_draws(score_p, same_p, units, {"1e-1": 1e-1}, 0.1)
  for name, drawn_r in whole.items():
    np.testing.assert_allclose(part[name], drawn_r, atol=0.02)


def test_the_number_of_draws_at_a_time_changes_no_weight():
  whole = np.concatenate(list(random_weights(5, 40, 3, width=1)))
  parts = list(random_weights(5, 40, 3, width=2**18 // 7))
  assert len(parts) == 6 and np.array_equal(np.concatenate(parts), whole)
  assert abs(np.concatenate(list(random_weights(200, 400, 0, width=1))).var() - 1) < 0.05


def test_other_people_have_another_digest():
  person_n, names = np.array([1, 2, 3]), np.array(["a", "b"])
  assert people_digest(person_n, names) == people_digest(person_n.astype(np.int32), names)
  others = [people_digest(person_n[::-1], names), people_digest(person_n, names[::-1]), people_digest(names, person_n), people_digest(person_n)]
  assert len({people_digest(person_n, names), *others}) == 5
