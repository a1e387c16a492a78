"""Verification figures of embeddings, made here or elsewhere, on a pair list.

  jaxface evaluate --protocol lfw --pairs pairs.txt --embeddings lfw.npz --json lfw.json
"""

import argparse
import json
import sys
from pathlib import Path

from jaxface.evaluation.verification import verify_pairs
from jaxface.formats.atomic import write_json
from jaxface.formats.embeddings import read_embeddings
from jaxface.formats.pairs import read_pairs

PROTOCOLS = {"lfw": read_pairs}


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, verify, print."""
  parser.add_argument("--protocol", choices=PROTOCOLS, default="lfw", help="format and rules of the pair list (default: lfw)")
  parser.add_argument("--pairs", required=True, metavar="FILE", help="pair list, such as LFW's pairs.txt")
  parser.add_argument("--embeddings", required=True, metavar="FILE", help=".npz or .parquet of `jaxface embed`")
  parser.add_argument("--json", metavar="FILE", help="write every figure here")
  options = parser.parse_args(arguments)
  pairs = PROTOCOLS[options.protocol](options.pairs)
  embeddings = read_embeddings(options.embeddings)
  result = verify_pairs(embeddings.embedding_nd, embeddings.names, pairs)
  figures = {"protocol": options.protocol, **result.to_json()}
  if options.json:
    Path(options.json).parent.mkdir(parents=True, exist_ok=True)
    write_json(options.json, figures)
  if sys.stdout.isatty() or options.json:
    print(result.summary())
  else:
    print(json.dumps(figures, indent=2))
  return 0
