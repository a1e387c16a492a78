"""Figures of embeddings per group of people or images, with differences between groups and their intervals.

  jaxface slices --embeddings lfw.npz --pairs pairs.txt --table people.csv --by sex,age --edges age=20,40,60
  jaxface slices --embeddings lfw.npz --pairs pairs.txt --table people.csv --by sex+age
  jaxface slices --embeddings lfw.npz --pairs pairs.txt --images LFW_ALIGNED --by sharpness,brightness

The table (.csv, .tsv, .parquet) has a header; its first column has names of images ("Person/Person_0001") or of identities ("Person").
A pair belongs to a group if both of its images do. FMR and FNMR are at thresholds chosen on all pairs. docs/sweeps.md explains
the figures and the files.
"""

import argparse
import sys
from collections.abc import Sequence

from jaxface.evaluation.protocols.registry import PROTOCOLS
from jaxface.pipeline.slicing import slices


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, evaluate, print."""
  parser.add_argument("--embeddings", required=True, metavar="FILE", help=".npz or .parquet of `jaxface embed`")
  parser.add_argument("--pairs", required=True, metavar="PATH", help="pair list, such as LFW's pairs.txt, or what the protocol reads")
  parser.add_argument("--protocol", choices=PROTOCOLS, default="pairs", help="rules of the list, see docs/protocols.md (default: any pair list)")
  given = parser.add_mutually_exclusive_group(required=True)
  given.add_argument("--table", metavar="FILE", help="attributes of images or identities: .csv, .tsv or .parquet with a header")
  given.add_argument("--images", metavar="DIR", help="measure brightness, contrast and sharpness of these images instead: a folder, or packed records")
  parser.add_argument("--by", required=True, type=_names, metavar="A,B,…", help="columns to group by, each for itself; A+B crosses two")
  parser.add_argument("--key", default="", metavar="COLUMN", help="column of the names (default: the first)")
  parser.add_argument(
    "--edges", type=_edges, action="append", default=[], metavar="COLUMN=X,Y,…", help="where to cut the numbers of a column, such as"
    " age=20,40,60; may be repeated (default: quantiles; values themselves where there are at most six)",
  )
  parser.add_argument("--quantiles", type=int, default=4, metavar="N", help="groups of other columns of numbers (default: 4)")
  parser.add_argument("--skip-missing", action="store_true", help="ignore pairs of images without an embedding, with a note (default: error)")
  parser.add_argument("--out", metavar="DIR", help="also write all figures as slices_COLUMN.json to this folder")
  options = parser.parse_args(arguments)
  found = slices(
    options.embeddings, options.pairs, options.by, table=options.table, images=options.images, edges=dict(options.edges),
    quantiles=options.quantiles, key=options.key, protocol=options.protocol, skip_missing=options.skip_missing, out=options.out,
    progress=sys.stderr.isatty(),
  )
  for note in dict.fromkeys(note for one in found for note in one.notes):
    print(f"note: {note}", file=sys.stderr)
  print("\n\n".join(map(str, found)))
  return 0


def _names(text: str) -> Sequence[str]:
  return tuple(part.strip() for part in text.split(",") if part.strip())


def _edges(text: str) -> tuple[str, Sequence[float]]:
  column, equals, numbers = text.partition("=")
  try:
    edges = tuple(float(part) for part in numbers.split(","))
  except ValueError:
    edges = ()
  if not (column and equals and edges):
    raise argparse.ArgumentTypeError(f"{text!r} should be COLUMN=X,Y,…, such as age=20,40,60")
  return column, edges
