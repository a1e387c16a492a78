"""Verification figures of embeddings, made here or elsewhere, on a pair list.

  jaxface evaluate --protocol lfw --pairs pairs.txt --embeddings lfw.npz --json lfw.json

As DeepFace's representation, fitted on embeddings of the training set (both made with `jaxface embed --raw`):

  jaxface evaluate --pairs pairs.txt --embeddings lfw.npz --normalise train.npz --save-fit fit.json
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from jaxface.evaluation.normalisation import LargestFeatures
from jaxface.evaluation.verification import verify_pairs
from jaxface.formats.atomic import write_json
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.formats.pairs import read_pairs

PROTOCOLS = {"lfw": read_pairs}


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, verify, print."""
  parser.add_argument("--protocol", choices=PROTOCOLS, default="lfw", help="format and rules of the pair list (default: lfw)")
  parser.add_argument("--pairs", required=True, metavar="FILE", help="pair list, such as LFW's pairs.txt")
  parser.add_argument("--embeddings", required=True, metavar="FILE", help=".npz or .parquet of `jaxface embed`")
  parser.add_argument(
    "--normalise", metavar="FILE",
    help="divide each feature by its largest number over these embeddings of a training set (.npz or .parquet), or by a saved"
    " fit (.json)",
  )
  parser.add_argument("--save-fit", metavar="FILE", help="write what --normalise found as .json")
  parser.add_argument("--json", metavar="FILE", help="write every figure here")
  options = parser.parse_args(arguments)
  pairs = PROTOCOLS[options.protocol](options.pairs)
  if options.save_fit and not options.normalise:
    parser.error("--save-fit needs --normalise, which says what to fit on")
  embeddings = read_embeddings(options.embeddings)
  embedding_nd = embeddings.embedding_nd
  if options.normalise:
    fit = fitted(options.normalise)
    embedding_nd = fit.apply(network_numbers(options.embeddings, embeddings))
    if options.save_fit:
      Path(options.save_fit).parent.mkdir(parents=True, exist_ok=True)
      fit.save(options.save_fit)
  result = verify_pairs(embedding_nd, embeddings.names, pairs)
  figures = {"protocol": options.protocol, **result.to_json()}
  if options.json:
    Path(options.json).parent.mkdir(parents=True, exist_ok=True)
    write_json(options.json, figures)
  if sys.stdout.isatty() or options.json:
    print(result.summary())
  else:
    print(json.dumps(figures, indent=2))
  return 0


def fitted(path: str) -> LargestFeatures:
  """The fit that a `.json` file holds, or that is made on the embeddings of another file."""
  if path.endswith(".json"):
    return LargestFeatures.load(path)
  return LargestFeatures.fit(network_numbers(path, read_embeddings(path)))


def network_numbers(path: str, embeddings: Embeddings) -> np.ndarray:
  """The embeddings [N, D] of a file, unless it says that they were scaled to length one.

  Raises:
    ValueError: it says so: lengths are lost, and with them what one face's features are worth beside another's.
  """
  if not embeddings.meta.get("raw", True):
    raise ValueError(f"{path}: its embeddings were scaled to length one; --normalise takes them as `jaxface embed --raw` makes them")
  return embeddings.embedding_nd
