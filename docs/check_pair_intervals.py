"""How often intervals over all pairs of a set hold the truth: 20,000 embeddings of 64 numbers, FAR 1e-6, and rank-1 identification.

Command: python docs/check_pair_intervals.py [--sets N]     (100 sets: half an hour on two cores)

People and images are normally distributed, so the threshold at a FAR is a quantile of a beta distribution. The shares of mated pairs
above it, and of probes identified, are means of large independent samples.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from generated import replace_part
from scipy import stats
from tqdm import tqdm

from jaxface.evaluation import all_pairs, nearest, rate_interval, wilson
from jaxface.evaluation.identity_units import Units

PAGE = Path(__file__).with_name("intervals.md")
COUNT, SIZE, PEOPLE, NOISE, TARGET = 20_000, 64, 2_000, 0.75, 1e-6
IMAGES = COUNT // PEOPLE
IDENTITY = np.repeat(np.arange(PEOPLE), IMAGES)


def one_set(seed: int) -> np.ndarray:
  """[N, D] float32 unit embeddings."""
  random = np.random.default_rng(seed)
  made = random.normal(size=(PEOPLE, SIZE))[IDENTITY] + NOISE * random.normal(size=(COUNT, SIZE))
  return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def identified(embedding_nd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Whether the nearest of everybody's first images shows the probe's person, for all other images; and their identities."""
  probe = np.arange(COUNT) % IMAGES > 0
  row_nk = nearest(embedding_nd[probe], embedding_nd[~probe], 1).row_nk
  return row_nk[:, 0] == IDENTITY[probe], IDENTITY[probe]


def truths(samples: int) -> tuple[float, float]:
  """TAR at the target FAR, and the share of probes identified."""
  threshold = 2 * stats.beta.isf(TARGET, (SIZE - 1) / 2, (SIZE - 1) / 2) - 1
  random, above = np.random.default_rng(10**6), []
  for _ in range(samples):
    person = random.normal(size=(200_000, SIZE))
    left, right = (person + NOISE * random.normal(size=person.shape) for _ in range(2))
    cosine = (left * right).sum(axis=1) / np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    above.append((cosine >= threshold).mean())
  rank = [identified(one_set(10**6 + seed))[0].mean() for seed in tqdm(range(samples), desc="truth", disable=None)]
  return float(np.mean(above)), float(np.mean(rank))


def main() -> int:
  """Draws the sets and writes the page."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--sets", type=int, default=100, help="synthetic sets (default: %(default)s)")
  options = parser.parse_args()
  truth, found = dict(zip(("TAR at FAR 1e-6", "rank-1"), truths(40))), {"TAR at FAR 1e-6": [], "rank-1": []}
  for seed in tqdm(range(options.sets), unit="set", disable=None):
    embedding_nd = one_set(seed)
    pairs = all_pairs(embedding_nd, IDENTITY, [TARGET], intervals=True)
    accepted = round(pairs.operating[TARGET].tar * pairs.mated)
    found["TAR at FAR 1e-6"].append((pairs.interval[TARGET], wilson(accepted, pairs.mated)))
    correct, identity = identified(embedding_nd)
    found["rank-1"].append((rate_interval(correct, Units(identity, identity, PEOPLE)), wilson(int(correct.sum()), len(correct))))
  lines = ["| figure | truth | holds it | mean width | independent pairs: holds it | mean width |", "|---|---|---|---|---|---|"]
  for name, value in truth.items():
    cells = [f"{value:.4f}"]
    for which in range(2):
      ends = np.array([one[which] for one in found[name]])
      held = int(((ends[:, 0] <= value) & (value <= ends[:, 1])).sum())
      cells += [f"{held} of {options.sets}", f"{(ends[:, 1] - ends[:, 0]).mean():.4f}"]
    lines.append(f"| {name} | {' | '.join(cells)} |")
  replace_part(PAGE, "docs/check_pair_intervals.py", "\n".join(lines))
  return 0


if __name__ == "__main__":
  sys.exit(main())
