"""Runs all benchmarks, each in its own process, and writes one page.

  python -m benchmarks [--rounds N] [--eager] [--page FILE]

Run it in the checkout, as `make bench` does. Exits with 1 if a bar was missed or a benchmark failed; the page then reports it,
with the results of the others.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.page import Findings, describe

NAMES = ("reader", "containers", "streaming", "training", "embedding", "formulations", "convolution", "triplets", "margin_softmax", "class_centers", "local_layers",
         "ensemble", "descriptors", "heat_map", "joint_bayesian", "all_pairs", "ten_fold", "bootstrap", "imports")
# Benchmarks against PyTorch, eager and compiled.
TORCH = ("training", "embedding", "margin_softmax", "class_centers", "local_layers", "triplets")
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"

INTRODUCTION = """# Benchmarks

Each ratio is from one run: the sides alternate, round by round, on the same cores with the same allocator settings."""


def page(command: str, found: dict[str, Findings | None], minutes: dict[str, float]) -> str:
  """The page.

  Args:
    command: command that makes it.
    found: results by name of the benchmark; None for one that failed.
    minutes: duration of each.
  """
  machine: dict = {}
  versions: dict = {}
  for findings in filter(None, found.values()):
    machine |= findings.machine
    versions |= findings.machine["versions"]
  # Each table has its own load.
  facts = {key: value for key, value in machine.items() if key != "load"} | {"versions": versions}
  parts = [INTRODUCTION, f"Made by `{command}` in {sum(minutes.values()):.0f} minutes.", describe(facts)]
  for name, findings in found.items():
    body = findings.markdown() if findings else f"## {name}\n\nFailed: nothing was measured."
    parts.append(f"{body}\n- Alone: `python -m benchmarks.{name}`, {minutes[name]:.1f} minutes.")
  return "\n\n".join(parts) + "\n"


def main() -> int:
  """Runs, prints and writes."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--rounds", type=int, help="rounds of every benchmark (default: that of each benchmark)")
  parser.add_argument("--eager", action="store_true", help="without torch.compile, which takes long to compile")
  parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE", help="default: docs/benchmarks.md")
  options = parser.parse_args()
  rounds = [] if options.rounds is None else ["--rounds", str(options.rounds)]
  eager = ["--eager"] if options.eager else []
  found: dict[str, Findings | None] = {}
  minutes: dict[str, float] = {}
  failed = False
  with tempfile.TemporaryDirectory() as folder:
    for name in NAMES:
      file = Path(folder, f"{name}.json")
      print(f"benchmarks.{name} …", file=sys.stderr, flush=True)
      command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(file), *rounds, *(eager if name in TORCH else [])]
      start = time.perf_counter()
      failed |= subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode != 0
      minutes[name] = (time.perf_counter() - start) / 60
      found[name] = Findings.read(file) if file.is_file() else None
  text = page(" ".join(["python -m benchmarks", *rounds, *eager]), found, minutes)
  print(text)
  options.page.write_text(text, encoding="utf-8")
  return int(failed)


if __name__ == "__main__":
  sys.exit(main())
