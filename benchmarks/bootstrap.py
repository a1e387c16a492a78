"""Bootstrap over identities of 2,000 draws over a list of LFW's size, against one draw at a time, alternating in one run.

  python -m benchmarks.bootstrap [--pairs FILE] [--rounds N] [--json FILE]

Both give AUC, EER and TAR at three FARs of every draw, with a weight for each person, and for a pair the product of its two people's. The peer
sorts and weights the scores of each draw by itself, in NumPy. Exits with 1 if the bar was missed.
"""

import sys
from collections.abc import Callable

import numpy as np

from benchmarks.common import equal_malloc, interleave, machine, speedup
from benchmarks.options import benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from jaxface.evaluation.intervals.bootstrap import DRAWS, draw_figures
from jaxface.evaluation.intervals.identity_units import Units, units_of
from jaxface.formats.pairs import read_pairs

PAIRS, PEOPLE = 6_000, 4_281
TARGETS = (1e-1, 1e-2, 1e-3)
BAR = 1.0  # second


def synthetic() -> tuple[np.ndarray, Units]:
  """Which of LFW's number of pairs are mated, and their people."""
  random = np.random.default_rng(0)
  same = np.arange(PAIRS) % 2 == 0
  left = random.integers(0, PEOPLE, PAIRS)
  right = np.where(same, left, (left + random.integers(1, PEOPLE, PAIRS)) % PEOPLE)
  return same, Units(left, right, PEOPLE)


def together(score: np.ndarray, same: np.ndarray, units: Units) -> Callable[[], float]:
  """Ours; the mean AUC."""
  return lambda: float(draw_figures(score, same, units, TARGETS).auc_r.mean())


def one_by_one(score: np.ndarray, same: np.ndarray, units: Units) -> Callable[[], float]:
  """One draw at a time; the mean AUC."""

  def run() -> float:
    random, auc = np.random.default_rng(0), []
    for _ in range(DRAWS):
      weight = random.standard_exponential(units.total)
      pair = np.where(same, weight[units.left_p], weight[units.left_p] * weight[units.right_p])
      order = np.argsort(-score)
      true, false = np.cumsum(np.where(same, pair, 0)[order]), np.cumsum(np.where(same, 0, pair)[order])
      true, false = true / true[-1], false / false[-1]
      auc.append(float(np.sum(np.diff(false) * (true[1:] + true[:-1])) / 2))
      np.interp(0, false + true - 1, false), np.interp(TARGETS, false, true)
    return float(np.mean(auc))

  return run


def main() -> int:
  """Measures and prints."""
  parser = benchmark_parser(__doc__, 7, "timed runs of each side")
  parser.add_argument("--pairs", metavar="FILE", help="a pair list, such as LFW's pairs.txt (default: a synthetic one of its size)")
  options = parse_for_cpu(parser)
  if options.pairs:
    pairs = read_pairs(options.pairs)
    same, units = np.asarray(pairs.same), units_of(pairs)
  else:
    same, units = synthetic()
  score = np.random.default_rng(1).normal(np.where(same, 0.6, 0.0), 0.15)
  sides = {"together": together(score, same, units), "one by one": one_by_one(score, same, units)}
  found = {name: side() for name, side in sides.items()}
  timing = interleave(sides, rounds=options.rounds)
  seconds = {name: float(np.median(timing.wall[name])) for name in sides}
  rows = [
    {"side": name, "seconds": seconds[name], "CPU seconds": float(np.median(timing.cpu[name])), "mean AUC": f"{found[name]:.4f}",
     "speed / one by one": str(speedup(timing.wall, name, "one by one"))}
    for name in sides
  ]
  missed = seconds["together"] >= BAR
  notes = [f"Bar: {DRAWS:,} draws in less than {BAR:g} second: {'missed' if missed else 'met'}."]
  facts = {"pairs": len(same), "people": units.total, "draws": DRAWS, "rounds": options.rounds}
  Findings("Bootstrap over identities", machine("numpy"), facts, rows, notes).publish(options.json)
  return 1 if missed else 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
