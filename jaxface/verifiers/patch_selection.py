"""Greedy selection of patches, forward and backward, in groups: DeepID2 takes 25 of 400, and six times more of what is left.

The score of a set of patches is the sum of one score per patch, so a set costs an addition of the pairs' scores, and a step looks at every
patch. A set is as good as LFW's view 1 says: the accuracy on the test list, at the threshold that is best on the training list. Sets that are
equal there are ordered by the accuracy on the training list, then by the order of the patches.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxface.evaluation.measures.folds import best_threshold
from jaxface.formats.checked_json import read_checked_json, write_checked_json
from jaxface.formats.errors import DamagedData

KIND, VERSION = "patch selection", 1


class PairScores(NamedTuple):
  """Scores of pairs by every patch.

  Attributes:
    score_np: [N, P] float64, of each patch for each pair; higher is more similar.
    same_p: [P] bool, true for mated pairs.
  """

  score_np: np.ndarray
  same_p: np.ndarray


class Quality(NamedTuple):
  """How good a set is: compared in this order.

  Attributes:
    correct: pairs of the test list classified correctly.
    tuning_correct: pairs of the list that sets the threshold classified correctly.
  """

  correct: int
  tuning_correct: int


@dataclass(frozen=True)
class Step:
  """A step of the search.

  Attributes:
    group: number of the group, from 1.
    action: "add" or "remove" a patch, or "restore" the best set of this size, which has been found before and is better.
    patch: name of the patch; "" for "restore".
    size: number of patches after the step.
    correct: pairs of the test list classified correctly after the step.
    tuning_correct: the same of the list that sets the threshold.
  """

  group: int
  action: str
  patch: str
  size: int
  correct: int
  tuning_correct: int

  @property
  def quality(self) -> Quality:
    """The set after the step."""
    return Quality(self.correct, self.tuning_correct)


@dataclass(frozen=True)
class Selection:
  """Result of `select_patches`.

  Attributes:
    groups: names of the patches of each group, in the order in which they were added.
    steps: every step.
    pairs: number of pairs of the test list.
    tuning_pairs: number of pairs of the list that sets the threshold.
  """

  groups: tuple[tuple[str, ...], ...]
  steps: tuple[Step, ...]
  pairs: int
  tuning_pairs: int

  def accuracy(self, group: int) -> float:
    """Accuracy on the test list of a group, numbered from 1; optimistic, since the patches were selected on it."""
    return max(step.quality for step in self.steps if step.group == group and step.size == len(self.groups[group - 1])).correct / self.pairs

  def rows(self) -> list[dict[str, Any]]:
    """The steps as a table: those of `Step`, with accuracies as shares."""
    return [
      {
        "group": step.group, "action": step.action, "patch": step.patch, "size": step.size,
        "accuracy": step.correct / self.pairs, "tuning_accuracy": step.tuning_correct / self.tuning_pairs,
      }
      for step in self.steps
    ]


def quality_of(score_p: np.ndarray, test_same_p: np.ndarray, tuning_score_p: np.ndarray, tuning_same_p: np.ndarray) -> Quality:
  """The quality of one set's scores on both lists: `fold_accuracy` with `train`, in numbers of pairs."""
  threshold = best_threshold(tuning_score_p, tuning_same_p)
  correct = ((score_p >= threshold) == test_same_p).sum(), ((tuning_score_p >= threshold) == tuning_same_p).sum()
  return Quality(*map(int, correct))


class _Group:
  """The search for one group: what is chosen, and the best set of each size so far."""

  def __init__(self, test: PairScores, tuning: PairScores, allowed: Sequence[int]):
    self.test, self.tuning, self.allowed = test, tuning, list(allowed)
    self.chosen: list[int] = []
    self.quality = Quality(0, 0)
    self.best: dict[int, tuple[Quality, list[int]]] = {}
    self.last: int | None = None  # added by the previous step, not to be removed at once

  def next(self, count: int) -> tuple[str, int | None, Quality] | None:
    """The next step, (action, patch, quality of the set after it); None when `count` are chosen and none is worth removing."""
    size = len(self.chosen)
    if size and (known := self.best[size][0]) > self.quality:
      return "restore", None, known
    if size > 2 and (found := self._backward()):
      return "remove", *found
    return None if size == count else ("add", *self._best_of(self.chosen, [i for i in self.allowed if i not in self.chosen], 1))

  def apply(self, action: str, patch: int | None, quality: Quality) -> None:
    """Carries out a step."""
    self.quality = quality
    if action == "restore":
      self.chosen = list(self.best[len(self.chosen)][1])
      self.last = None
      return
    assert patch is not None
    self.chosen = [*self.chosen, patch] if action == "add" else [i for i in self.chosen if i != patch]
    self.last = patch if action == "add" else None
    size = len(self.chosen)
    if size not in self.best or quality > self.best[size][0]:
      self.best[size] = quality, list(self.chosen)

  def _backward(self) -> tuple[int, Quality] | None:
    patch, quality = self._best_of(self.chosen, self.chosen, -1)
    # Removing is worth it where the rest beats every set of its size: sets of one size only improve, so the search ends.
    return (patch, quality) if patch != self.last and quality > self.best[len(self.chosen) - 1][0] else None

  def _best_of(self, chosen: Sequence[int], candidates: Sequence[int], sign: int) -> tuple[int, Quality]:
    """The candidate whose addition (1) or removal (-1) leaves the best set, the first of equals."""
    rows = sorted(chosen)  # so that a set's score does not depend on the way to it
    base, tuning_base = self.test.score_np[rows].sum(0), self.tuning.score_np[rows].sum(0)
    found: tuple[int, Quality] | None = None
    for patch in sorted(candidates):
      score_p, tuning_p = base + sign * self.test.score_np[patch], tuning_base + sign * self.tuning.score_np[patch]
      quality = quality_of(score_p, self.test.same_p, tuning_p, self.tuning.same_p)
      if found is None or quality > found[1]:
        found = patch, quality
    assert found is not None
    return found


def select_patches(
  names: Sequence[str], test: PairScores, tuning: PairScores | None = None, *, count: int = 25, groups: int = 1,
  state: str | Path | None = None, made_from: Any = None,
) -> Iterator[Selection]:
  """Selects groups of patches, one after another, from those not in an earlier group; yields the selection after every step.

  Each step adds the patch that makes the best set. Then patches are removed as long as what is left is better than every set of its size
  before; the one just added stays. (A floating search. DeepID2 cites the forward–backward greedy algorithm of Zhang, 2008, for linear models,
  which removes where the loss rises by less than half of the last gain; accuracies may fall in a forward step, so that this rule has no
  natural form here.)

  Args:
    names: N names of patches.
    test: scores of the pairs that measure a set.
    tuning: scores of the pairs that set the threshold; None sets it on `test`, which is more optimistic.
    count: patches of a group.
    groups: number of groups.
    state: JSON file of the steps, written after each; an existing one of the same scores is continued.
    made_from: plain JSON value kept in the file, such as where the scores come from.
  Returns:
    An iterator of `Selection`; the last one is complete.
  Raises:
    ValueError: repeated names, other shapes, scores that are not finite, or pairs of one kind; too few patches; a file of another selection.
    DamagedData: a file that is not one of a selection.
  Source: Sun et al., "Deep Learning Face Representation by Joint Identification-Verification", 2014, §3.
  """
  names, tuning = list(names), test if tuning is None else tuning
  for what, scores in (("test", test), ("tuning", tuning)):
    _check(names, scores, what)
  if count < 1 or groups < 1 or count * groups > len(names):
    raise ValueError(f"{groups} groups of {count} of {len(names)} patches: at least one of each, and together not more than there are")
  about = {"kind": KIND, "format_version": VERSION, "count": count, "names": names, "scores": _digest(test, tuning)}
  more = {"pairs": len(test.same_p), "tuning_pairs": len(tuning.same_p), "made_from": made_from}
  steps = [] if state is None or not Path(state).exists() else _read_steps(Path(state), about, groups)
  done: list[tuple[str, ...]] = []
  position, given = {name: i for i, name in enumerate(names)}, deque(steps)
  taken: set[int] = set()
  for number in range(1, groups + 1):
    search = _Group(test, tuning, [i for i in range(len(names)) if i not in taken])
    while True:
      if given and given[0].group != number:
        break
      if given:
        old = given.popleft()
        search.apply(old.action, None if old.action == "restore" else position[old.patch], old.quality)
      else:
        found = search.next(count)
        if found is None:
          break
        search.apply(*found)
        action, patch, quality = found
        steps.append(Step(number, action, "" if patch is None else names[patch], len(search.chosen), *quality))
      chosen = (*done, tuple(names[i] for i in search.chosen))
      if state is not None and not given:
        write_checked_json(state, {**about, **more, "groups": chosen, "steps": [asdict(step) for step in steps]})
      yield Selection(chosen, tuple(steps), len(test.same_p), len(tuning.same_p))
    taken |= set(search.chosen)
    done.append(tuple(names[i] for i in search.chosen))


def _check(names: Sequence[str], scores: PairScores, what: str) -> None:
  if len(set(names)) < len(names):
    raise ValueError(f"{len(names)} names of patches, {len(set(names))} distinct: each patch needs its own name")
  if scores.score_np.shape != (len(names), len(scores.same_p)):
    raise ValueError(f"{what} scores {scores.score_np.shape} for {len(names)} patches and {len(scores.same_p)} pairs: they must be [patches, pairs]")
  for patch in np.flatnonzero(~np.isfinite(scores.score_np).all(1))[:1]:
    raise ValueError(f"{what} scores of patch {names[patch]!r} are not finite")
  if scores.same_p.all() or not scores.same_p.any():
    raise ValueError(f"{len(scores.same_p):,} {what} pairs of one kind: both mated and non-mated pairs are needed")


def _digest(*lists: PairScores) -> str:
  hashed = hashlib.sha256()
  for scores in lists:
    hashed.update(np.ascontiguousarray(scores.score_np, np.float64).tobytes() + np.asarray(scores.same_p, np.bool_).tobytes())
  return hashed.hexdigest()[:16]


def _read_steps(path: Path, about: dict[str, Any], groups: int) -> list[Step]:
  found = read_checked_json(path)
  try:
    steps = [Step(**step) for step in found["steps"] if step["group"] <= groups]
    kept = {name: found[name] for name in about}
  except (KeyError, TypeError) as error:
    raise DamagedData("not the file of a patch selection", file=str(path)) from error
  for name in about:
    if kept[name] != about[name]:
      raise ValueError(f"{path}: its selection has other {name}: remove it, or give another file")
  return steps


__all__ = ["KIND", "PairScores", "Quality", "Selection", "Step", "quality_of", "select_patches"]
