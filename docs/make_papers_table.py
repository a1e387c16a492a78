"""Writes the table of figures in docs/papers.md, from experiments/papers.json and experiments/results.

Command: python docs/make_papers_table.py
"""

import sys
from pathlib import Path

from generated import replace_part, replaced

from jaxface.pipeline.papers.table import as_markdown, paper_rows, read_papers, read_results

PAGE = Path(__file__).with_name("papers.md")
NAME = "docs/make_papers_table.py"


__all__ = ["NAME", "PAGE", "part", "replaced"]


def part() -> str:
  """The table."""
  return as_markdown(list(paper_rows(read_papers(), read_results())))


def main() -> int:
  replace_part(PAGE, NAME, part())
  return 0


if __name__ == "__main__":
  sys.exit(main())
