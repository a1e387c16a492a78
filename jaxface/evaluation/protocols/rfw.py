"""RFW and other lists by group: one pair list of LFW's form for each group, and how the groups differ.

The folder has `African/African_pairs.txt`, … (RFW's `txts`), or one `NAME_pairs.txt` per group, with any names of groups. The image `n` of `Name` is
`African/Name/Name_000n`, or without the group if embeddings are named so.

Source: Wang et al., "Racial Faces in the Wild", 2019; Wang, Deng, "Mitigating Bias in Face Recognition Using Skewness-Aware Reinforcement
Learning", 2020 (standard deviation and skewed error ratio).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.intervals.bootstrap import DRAWS, interval_of, percentiles
from jaxface.evaluation.intervals.rates import wilson
from jaxface.evaluation.pairs.list_figures import Evaluation, evaluate_pairs
from jaxface.evaluation.pairs.pair_names import images_of
from jaxface.evaluation.protocols.base import Protocol, ProtocolFigures, check_counts, percent
from jaxface.evaluation.protocols.one_to_many import mean_of
from jaxface.evaluation.protocols.pair_list import check_people, pair_counts
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.pairs import Pairs, read_pairs

RACES = ("African", "Asian", "Caucasian", "Indian")
COUNTS = {"pairs": 6000, "mated": 3000, "nonmated": 3000}
FOLDS = 10


@dataclass(frozen=True)
class Groups(Protocol):
  """Pair lists by group.

  Attributes:
    groups: pairs by name of the group.
  """

  groups: Mapping[str, Pairs]

  @property
  def images(self) -> tuple[str, ...]:
    return images_of(*self.groups.values())

  def used(self, names: Sequence[str]) -> tuple[set[str], list[str]]:
    return Protocol.used(replace(self, groups=self.named_as(names)), names)

  def named_as(self, names: Sequence[str]) -> Mapping[str, Pairs]:
    """The pairs by group, with names as images have them: without the group if no image is named with it."""
    if any(name.startswith(f"{group}/") for group in self.groups for name in names):
      return self.groups
    plain: dict[str, Pairs] = {}
    for group, pairs in self.groups.items():
      left, right = ([name.removeprefix(f"{group}/") for name in side] for side in (pairs.left, pairs.right))
      plain[group] = replace(pairs, left=left, right=right)
    return plain

  def evaluate(self, embeddings: Embeddings, *, skip_missing: bool = False) -> ProtocolFigures:
    notes = list(self.notes)
    found: dict[str, Any] = {}
    parts: dict[str, Evaluation] = {}
    for group, pairs in self.named_as(embeddings.names).items():
      one = evaluate_pairs(embeddings, pairs, skip_missing=skip_missing)
      notes += [f"{group}: {note}" for note in one.notes]
      parts[group] = one
      found[group] = {key: value for key, value in one.figures.items() if key != "notes"}
    share = np.array([one.get("accuracy", np.nan) for one in found.values()])
    if not np.isfinite(share).all():
      raise ValueError(f"group {list(found)[int(np.argmin(np.isfinite(share)))]} has pairs of one kind only: no accuracy")
    error = 1 - share
    mean, spread = float(share.mean()), float(share.std(ddof=1)) if len(share) > 1 else 0.0
    ratio = float(error.max() / error.min()) if error.min() > 0 else None
    ends = {group: one["accuracy_interval"] for group, one in found.items()}
    summary: dict[str, Any] = {
      "accuracy_mean": mean, "accuracy_mean_95": mean_of(mean, [(found[group]["accuracy"], ends[group]) for group in found]),
      "accuracy_std": spread, "skewed_error_ratio": ratio, **_spread_intervals(error, np.array(list(ends.values()))),
    }
    lines = [f"{group}  accuracy {100 * one['accuracy']:.2f} % ± {100 * one['accuracy_se']:.2f}" for group, one in found.items()]
    lines.append(
      f"mean {percent(mean, summary['accuracy_mean_95'])}, standard deviation {100 * spread:.2f}, largest error / smallest "
      + (_with(ratio, summary["skewed_error_ratio_95"]) if ratio is not None else "undefined: a group has no error")
    )
    figures = {"protocol": self.name, "counts": dict(self.counts), "groups": found, **summary, "notes": notes}
    return ProtocolFigures(figures, tuple(notes), tuple(lines), parts=parts)


def _spread_intervals(error_g: np.ndarray, ends_g2: np.ndarray) -> dict[str, list[float]]:
  """95 % intervals of the standard deviation over groups, and of the largest error over the smallest.

  The groups share nobody. Each one's error is drawn from a beta distribution: that of as many independent pairs as have the interval
  of the group's accuracy, half an error added to either side (Jeffreys). Both figures are those of the draws, so that groups that
  are alike give a ratio above 1: it is a largest over a smallest one.

  Args:
    error_g: [G] error of each group.
    ends_g2: [G, 2] interval of its accuracy.
  """
  if len(error_g) < 2:
    return {"accuracy_std_95": [0.0, 0.0], "skewed_error_ratio_95": [1.0, 1.0]}
  trials_g = np.array([_trials(error, 1.0 - ends[::-1]) for error, ends in zip(error_g, ends_g2)])
  drawn_rg = np.random.default_rng(0).beta(error_g * trials_g + 0.5, (1 - error_g) * trials_g + 0.5, (DRAWS, len(error_g)))
  ratio_r = drawn_rg.max(1) / drawn_rg.min(1)
  return {
    "accuracy_std_95": list(interval_of(float(error_g.std(ddof=1)), drawn_rg.std(1, ddof=1))),
    # Without an error in a group there is no ratio to contain.
    "skewed_error_ratio_95": list(interval_of(float(error_g.max() / error_g.min()), ratio_r) if error_g.min() > 0 else percentiles(ratio_r)),
  }


def _trials(error: float, ends: np.ndarray) -> float:
  """Number of independent pairs whose Wilson interval is as wide as this one."""
  low, high = 1.0, 1e12
  for _ in range(100):
    middle = float(np.sqrt(low * high))
    ours = wilson(error * middle, middle)
    low, high = (middle, high) if ours[1] - ours[0] > ends[1] - ends[0] else (low, middle)
  return low


def _with(value: float, ends: Sequence[float]) -> str:
  return f"{value:.2f} (95 %: {ends[0]:.2f} to {ends[1]:.2f})"


def read_rfw(lists: str | Path) -> Groups:
  """Reads the list of each group.

  Args:
    lists: the folder `txts`, or one with a `NAME_pairs.txt` per group.
  Raises:
    DamagedData: an invalid line, a label that contradicts the names, or more than RFW's 6,000 pairs in a group.
    FileNotFoundError: no list.
  """
  folder = Path(lists)
  files = {path.name.removesuffix("_pairs.txt"): path for path in sorted([*folder.glob("*_pairs.txt"), *folder.glob("*/*_pairs.txt")])}
  if not files:
    raise FileNotFoundError(f"{folder}: has no lists GROUP_pairs.txt or GROUP/GROUP_pairs.txt, such as African/African_pairs.txt")
  groups: dict[str, Pairs] = {}
  counts: dict[str, int] = {}
  notes: list[str] = []
  for group, path in files.items():
    pairs = read_pairs(path)
    check_people(pairs, lambda name: name.split("/")[0])
    if len(np.unique(pairs.fold)) == 1:  # RFW's lists have no header: ten blocks of as many mated as non-mated pairs
      pairs = replace(pairs, fold=np.arange(len(pairs)) * FOLDS // len(pairs))
    left, right = ([f"{group}/{name}" for name in side] for side in (pairs.left, pairs.right))
    groups[group] = replace(pairs, left=left, right=right)
    found = pair_counts(pairs)
    counts |= {f"{what} of {group}": number for what, number in found.items()}
    notes += check_counts(path, found, COUNTS)
  if missing := sorted(set(RACES) - set(groups)):
    notes.append(f"{folder}: not the groups of RFW: without {', '.join(missing)}.")
  return Groups("rfw", counts, tuple(notes), groups)


__all__ = ["Groups", "read_rfw"]
