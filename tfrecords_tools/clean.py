"""Clean a folder of faces in stages, each with a report page; nothing in the folder is changed or deleted.

  python -m tfrecords_tools clean names CANDIDATES.txt --test TEST_NAMES.txt --out names.txt
  python -m tfrecords_tools clean intake PHOTOS --out FACES
  python -m tfrecords_tools clean rank FACES --model models/mobilefacenet --keep 200
  python -m tfrecords_tools clean duplicates FACES
  python -m tfrecords_tools clean noise FACES --model models/mobilefacenet
  python -m tfrecords_tools clean people FACES --model models/mobilefacenet
  python -m tfrecords_tools clean blocks FACES --model models/mobilefacenet     # then blocks FACES --decisions FILE
  python -m tfrecords_tools clean list FACES --out leave_out.tsv
  python -m tfrecords_tools pack FACES data/mine --leave-out leave_out.tsv

Results and pages are in FACES.cleaning, beside the folder. Each stage looks at what the stages before have left, in the order above. See
`clean STAGE --help` and docs/cleaning.md.
"""

import argparse
import sys

from jaxface.pipeline import (
  apply_blocks,
  clean_blocks,
  clean_duplicates,
  clean_intake,
  clean_list,
  clean_names,
  clean_noise,
  clean_people,
  clean_rank,
)
from tfrecords_tools.clean_stages import STAGES

__all__ = [
  "apply_blocks", "clean_blocks", "clean_duplicates", "clean_intake", "clean_list", "clean_names", "clean_noise", "clean_people", "clean_rank", "run",
]

RERUN = "finished parts are kept; the same command resumes"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, run one stage, print."""
  stages = parser.add_subparsers(dest="stage", metavar="STAGE", required=True)
  for name, (text, declare, _) in STAGES.items():
    declare(stages.add_parser(name, help=text, description=text))
  options = parser.parse_args(arguments)
  for line in STAGES[options.stage][2](sys.modules[__name__], options, {"progress": sys.stderr.isatty(), "say": _say}):
    print(line)
  return 0


def _say(note: str) -> None:
  print("note: " + note.encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
