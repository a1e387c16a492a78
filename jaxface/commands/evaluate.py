"""Verification figures of embeddings, made here or elsewhere, on a pair list.

  jaxface evaluate --protocol lfw --pairs pairs.txt --embeddings lfw.npz --json lfw.json
  jaxface evaluate --pairs mine.csv --threshold-from tuning.csv --embeddings mine.npz

A pair list has lines `left right same` or `left right same fold` (same is 1 or 0; separated by tabs or commas; the header is
optional), or is in LFW's or YTF's own format. docs/evaluation.md describes all formats.

DeepFace's normalisation, fitted on embeddings of the training set (both made with `jaxface embed --raw`):

  jaxface evaluate --pairs pairs.txt --embeddings lfw.npz --normalise train.npz --save-fit fit.json
"""

import argparse
import json
import sys

from jaxface.evaluation.protocols.registry import PROTOCOLS, evaluate


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, verify, print."""
  parser.add_argument("--protocol", choices=PROTOCOLS, default="pairs", help="official lists and rules, see docs/protocols.md (default: any pair list)")
  parser.add_argument("--pairs", required=True, metavar="PATH", help="pair list, such as LFW's pairs.txt, or the file or folder that the protocol reads")
  parser.add_argument("--embeddings", required=True, metavar="FILE", help=".npz or .parquet of `jaxface embed`")
  parser.add_argument(
    "--normalise", metavar="FILE",
    help="divide each feature by its maximum over these embeddings of a training set (.npz or .parquet), or by a saved fit"
    " (.json)",
  )
  parser.add_argument("--save-fit", metavar="FILE", help="write the fit of --normalise as .json")
  parser.add_argument(
    "--threshold-from", metavar="FILE", help="pair list that sets the threshold, such as LFW's pairsDevTrain.txt (default: the"
    " other folds; for a list without folds its own pairs, which is optimistic)",
  )
  parser.add_argument(
    "--skip-missing", action="store_true", help="ignore pairs of images without an embedding, also of the list of --threshold-from,"
    " with a note (default: error)"
  )
  parser.add_argument("--json", metavar="FILE", help="also write all figures to this file")
  options = parser.parse_args(arguments)
  if options.save_fit and not options.normalise:
    parser.error("--save-fit needs --normalise, the embeddings to fit on")
  found = evaluate(
    options.embeddings, options.pairs, protocol=options.protocol, normalise=options.normalise, save_fit=options.save_fit,
    threshold_from=options.threshold_from, skip_missing=options.skip_missing, out=options.json,
  )
  for note in found.notes:
    print(f"note: {note}", file=sys.stderr)
  print(found if sys.stdout.isatty() or options.json else json.dumps(found.figures, indent=2))
  return 0
