"""Ten-fold accuracy with all thresholds against the common script with 400 thresholds, alternating in one run.

  python -m benchmarks.ten_fold [--rounds N] [--json FILE]

Both start from the embeddings of 6,000 pairs of unit length. The script is `calculate_roc` of FaceNet's `facenet.py`, which InsightFace and
most others use: for each fold the accuracy on the other nine at 400 thresholds of the squared distance, then rates and accuracy on the fold.
Ours takes the best of all thresholds, and computes ROC, AUC, EER and TAR at FAR too. Exits with 1 if the bar was missed.
"""

import sys
from collections.abc import Callable

import numpy as np

from benchmarks.common import equal_malloc, interleave, machine, speedup
from benchmarks.options import benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from jaxface.evaluation.measures.folds import fold_accuracy
from jaxface.evaluation.measures.roc import auc, eer, roc, tar_at_far
from jaxface.evaluation.pairs.pair_score import cosine_of_pairs

PAIRS, SIZE, FOLDS = 6_000, 512, 10
BAR, GOAL = 10.0, 50.0


def embeddings() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Unit embeddings [P, D] of both sides, and whether they show one person; 300 mated and 300 non-mated pairs in each fold."""
  random = np.random.default_rng(0)
  same = np.tile(np.repeat([True, False], PAIRS // FOLDS // 2), FOLDS)
  left = random.standard_normal((PAIRS, SIZE), np.float32)
  right = np.where(same[:, None], left, random.standard_normal((PAIRS, SIZE), np.float32)) + 3 * random.standard_normal((PAIRS, SIZE), np.float32)
  return *(side / np.linalg.norm(side, axis=1, keepdims=True) for side in (left, right)), same


def exact(left: np.ndarray, right: np.ndarray, same: np.ndarray) -> Callable[[], float]:
  """Ours; the mean accuracy."""
  both, at, fold = np.concatenate([left, right]), np.arange(PAIRS), np.repeat(np.arange(FOLDS), PAIRS // FOLDS)

  def run() -> float:
    score = cosine_of_pairs(both, at, at + PAIRS)
    curve = roc(score, same)
    auc(curve), eer(curve), [tar_at_far(curve, target) for target in (1e-1, 1e-2, 1e-3)]
    return fold_accuracy(score, same, fold).mean

  return run


def script(left: np.ndarray, right: np.ndarray, same: np.ndarray) -> Callable[[], float]:
  """FaceNet's algorithm; the mean accuracy."""
  thresholds = np.arange(0, 4, 0.01)

  def rates(threshold: float, distance: np.ndarray, same: np.ndarray) -> tuple[float, float, float]:
    accepted = np.less(distance, threshold)
    tp = np.sum(np.logical_and(accepted, same))
    fp = np.sum(np.logical_and(accepted, np.logical_not(same)))
    tn = np.sum(np.logical_and(np.logical_not(accepted), np.logical_not(same)))
    fn = np.sum(np.logical_and(np.logical_not(accepted), same))
    tpr = 0 if tp + fn == 0 else float(tp) / float(tp + fn)
    fpr = 0 if fp + tn == 0 else float(fp) / float(fp + tn)
    return tpr, fpr, float(tp + tn) / distance.size

  def run() -> float:
    distance = np.sum(np.square(np.subtract(left, right)), 1)
    curves, accuracy = np.zeros((2, FOLDS, len(thresholds))), np.zeros(FOLDS)
    for fold, test in enumerate(np.array_split(np.arange(PAIRS), FOLDS)):
      train = np.setdiff1d(np.arange(PAIRS), test)
      best = np.argmax([rates(threshold, distance[train], same[train])[2] for threshold in thresholds])
      for at, threshold in enumerate(thresholds):
        curves[0, fold, at], curves[1, fold, at], _ = rates(threshold, distance[test], same[test])
      accuracy[fold] = rates(thresholds[best], distance[test], same[test])[2]
    curves.mean(axis=1)
    return float(accuracy.mean())

  return run


def main() -> int:
  """Measures and prints."""
  options = parse_for_cpu(benchmark_parser(__doc__, 9, "timed runs of each side"))
  made = embeddings()
  sides = {"exact": exact(*made), "400 thresholds": script(*made)}
  found = {name: side() for name, side in sides.items()}
  timing = interleave(sides, rounds=options.rounds)
  ratio = speedup(timing.wall, "exact", "400 thresholds")
  rows = [
    {"side": name, "ms": 1e3 * float(np.median(timing.wall[name])), "mean accuracy": f"{100 * found[name]:.2f} %",
     "speed / 400 thresholds": str(speedup(timing.wall, name, "400 thresholds"))}
    for name in sides
  ]
  missed = ratio.middle < BAR
  notes = [
    "The exact side also computes ROC, AUC, EER and TAR at three FARs; its accuracy differs by the grid of the other's thresholds.",
    f"Bar: at least {BAR:g} × the script (goal {GOAL:g}): {'missed' if missed else 'met'}.",
  ]
  facts = {"pairs": PAIRS, "features": SIZE, "folds": FOLDS, "rounds": options.rounds}
  Findings("Ten-fold accuracy", machine("numpy"), facts, rows, notes).publish(options.json)
  return 1 if missed else 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
