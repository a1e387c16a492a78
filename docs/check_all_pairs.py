"""How often 95 % intervals over all pairs, over lists and of rank 1 hold the truth: embeddings whose score distributions have closed forms.

Centres of identities and noise are normal in 64 dimensions. The coordinates of two images then are 64 draws of a bivariate normal
distribution, and their cosine has the distribution of a sample correlation (Fisher, 1915; Hotelling, 1953).

Commands: python docs/check_all_pairs.py [--sets N]
          python docs/check_all_pairs.py --large
"""

import argparse
import functools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from generated import replace_part
from scipy import integrate, optimize, special, stats
from tqdm import tqdm

from jaxface.evaluation.intervals.figure_intervals import FigureIntervals
from jaxface.evaluation.intervals.identity_units import Units
from jaxface.evaluation.intervals.means import mean_interval
from jaxface.evaluation.intervals.rates import wilson
from jaxface.evaluation.measures.folds import Folds
from jaxface.evaluation.measures.identification import search_gallery
from jaxface.evaluation.streaming.pair_intervals import all_pairs_intervals

PAGE = Path(__file__).with_name("intervals.md")
SIZE, PEOPLE, IMAGES = 64, 1_000, 20
# Correlation of two images of one identity: noise of the same variance as the centres.
ALIKE = 0.5
FAR, PAIRS = 1e-6, 4_000
LARGE_PEOPLE, LARGE_FAR = 5_000, 1e-8
Found = dict[str, tuple[tuple[float, float], tuple[float, float]]]


def embeddings(seed: int, people: int) -> tuple[np.ndarray, np.ndarray]:
  """Unit embeddings [N, D] of identities with 20 images each, and labels."""
  random = np.random.default_rng(seed)
  label = np.repeat(np.arange(people), IMAGES)
  value = random.normal(size=(people, SIZE))[label] + random.normal(size=(len(label), SIZE))
  return value / np.linalg.norm(value, axis=1, keepdims=True), label


def mated_density(score: float) -> float:
  """Density of the cosine of two images of one identity: of a sample correlation with 64 degrees of freedom."""
  n = SIZE
  log = np.log(n - 1) + special.gammaln(n) - 0.5 * np.log(2 * np.pi) - special.gammaln(n + 0.5)
  log += n / 2 * np.log1p(-(ALIKE**2)) + (n - 3) / 2 * np.log1p(-(score**2)) - (n - 0.5) * np.log1p(-ALIKE * score)
  return float(np.exp(log) * special.hyp2f1(0.5, 0.5, n + 0.5, (ALIKE * score + 1) / 2))


def tar(threshold: float) -> float:
  """Share of mated pairs with at least this cosine."""
  return float(integrate.quad(mated_density, threshold, 1.0, epsabs=1e-12)[0])


def far(threshold: float) -> float:
  """Share of non-mated pairs with at least this cosine: two random directions."""
  return float(stats.beta((SIZE - 1) / 2, (SIZE - 1) / 2).sf((threshold + 1) / 2))


def threshold_of(target: float) -> float:
  """Cosine whose FAR in the population is the target."""
  return float(2 * stats.beta((SIZE - 1) / 2, (SIZE - 1) / 2).isf(target) - 1)


@functools.cache
def equal_threshold() -> float:
  """Cosine with equal error rates, at which the accuracy on as many pairs of both kinds is largest, or nearly so."""
  return float(optimize.brentq(lambda at: far(at) + tar(at) - 1, 0.0, 0.9))


def truths() -> dict[str, float]:
  """Figures of the population."""
  equal = equal_threshold()
  first = integrate.quad(lambda at: mated_density(at) * (1 - far(at)) ** (PEOPLE - 1), -0.9, 1.0, epsabs=1e-10)[0]
  return {
    f"TAR at FAR {FAR:g}": tar(threshold_of(FAR)), f"threshold at FAR {FAR:g}": threshold_of(FAR), "accuracy": (tar(equal) + 1 - far(equal)) / 2,
    "equal error rate": far(equal), "rank 1": float(first),
  }


def one_set(seed: int) -> Found:
  """Intervals of one set, and those of independent pairs or probes."""
  unit, label = embeddings(seed, PEOPLE)
  found = all_pairs_intervals(unit, label, [FAR])[FAR]
  mated = PEOPLE * IMAGES * (IMAGES - 1) // 2
  result: Found = {f"TAR at FAR {FAR:g}": (found.tar, wilson(found.point.tar * mated, mated))}
  result[f"threshold at FAR {FAR:g}"] = (found.threshold, (np.nan, np.nan))
  result |= pair_list(unit, np.random.default_rng(seed))
  # The first image of each identity is the gallery.
  gallery = np.arange(0, len(unit), IMAGES)
  probe = np.setdiff1d(np.arange(len(unit)), gallery)
  first = search_gallery(unit[probe] @ unit[gallery].T, label[probe], label[gallery]).rank == 1
  return result | {"rank 1": (mean_interval(first, label[probe]), wilson(int(first.sum()), len(first)))}


def pair_list(unit: np.ndarray, random: np.random.Generator) -> Found:
  """Accuracy and equal error rate of a list of random pairs."""
  same = np.arange(2 * PAIRS) < PAIRS
  left = random.integers(0, PEOPLE, 2 * PAIRS)
  right = np.where(same, left, (left + random.integers(1, PEOPLE, 2 * PAIRS)) % PEOPLE)
  at = random.integers(0, IMAGES, 2 * PAIRS)
  other = np.where(same, (at + random.integers(1, IMAGES, 2 * PAIRS)) % IMAGES, random.integers(0, IMAGES, 2 * PAIRS))
  score = (unit[left * IMAGES + at] * unit[right * IMAGES + other]).sum(1)
  threshold = equal_threshold()
  correct = (score >= threshold) == same
  folds = Folds(np.array([0]), np.array([2 * PAIRS]), np.array([correct.mean()]), np.array([threshold]), "train pairs")
  figures = FigureIntervals(score, same, np.zeros(2 * PAIRS, np.int64), folds, Units(left, right, PEOPLE), {"1e-2": 1e-2})
  wrong = int((~correct).sum())
  return {
    "accuracy": (figures.accuracy, wilson(2 * PAIRS - wrong, 2 * PAIRS)),
    "equal error rate": (figures.eer, wilson(wrong, 2 * PAIRS)),
  }


def table(found: list[Found], truth: dict[str, float]) -> str:
  """Coverage and mean width of both intervals."""
  lines = ["| figure | truth | holds it | mean width | independent: holds it | mean width |", "|---|---|---|---|---|---|"]
  for name, value in truth.items():
    cells = [name, f"{value:.5f}"]
    for which in (0, 1):
      ends = np.array([one[name][which] for one in found])
      held, width = int(((ends[:, 0] <= value) & (value <= ends[:, 1])).sum()), (ends[:, 1] - ends[:, 0]).mean()
      cells += ["–", "–"] if np.isnan(width) else [f"{held} of {len(found)}", f"{width:.5f}"]
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines)


def large() -> str:
  """One set of 10⁵ embeddings at FAR 1e-8."""
  start = time.perf_counter()
  found = all_pairs_intervals(*embeddings(0, LARGE_PEOPLE), [LARGE_FAR])[LARGE_FAR]
  minutes = (time.perf_counter() - start) / 60
  at = threshold_of(LARGE_FAR)
  rows = [
    ("threshold", at, found.point.threshold, found.threshold), ("TAR", tar(at), found.point.tar, found.tar),
    ("FAR at the threshold found", far(found.point.threshold), found.point.far, found.far),
  ]
  lines = [f"{LARGE_PEOPLE * IMAGES:,} embeddings, FAR {LARGE_FAR:g}, {minutes:.1f} minutes:", "", "| figure | truth | found | 95 % |", "|---|---|---|---|"]
  return "\n".join([*lines, *(f"| {name} | {truth:.5g} | {value:.5g} | {low:.5g} to {high:.5g} |" for name, truth, value, (low, high) in rows)])


def sets(count: int) -> Iterator[Found]:
  """The sets of seeds 0, 1, …"""
  for seed in range(count):
    yield one_set(seed)


def main() -> int:
  """Draws the sets and writes the page."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--sets", type=int, default=100, help="synthetic sets of 20,000 embeddings (default: %(default)s)")
  parser.add_argument("--large", action="store_true", help="one set of 100,000 embeddings instead")
  options = parser.parse_args()
  if options.large:
    replace_part(PAGE, "docs/check_all_pairs.py --large", large())
    return 0
  found = list(tqdm(sets(options.sets), total=options.sets, unit="set", disable=None))
  replace_part(PAGE, "docs/check_all_pairs.py", table(found, truths()))
  return 0


if __name__ == "__main__":
  sys.exit(main())
