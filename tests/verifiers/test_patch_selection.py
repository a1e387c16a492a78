"""Patch selection: against exhaustive search, step by step, resumed, in groups, and its speed."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.evaluation import fold_accuracy
from jaxface.formats.errors import DamagedData
from jaxface.verifiers import PairScores, select_patches

seeds = st.integers(0, 2**32 - 1)


def scores(seed, patches=8, pairs=60, levels=4):
  """Small whole numbers, so that sums are exact in any order; mated pairs score higher by a different amount for each patch."""
  random = np.random.default_rng(seed)
  same_p = np.arange(pairs) % 2 == 0
  gain_n = random.integers(0, 3, patches)
  score_np = random.integers(-levels, levels + 1, (patches, pairs)) + gain_n[:, None] * same_p
  return PairScores(score_np.astype(float), same_p)


def names(count):
  return [f"patch{i}" for i in range(count)]


def measured(chosen, test, tuning):
  """(correct, correct of the tuning list) of a set by the exact evaluation, for the names of its patches."""
  rows = [int(name[5:]) for name in chosen]
  train = tuning.score_np[rows].sum(0), tuning.same_p
  folds = fold_accuracy(test.score_np[rows].sum(0), test.same_p, np.zeros(len(test.same_p), int), train=train)
  own = (train[0] >= folds.threshold[0]) == train[1]
  return round(folds.mean * len(test.same_p)), int(own.sum())


def last(*args, **settings_):
  *_, found = select_patches(*args, **settings_)
  return found


@settings(max_examples=25)
@given(seed=seeds, count=st.integers(1, 6))
def test_every_step_is_the_best_one_and_a_removal_beats_all_sets_of_its_size(seed, count):
  test, tuning = scores(seed), scores(seed + 1)
  chosen, best = [], {}
  for found in select_patches(names(8), test, tuning, count=count):
    step, before = found.steps[-1], chosen
    chosen = list(found.groups[-1])
    quality = measured(chosen, test, tuning)
    assert (step.correct, step.tuning_correct) == quality and step.size == len(chosen)
    if step.action == "add":
      options = {name: measured([*before, name], test, tuning) for name in names(8) if name not in before}
      # The first of the best.
      assert step.patch == max(options, key=options.__getitem__) and chosen == [*before, step.patch]
    elif step.action == "remove":
      assert chosen == [name for name in before if name != step.patch]
      assert quality == max(measured([n for n in before if n != name], test, tuning) for name in before)
      assert quality > best[len(chosen)]
    else:
      assert quality == best[len(chosen)] > measured(before, test, tuning)
    best[len(chosen)] = max(best.get(len(chosen), (-1, -1)), quality)
  assert len(chosen) == count and quality == best[count]


@settings(max_examples=20)
@given(seed=seeds, count=st.integers(1, 7))
def test_it_is_never_better_than_exhaustive_search_and_equal_for_one_patch(seed, count):
  test = scores(seed)
  found = last(names(8), test, count=count)
  best = max(measured(chosen, test, test) for chosen in itertools.combinations(names(8), count))
  reached = measured(found.groups[0], test, test)
  assert reached <= best
  if count == 1:
    assert reached == best


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8])
def test_greedy_equals_exhaustive_search_where_each_patch_settles_pairs_of_its_own(count):
  # Patch i separates 8 − i pairs of its own and says nothing of the others: the best set of any size has the first patches.
  amount = [8 - i for i in range(8)]
  owner_p = np.repeat(np.arange(8), np.multiply(2, amount))
  same_p = np.concatenate([np.arange(2 * n) % 2 == 0 for n in amount])
  score_np = np.where(owner_p == np.arange(8)[:, None], np.where(same_p, 1.0, -1.0), 0.0)
  test = PairScores(score_np[::-1].copy(), same_p)  # the best are not the first in the order of names
  found = last(names(8), test, count=count)
  best = max(measured(chosen, test, test) for chosen in itertools.combinations(names(8), count))
  assert measured(found.groups[0], test, test) == best
  assert set(found.groups[0]) == {f"patch{7 - i}" for i in range(count)}


def test_a_removal_finds_what_forward_steps_alone_miss():
  # A search that removes a patch has a better set of that size than forward steps alone found.
  found = next(
    (seed for seed in range(400) if any(step.action == "remove" for step in last(names(8), scores(seed), count=5).steps)), None
  )
  assert found is not None
  test = scores(found)
  forward: list[str] = []
  sizes = {}
  for size in range(1, 6):
    forward.append(max((n for n in names(8) if n not in forward), key=lambda name: measured([*forward, name], test, test)))
    sizes[size] = measured(forward, test, test)
  removal = next(step for step in last(names(8), test, count=5).steps if step.action == "remove")
  assert removal.quality > sizes[removal.size]


def test_an_interrupted_search_continues_with_the_same_trace(tmp_path):
  test, tuning = scores(5, patches=12), scores(6, patches=12)
  whole = last(names(12), test, tuning, count=4, groups=3)
  for stop in range(1, len(whole.steps) + 1):
    state = tmp_path / f"{stop}.json"
    for _ in itertools.islice(select_patches(names(12), test, tuning, count=4, groups=3, state=state), stop):
      pass
    assert len(json.loads(state.read_text())["steps"]) == stop
    assert last(names(12), test, tuning, count=4, groups=3, state=state) == whole
    written = json.loads(state.read_text())
    assert tuple(map(tuple, written["groups"])) == whole.groups and len(written["steps"]) == len(whole.steps)


def test_further_groups_continue_a_finished_search_and_share_no_patch(tmp_path):
  test, state = scores(7, patches=12), tmp_path / "state.json"
  one = last(names(12), test, count=4, state=state)
  three = last(names(12), test, count=4, groups=3, state=state)
  assert three.groups[0] == one.groups[0] and three.steps[: len(one.steps)] == one.steps
  assert len({name for group in three.groups for name in group}) == 12
  again = last(names(12), test, count=4, state=state)
  assert again == one and len(json.loads(state.read_text())["groups"]) == 1


def test_the_table_and_the_accuracy_are_those_of_the_steps():
  test, tuning = scores(8, pairs=50), scores(9, pairs=80)
  found = last(names(8), test, tuning, count=3)
  row = found.rows()[-1]
  assert (row["accuracy"], row["tuning_accuracy"]) == tuple(n / of for n, of in zip(measured(found.groups[0], test, tuning), (50, 80)))
  assert found.accuracy(1) == row["accuracy"]


def test_other_scores_and_other_files_are_refused(tmp_path):
  test, state = scores(1), tmp_path / "state.json"
  last(names(8), test, count=3, state=state)
  with pytest.raises(ValueError, match="other scores"):
    last(names(8), scores(2), count=3, state=state)
  with pytest.raises(ValueError, match="other count"):
    last(names(8), test, count=4, state=state)
  state.write_text(state.read_text().replace('"size": 3', '"size": 2'))
  with pytest.raises(DamagedData, match="edited or damaged"):
    last(names(8), test, count=3, state=state)
  with pytest.raises(ValueError, match="2 groups of 5 of 8"):
    last(names(8), test, count=5, groups=2)
  with pytest.raises(ValueError, match="distinct"):
    last(["a"] * 8, test, count=2)
  with pytest.raises(ValueError, match="of one kind"):
    last(names(8), PairScores(test.score_np, np.ones(60, bool)), count=2)
  broken = test.score_np.copy()
  broken[3, 7] = np.nan
  with pytest.raises(ValueError, match="'patch3' are not finite"):
    last(names(8), PairScores(broken, test.same_p), count=2)
  with pytest.raises(ValueError, match=r"must be \[patches, pairs\]"):
    last(names(7), test, count=2)


@pytest.mark.sweep
def test_seven_groups_of_25_of_400_take_less_than_two_minutes():
  import time

  random = np.random.default_rng(0)
  same_p = np.arange(3200) % 2 == 0
  score_np = random.normal(size=(400, 3200)) + 0.4 * same_p
  test, tuning = (PairScores(score_np[:, part], same_p[part]) for part in (slice(0, 1000), slice(1000, None)))
  start = time.process_time()
  found = last(names(400), test, tuning, count=25, groups=7)
  assert time.process_time() - start < 120 and [len(group) for group in found.groups] == [25] * 7
