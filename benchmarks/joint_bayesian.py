"""An iteration of Joint Bayesian's EM against the same EM in NumPy, by size of the embeddings; Gaussian people with 1 to 10 images.

  python -m benchmarks.joint_bayesian [--sizes 150 ...] [--images N] [--rounds N] [--json FILE]

NumPy's side is the published form: matrices once for each number of images, then the expectations of μ and ε of every image, in matrix
products. Both sides use float64 and the exact update, and compute the likelihood. Exits with 1 if the bar was missed at 150 numbers.
"""

import sys
import time

import numpy as np

from benchmarks.common import equal_malloc, machine, speedup
from benchmarks.options import benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.worker import cores
from jaxface.verifiers.joint_bayesian_em import Statistics, run_em, statistics

BAR, BAR_SIZE = 5.0, 150
TOLERANCE = 1e-8


def people(images: int, size: int) -> tuple[np.ndarray, np.ndarray]:
  """Images [N, D], sorted by person, and people [N]."""
  random = np.random.default_rng(0)
  count_i = random.integers(1, 11, images // 5 + 10)
  identity_n = np.repeat(np.arange(len(count_i)), count_i)[:images]
  row_nd = random.normal(size=(identity_n[-1] + 1, size))[identity_n]
  row_nd += random.normal(size=row_nd.shape)
  return row_nd - row_nd.mean(0), identity_n


def numpy_em(row_nd: np.ndarray, identity_n: np.ndarray, start: tuple[np.ndarray, np.ndarray], iterations: int, marks: list[float]):
  """The same EM with NumPy; appends the time at the end of each iteration."""
  size, count_i = row_nd.shape[1], np.bincount(identity_n)
  group_c = [(count, row_nd[np.isin(identity_n, np.flatnonzero(count_i == count))].reshape(-1, count, size)) for count in np.unique(count_i)]
  (between_dd, within_dd), people, images = start, len(count_i), len(row_nd)
  for _ in range(iterations):
    precision_dd, log_within = np.linalg.inv(within_dd), np.linalg.slogdet(within_dd)[1]
    new_between_dd, new_within_dd, twice = np.zeros((size, size)), np.zeros((size, size)), 0.0
    for count, row_imd in group_c:
      total_dd = count * between_dd + within_dd
      gain_dd = between_dd @ np.linalg.inv(total_dd)
      left_dd = between_dd - count * gain_dd @ between_dd
      sum_id = row_imd.sum(1)
      mean_id = sum_id @ gain_dd.T
      noise_nd = (row_imd - mean_id[:, None]).reshape(-1, size)
      new_between_dd += mean_id.T @ mean_id + len(row_imd) * left_dd
      new_within_dd += noise_nd.T @ noise_nd + count * len(row_imd) * left_dd
      flat_nd = row_imd.reshape(-1, size)
      twice += ((flat_nd @ precision_dd) * flat_nd).sum() - ((sum_id @ precision_dd) * mean_id).sum()
      twice += len(row_imd) * ((count - 1) * log_within + np.linalg.slogdet(total_dd)[1])
    likelihood = -0.5 * (twice / images + size * np.log(2 * np.pi))
    between_dd, within_dd = new_between_dd / people, new_within_dd / images
    marks.append(time.perf_counter())
  return between_dd, within_dd, likelihood


def first(given: Statistics) -> tuple[np.ndarray, np.ndarray]:
  """The covariances that `run_em` begins with."""
  free = given.count_i.sum() - len(given.count_i)
  return given.mean_id.T @ given.mean_id / len(given.mean_id), given.within_dd / free


def row_of(size: int, images: int, rounds: int) -> tuple[dict, float]:
  """A row of the table and the speed against NumPy."""
  row_nd, identity_n = people(images, size)
  start = time.perf_counter()
  given = statistics(row_nd, identity_n)
  took = time.perf_counter() - start
  wall: dict[str, list[float]] = {"jaxface": [], "numpy": []}
  for _ in range(rounds):
    marks: list[float] = []
    # The first iteration compiles, or groups the images: it is not timed.
    ours = run_em(given, iterations=4, tolerance=0, done=lambda *_, marks=marks: marks.append(time.perf_counter()))
    wall["jaxface"].append(float(np.median(np.diff(marks))))
    marks = []
    theirs = numpy_em(row_nd, identity_n, first(given), 4, marks)
    wall["numpy"].append(float(np.median(np.diff(marks))))
    away = max(np.abs(one - other).max() / np.abs(other).max() for one, other in zip(ours[:2], theirs[:2]))
    away = max(away, abs(ours[2][-1].log_likelihood / theirs[2] - 1))
    if not away < TOLERANCE:
      raise RuntimeError(f"size {size}: the sides differ by {away:.1e}")
  speed = speedup(wall, "jaxface", "numpy")
  row = {
    "D": size, "people": len(given.count_i), "images": len(row_nd), "statistics s": took,
    "jaxface s": float(np.median(wall["jaxface"])), "NumPy s": float(np.median(wall["numpy"])), "times as fast": str(speed),
  }
  return row, speed.middle


def main() -> int:
  """Measures and prints."""
  parser = benchmark_parser(__doc__, 5, "runs of three timed iterations of each side")
  parser.add_argument("--sizes", type=int, nargs="+", default=[BAR_SIZE], help="default: %(default)s")
  parser.add_argument("--images", type=int, default=100_000, help="default: %(default)s")
  options = parse_for_cpu(parser)
  rows, missed = [], False
  for size in options.sizes:
    row, speed = row_of(size, options.images, options.rounds)
    rows.append(row)
    missed |= size == BAR_SIZE and speed < BAR
  notes = [
    "Seconds of an iteration, without the first. Statistics are computed once for each fit, which NumPy's side does not need. Covariances and"
    " likelihood of both sides are compared after four iterations.",
    "All images of a person enter by their mean, in coordinates where both covariances are diagonal; NumPy's side forms μ and ε of every image.",
    f"Bar at {BAR_SIZE} numbers: at least {BAR} × NumPy: {'missed' if missed else 'met'}.",
  ]
  facts = {"threads": cores(), "rounds": options.rounds, "dtype": "float64"}
  Findings("Joint Bayesian", machine("jax", "jaxlib", "numpy"), facts, rows, notes).publish(options.json)
  return 1 if missed else 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
