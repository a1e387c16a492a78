"""Executes the notebooks one after another and writes what each takes into docs/notebooks/index.md.

Command, with the docs environment (`make docs` makes it): PATH=$PWD/.venv/bin:$PATH python docs/time_notebooks.py [NAME ...]
With names only these are executed, and the rows of the others stay.
Wall time depends on what else the machine does; processor time (user + system, of the kernel and its children) much less.
Each notebook starts with an empty compilation cache.
"""

import os
import platform
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

import nbclient
from generated import replace_part
from myst_nb.core.read import read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig

FOLDER = Path(__file__).parent / "notebooks"
PAGE = FOLDER / "index.md"


def measure(path: Path) -> tuple[float, float]:
  """Wall and processor seconds of one notebook, its kernel's start included."""
  notebook = read_myst_markdown_notebook(path.read_text(encoding="utf-8"), MdParserConfig())
  wall, before = time.perf_counter(), _processor()
  with tempfile.TemporaryDirectory() as folder:
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": folder}}).execute()
  return time.perf_counter() - wall, _processor() - before


def _processor() -> float:
  used = resource.getrusage(resource.RUSAGE_CHILDREN)  # counts children that have ended, as a kernel has after `execute`
  return used.ru_utime + used.ru_stime


def main() -> None:
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  chosen = sys.argv[1:]
  kept = {name: line for line, name in re.findall(r"^(\| \[(\w+)\]\(.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)}
  rows = []
  for path in sorted(path for path in FOLDER.glob("*.md") if path != PAGE):
    if chosen and path.stem not in chosen and path.stem in kept:
      rows.append(kept[path.stem])
      continue
    load = os.getloadavg()[0]
    wall, processor = measure(path)
    rows.append(f"| [{path.stem}]({path.name}) | {wall:.0f} s | {processor:.0f} s | {load:.0f} |")
    print(rows[-1], flush=True)
  table = "\n".join(["| notebook | wall time | processor time | load at the start |", "|---|---:|---:|---:|", *rows])
  where = f"On {os.cpu_count()} cores, Python {platform.python_version()}:"
  replace_part(PAGE, "docs/time_notebooks.py", f"{where}\n\n{table}")


if __name__ == "__main__":
  main()
