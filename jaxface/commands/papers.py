"""List the papers whose systems jaxface has; their figures beside those measured here; keep new ones.

  jaxface papers                                         names and sources
  jaxface papers --table                                 each figure of the papers, and ours
  jaxface papers deepface --table                        of one paper
  jaxface papers --keep runs/deepface_small runs/vggface
  jaxface papers --keep runs/deepface_small --results mine && jaxface papers --table --results mine

The papers' figures are in experiments/papers.json, ours in experiments/results, one file for each run. --keep writes such a file from
the workdir of a finished run of `jaxface train`, or copies the file that the command of a system wrote.
"""

import argparse

from jaxface.command_line import listing
from jaxface.losses.ranges import check_name
from jaxface.pipeline.papers.keep import keep_results
from jaxface.pipeline.papers.table import as_markdown, as_text, paper_rows, read_papers, read_results


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Print the list or the table, or keep results."""
  parser.add_argument("paper", nargs="?", metavar="PAPER", help="one paper, such as deepface (default: all)")
  action = parser.add_mutually_exclusive_group()
  action.add_argument("--table", action="store_true", help="print the papers' figures and ours, with data, size and command")
  action.add_argument("--markdown", action="store_true", help="the same as Markdown")
  action.add_argument("--keep", nargs="+", metavar="PATH", help="write result files from workdirs of finished runs, or copy result files")
  parser.add_argument("--results", metavar="DIR", help="folder of result files (default: those that come with jaxface)")
  options = parser.parse_args(arguments)
  if options.keep:
    for file in keep_results(options.keep, options.results):
      print(file)
    return 0
  papers = read_papers()
  if options.paper:
    check_name("paper", options.paper, [paper.name for paper in papers])
    papers = tuple(paper for paper in papers if paper.name == options.paper)
  if not (options.table or options.markdown):
    print(listing({paper.name: paper.source for paper in papers}))
    return 0
  table = list(paper_rows(papers, read_results(options.results)))
  print(as_markdown(table) if options.markdown else as_text(table))
  return 0
