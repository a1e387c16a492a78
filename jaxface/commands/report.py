"""One self-contained HTML page of any number of evaluations: figures with intervals, curves, thresholds, hardest pairs.

  jaxface evaluate --protocol lfw --pairs pairs.txt --model models/ours --images LFW_ALIGNED --save ours.npz
  jaxface report ours.npz theirs.npz --images LFW_ALIGNED --out report.html --card CARD.md --json figures.json

Models on one list are compared by paired tests. The page loads nothing from elsewhere and can be printed.
"""

import argparse
import shlex

from jaxface.pipeline.report import report_files
from jaxface.pipeline.say import say


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, report, print."""
  parser.add_argument("evaluations", nargs="*", metavar="FILE", help=".npz of `jaxface evaluate --save`")
  parser.add_argument("--out", default="report.html", metavar="FILE", help="page to write (default: report.html)")
  parser.add_argument("--title", default="", metavar="TEXT", help="heading (default: lists and models)")
  parser.add_argument("--images", metavar="PATH", help="folder of the evaluated images, or packed records: shows the hardest pairs as pictures")
  parser.add_argument("--sweep", action="append", default=[], metavar="FILE", help=".json of `jaxface sweep`; repeatable")
  parser.add_argument("--slices", action="append", default=[], metavar="FILE", help=".json of `jaxface slices`; repeatable")
  parser.add_argument("--card", metavar="FILE", help="also write a model card, in Markdown")
  parser.add_argument("--json", metavar="FILE", help="also write all figures, by jaxface/evaluation/report/figures.schema.json")
  options = parser.parse_args(arguments)
  report_files(
    options.evaluations, options.out, sweeps=options.sweep, slices=options.slices, images=options.images, title=options.title,
    card=options.card, figures=options.json, command=shlex.join(["jaxface", "report", *arguments]), say=say,
  )
  print(", ".join(str(path) for path in (options.out, options.card, options.json) if path))
  return 0
