"""Two models on one list."""

from dataclasses import replace

import numpy as np
import pytest

from jaxface.evaluation import compare, holm
from jaxface.evaluation.pairs.verification import verify_pairs
from jaxface.formats.pairs import Pairs


def people(seed=0, count=60, images=4, size=16):
  random = np.random.default_rng(seed)
  center = np.repeat(random.normal(size=(count, size)), images, axis=0)
  names = [f"p{row // images}/{row % images}" for row in range(count * images)]
  left, right, same = [], [], []
  for pair in range(1200):
    person, image, other = random.integers(count), *random.choice(images, 2, replace=False)
    stranger = (person + random.integers(1, count)) % count
    left.append(names[person * images + image])
    right.append(names[(person if pair % 2 else stranger) * images + other])
    same.append(pair % 2 == 1)
  return center, names, Pairs(left, right, np.array(same), np.arange(1200) // 2 % 10)


def model(center, names, pairs, noise, seed):
  return verify_pairs(center + noise * np.random.default_rng(seed).normal(size=center.shape), names, pairs)


@pytest.fixture(scope="module")
def three():
  center, names, pairs = people()
  return [model(center, names, pairs, noise, seed) for noise, seed in ((1.5, 1), (1.5, 2), (0.8, 3))]


def test_a_better_model_is_better_in_every_figure(three):
  first, _, better = three
  found = compare(first, better)
  assert list(found) == ["accuracy", "auc", "eer", "tar_at_far 1e-1", "tar_at_far 1e-2", "tar_at_far 1e-3"]
  for name, one in found.items():
    assert one.low <= one.value <= one.high
    if name != "tar_at_far 1e-3":
      assert one.p < 0.01 and (one.high < 0 if name == "eer" else one.low > 0), (name, one)
  assert found["accuracy"].value == pytest.approx(better.accuracy - first.accuracy, abs=1e-12)


def test_exchanging_the_models_changes_the_sign(three):
  first, second, _ = three
  there, back = compare(first, second), compare(second, first)
  for name, one in there.items():
    assert back[name].value == pytest.approx(-one.value) and back[name].low == pytest.approx(-one.high, abs=1e-9)
    assert back[name].p == pytest.approx(one.p, abs=2e-3)


def test_a_model_does_not_differ_from_itself(three):
  for one in compare(three[0], three[0]).values():
    assert (one.value, one.low, one.high, one.p) == (0, 0, 0, 1)


def test_equal_models_are_rarely_told_apart():
  center, names, pairs = people(5)
  models = [model(center, names, pairs, 1.5, seed) for seed in range(20)]
  told = sum(compare(a, b)["accuracy"].p < 0.05 for a, b in zip(models[::2], models[1::2]))
  assert told <= 2


def test_the_difference_of_two_models_that_err_alike_is_more_certain_than_the_figures():
  center, names, pairs = people()
  first = model(center, names, pairs, 1.5, 1)
  alike = model(center + 1.5 * np.random.default_rng(1).normal(size=center.shape), names, pairs, 0.3, 2)
  found = compare(first, alike)
  for name in ("accuracy", "auc", "eer"):
    widths = [high - low for low, high in (getattr(one.intervals, name) for one in (first, alike))]
    assert found[name].high - found[name].low < 0.6 * np.hypot(*widths)


def test_other_lists_are_refused(three):
  first = three[0]
  other = replace(first, pairs=replace(first.pairs, left=first.pairs.right, right=first.pairs.left))
  with pytest.raises(ValueError, match="compare models on one list"):
    compare(first, other)


def test_holm_by_hand_and_as_a_sequence_of_tests():
  np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
  assert holm([0.5, 0.9]).tolist() == [1.0, 1.0] and holm([0.2]).tolist() == [0.2] and holm([]).size == 0
  random = np.random.default_rng(0)
  for _ in range(50):
    p, level = random.random(6) ** 3, random.random()
    rejected = set()  # the definition: the smallest against level / M, the next against level / (M - 1), until one is not rejected
    for step, at in enumerate(np.argsort(p)):
      if p[at] > level / (6 - step):
        break
      rejected.add(int(at))
    assert set(np.flatnonzero(holm(p) <= level).tolist()) == rejected
  for wrong in ([1.2], [np.nan], [[0.1]]):
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
      holm(wrong)
