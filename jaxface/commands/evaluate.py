"""Verification or identification figures of a model, or of embeddings made here or elsewhere.

  jaxface evaluate --protocol lfw --pairs pairs.txt --model models/mobilefacenet --images LFW_ALIGNED --save lfw.npz
  jaxface evaluate --protocol lfw --pairs pairs.txt --embeddings lfw.npz --json lfw.json
  jaxface evaluate --pairs mine.csv --threshold-from tuning.csv --embeddings mine.npz

A pair list has lines `left right same` or `left right same fold` (same is 1 or 0; separated by tabs or commas; the header is
optional), or is in LFW's or YTF's own format. docs/evaluation.md describes all formats. `jaxface report` makes a page of the files
of --save.

DeepFace's normalisation, fitted on embeddings of the training set (made with `jaxface embed --raw`):

  jaxface evaluate --pairs pairs.txt --embeddings lfw.npz --normalise train.npz --save-fit fit.json
"""

import argparse
import json
import sys

from jaxface.data.config import open_records
from jaxface.evaluation.protocols.registry import PROTOCOLS, evaluate
from jaxface.inference.evaluate import evaluate_model
from jaxface.options import add_mirror, add_model, add_template, load_network
from jaxface.pipeline.say import say


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, evaluate, print."""
  parser.add_argument("--protocol", choices=PROTOCOLS, default="pairs", help="official lists and rules, see docs/protocols.md (default: any pair list)")
  parser.add_argument("--pairs", required=True, metavar="PATH", help="pair list, such as LFW's pairs.txt, or the file or folder that the protocol reads")
  parser.add_argument("--embeddings", metavar="FILE", help=".npz or .parquet of `jaxface embed`; with --model: write them here")
  add_model(parser)
  given = parser.add_mutually_exclusive_group()
  given.add_argument("--images", metavar="PATH", help="with --model: folder of aligned images, searched to any depth")
  given.add_argument("--records", metavar="DIR", help="with --model: packed records")
  add_template(parser, "alignment template of --images, if known (default: unknown)")
  add_mirror(parser, "sum", "with --model: ")
  parser.add_argument("--batch-size", type=int, default=128, metavar="N", help="with --model: images per batch (default: 128)")
  parser.add_argument("--devices", type=int, default=0, metavar="N", help="with --model: number of this host's devices to use (default: all)")
  parser.add_argument(
    "--normalise", metavar="FILE",
    help="divide each feature by its maximum over these embeddings of a training set (.npz or .parquet), or by a saved fit"
    " (.json)",
  )
  parser.add_argument("--save-fit", metavar="FILE", help="write the fit of --normalise as .json")
  parser.add_argument(
    "--threshold-from", metavar="PATH", help="pair list that sets the threshold, such as LFW's pairsDevTrain.txt (default: the"
    " other folds; for a list without folds its own pairs, which is optimistic), or a model directory, whose threshold is used beside"
    " the folds",
  )
  parser.add_argument(
    "--skip-missing", action="store_true", help="ignore pairs of images without an embedding, also of the list of --threshold-from,"
    " with a note (default: error)"
  )
  parser.add_argument("--json", metavar="FILE", help="also write all figures to this file")
  parser.add_argument("--save", metavar="FILE", help="also write scores, ranks and figures to this .npz file, for `jaxface report`")
  parser.add_argument("--title", default="", metavar="TEXT", help="name of the model in reports (default: the name of its network)")
  options = parser.parse_args(arguments)
  if options.save_fit and not options.normalise:
    parser.error("--save-fit needs --normalise, the embeddings to fit on")
  faces = options.records or options.images
  if (options.model and not faces) or not (faces or options.embeddings):
    parser.error("give --embeddings FILE, or --images PATH or --records DIR with --model DIR")
  rules = {
    "protocol": options.protocol, "normalise": options.normalise, "save_fit": options.save_fit, "threshold_from": options.threshold_from,
    "skip_missing": options.skip_missing, "out": options.json, "save": options.save, "title": options.title,
  }
  if faces:
    load_network(options)
    found = evaluate_model(
      options.model, open_records(faces) if options.records else faces, options.pairs, template=options.template,
      mirror=options.mirror, batch_size=options.batch_size, devices=options.devices, embeddings=options.embeddings,
      progress=sys.stderr.isatty(), say=say, **rules,
    )
  else:
    found = evaluate(options.embeddings, options.pairs, **rules)
  for note in found.notes:
    print(f"note: {note}", file=sys.stderr)
  print(found if sys.stdout.isatty() or options.json else json.dumps(found.figures, indent=2))
  return 0
