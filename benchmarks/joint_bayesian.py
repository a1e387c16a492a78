"""Time of an iteration of Joint Bayesian's EM, by size of the embeddings; Gaussian identities with 1 to 10 images.

Command: python -m benchmarks.joint_bayesian [--sizes 150 2000] [--people 5000] [--iterations 3]
"""

import argparse
import time

import numpy as np

from jaxface.verifiers.joint_bayesian_em import run_em, statistics


def main() -> None:
  """Measures and prints a table."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--sizes", type=int, nargs="+", default=[150, 2000])
  parser.add_argument("--people", type=int, default=5000)
  parser.add_argument("--iterations", type=int, default=3)
  options = parser.parse_args()
  print("| D | people | images | statistics (s) | an iteration (s) |\n|---|---|---|---|---|")
  for size in options.sizes:
    random = np.random.default_rng(0)
    identity_n = np.repeat(np.arange(options.people), random.integers(1, 11, options.people))
    row_nd = random.normal(size=(options.people, size))[identity_n]
    row_nd += random.normal(size=row_nd.shape)
    start = time.perf_counter()
    given = statistics(row_nd, identity_n)
    took = time.perf_counter() - start
    marks = []
    run_em(given, iterations=options.iterations + 1, tolerance=0, done=lambda *_, marks=marks: marks.append(time.perf_counter()))
    # The first iteration compiles.
    each = np.diff(marks)
    print(f"| {size:,} | {options.people:,} | {len(row_nd):,} | {took:.1f} | {np.median(each):.2f} |", flush=True)


if __name__ == "__main__":
  main()
