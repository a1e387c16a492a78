"""Import times beyond JAX's own; each in a fresh interpreter.

  python -m benchmarks.imports
"""

import statistics
import subprocess
import sys

from benchmarks.common import machine
from benchmarks.options import benchmark_parser
from benchmarks.page import Findings

BAR = 0.3
LINES = (
  "import jaxface",
  "import jaxface; jaxface.losses.ArcFace",
  "import jaxface; jaxface.models.create",
  "import jaxface; jaxface.training.Experiment",
  "import jaxface; jaxface.load",
  "import jaxface; jaxface.verify",
)
# Packages that must not be loaded before they are used.
WATCHED = ("tensorflow", "tensorflow_datasets", "orbax", "pyarrow", "onnx", "scipy")
PROGRAM = """
import sys, time
import jax
start = time.perf_counter()
{line}
print(time.perf_counter() - start, *[name for name in {watched} if name in sys.modules])
"""


def measure(line: str, rounds: int) -> dict:
  """Median seconds of a line after `import jax`, and the heavy packages that it loads."""
  seconds, loaded = [], ""
  for _ in range(rounds):
    program = PROGRAM.format(line=line, watched=WATCHED)
    words = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    seconds.append(float(words[0]))
    loaded = ", ".join(words[1:])
  middle = statistics.median(seconds)
  row = {"line": f"`{line}`", "seconds beyond JAX": f"{middle:.3f}", "loads": loaded or "none of those watched"}
  return row | {"bar": f"{BAR} s {'met' if middle < BAR else 'MISSED'}" if line == LINES[0] else ""}


def main() -> int:
  """Measures and prints; 1 if the bar was missed."""
  parser = benchmark_parser(__doc__, 5, "fresh interpreters for each line")
  options = parser.parse_args()
  rows = [measure(line, options.rounds) for line in LINES]
  notes = [f"Watched: {', '.join(WATCHED)}."]
  Findings("Imports", machine("jax", "flax", "numpy"), {"rounds": options.rounds}, rows, notes).publish(options.json)
  return int(any("MISSED" in row["bar"] for row in rows))


if __name__ == "__main__":
  sys.exit(main())
