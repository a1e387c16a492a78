"""How often 95 % intervals hold the truth, on synthetic embeddings with a known score distribution: the tables of docs/intervals.md.

Command: python docs/check_intervals.py [--sets N]
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from generated import replace_part
from scipy import stats
from tqdm import tqdm

from jaxface.evaluation.intervals.figure_intervals import FigureIntervals
from jaxface.evaluation.intervals.identity_units import Units
from jaxface.evaluation.intervals.rates import wilson
from jaxface.evaluation.measures.folds import Folds

PAGE = Path(__file__).with_name("intervals.md")
# People of a set, images of each, pairs of each kind. Few people: each is in forty pairs.
PEOPLE, IMAGES, PAIRS = 100, 6, 2_000
# Scores: a part of each person, of each image, and of the pair.
SHARES = {"person": 0.5, "image": 0.3, "pair": 0.4}
SHIFT, THRESHOLD, TARGET = 2.5, 1.25, 1e-2


def one_set(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Units]:
  """Scores of pairs that share people and images; each kind has a normal distribution of known mean and deviation."""
  person = SHARES["person"] * random.normal(size=PEOPLE)
  image = SHARES["image"] * random.normal(size=(PEOPLE, IMAGES))
  same = np.arange(2 * PAIRS) < PAIRS
  left = random.integers(0, PEOPLE, 2 * PAIRS)
  right = np.where(same, left, (left + random.integers(1, PEOPLE, 2 * PAIRS)) % PEOPLE)
  at = random.integers(0, IMAGES, 2 * PAIRS)
  other = np.where(same, (at + random.integers(1, IMAGES, 2 * PAIRS)) % IMAGES, random.integers(0, IMAGES, 2 * PAIRS))
  # A mated pair has its person's part twice; scaled so that both kinds have the deviation of independent parts.
  own = np.where(same, np.sqrt(2) * person[left], person[left] + person[right])
  score = own + image[left, at] + image[right, other] + SHARES["pair"] * random.normal(size=2 * PAIRS)
  return score + SHIFT * same, same, Units(left, right, PEOPLE)


def truths() -> dict[str, float]:
  """Figures of the population: two normal distributions of the same deviation."""
  deviation = np.sqrt(2 * SHARES["person"] ** 2 + 2 * SHARES["image"] ** 2 + SHARES["pair"] ** 2)
  far = float(stats.norm.sf(THRESHOLD / deviation))
  tar = float(stats.norm.sf((THRESHOLD - SHIFT) / deviation))
  return {
    "accuracy": (tar + 1 - far) / 2, "AUC": float(stats.norm.cdf(SHIFT / (np.sqrt(2) * deviation))),
    "equal error rate": float(stats.norm.sf(SHIFT / (2 * deviation))), "FAR at a threshold": far, "TAR at a threshold": tar,
    f"TAR at FAR {TARGET:g}": float(stats.norm.sf(stats.norm.isf(TARGET) - SHIFT / deviation)),
  }


def pair_lists(sets: int) -> Iterator[dict[str, tuple[tuple[float, float], tuple[float, float] | None]]]:
  """By figure: the interval, and that of independent pairs (Wilson) where it is one of a share."""
  fold = np.zeros(2 * PAIRS, np.int64)
  for seed in range(sets):
    score, same, units = one_set(np.random.default_rng(seed))
    correct = (score >= THRESHOLD) == same
    folds = Folds(np.array([0]), np.array([2 * PAIRS]), np.array([correct.mean()]), np.array([THRESHOLD]), "train pairs")
    found = FigureIntervals(score, same, fold, folds, units, {"target": TARGET})
    accepted = {kind: int((score[same == kind] >= THRESHOLD).sum()) for kind in (True, False)}
    at = np.sort(score[~same])[::-1][int(TARGET * PAIRS)]
    yield {
      "accuracy": (found.accuracy, wilson(int(correct.sum()), 2 * PAIRS)),
      "AUC": (found.auc, None),
      "equal error rate": (found.eer, None),
      "FAR at a threshold": (found.accepted(THRESHOLD, mated=False), wilson(accepted[False], PAIRS)),
      "TAR at a threshold": (found.accepted(THRESHOLD, mated=True), wilson(accepted[True], PAIRS)),
      f"TAR at FAR {TARGET:g}": (found.tar_at_far["target"], wilson(int((score[same] > at).sum()), PAIRS)),
    }


def table(found: list[dict], truth: dict[str, float]) -> str:
  """Coverage and mean width of both intervals."""
  lines = ["| figure | truth | holds it | mean width | independent pairs: holds it | mean width |", "|---|---|---|---|---|---|"]
  for name, value in truth.items():
    held, width, count = Counter(), Counter(), len(found)
    for one in found:
      for which, interval in enumerate(one[name]):
        if interval is not None:
          held[which] += interval[0] <= value <= interval[1]
          width[which] += interval[1] - interval[0]
    other = [f"{held[1]} of {count}", f"{width[1] / count:.4f}"] if 1 in width else ["–", "–"]
    lines.append(f"| {name} | {value:.4f} | {held[0]} of {count} | {width[0] / count:.4f} | {' | '.join(other)} |")
  return "\n".join(lines)


def main() -> int:
  """Draws the sets and writes the page."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--sets", type=int, default=300, help="synthetic sets (default: %(default)s)")
  options = parser.parse_args()
  found = list(tqdm(pair_lists(options.sets), total=options.sets, unit="set", disable=None))
  replace_part(PAGE, "docs/check_intervals.py", table(found, truths()))
  return 0


if __name__ == "__main__":
  sys.exit(main())
