"""Verification or identification figures of a model, or of embeddings made here or elsewhere.

  jaxface evaluate --protocol lfw --pairs pairs.txt --model models/mobilefacenet --images LFW_ALIGNED --save lfw.npz
  jaxface evaluate --protocol lfw --pairs pairs.txt --embeddings lfw.npz --json lfw.json
  jaxface evaluate --pairs mine.csv --threshold-from tuning.csv --embeddings mine.npz

A pair list has lines `left right same` or `left right same fold` (same is 1 or 0; separated by tabs or commas; the header is
optional), or is in LFW's or YTF's own format. docs/evaluation.md describes all formats. `jaxface report` makes a page of the files
of --save.

All pairs of labelled embeddings (the intervals include that the threshold is not known, unlike `jaxface threshold`), two models or scores on one list:

  jaxface evaluate --all-pairs --far 1e-4 1e-6 --embeddings lfw.npz
  jaxface evaluate --pairs pairs.txt --embeddings lfw.npz --compare other.npz
  jaxface evaluate --pairs pairs.txt --embeddings lfw.npz --verifier verifier.npz --compare-verifier cosine
  jaxface evaluate --pairs pairs.txt --embeddings lfw.npz --normalise train.npz --save-fit fit.json

The last one is DeepFace's normalisation, fitted on embeddings of the training set (made with `jaxface embed --raw`).
"""

import argparse
import json
import sys
from contextlib import ExitStack
from typing import Any

from jaxface.evaluation.pairs.videos import FrameRule
from jaxface.evaluation.protocols.compared import compare_embeddings
from jaxface.evaluation.protocols.registry import FRAME_PROTOCOLS, PROTOCOLS, evaluate
from jaxface.evaluation.threshold.all_pairs_figures import evaluate_all_pairs
from jaxface.inference.evaluate import embed_listed, evaluate_model
from jaxface.options import add_crops, add_faces, add_frames, add_mirror, add_model, faces_of
from jaxface.pipeline.say import say
from jaxface.verifiers.file import read_score


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, evaluate, print."""
  parser.add_argument("--protocol", choices=PROTOCOLS, default="pairs", help="official lists and rules, see docs/protocols.md (default: any pair list)")
  which = parser.add_mutually_exclusive_group(required=True)
  which.add_argument("--pairs", metavar="PATH", help="pair list, such as LFW's pairs.txt, or the file or folder that the protocol reads")
  which.add_argument("--all-pairs", action="store_true", help="TAR at --far over all pairs of the images, by their labels (one folder per person)")
  parser.add_argument("--far", type=float, nargs="+", metavar="RATE", help="with --all-pairs: target FARs (default: 1e-2 to 1e-6, as many as the data allow)")
  parser.add_argument("--compare", metavar="FILE", help="with --embeddings and --pairs: embeddings of another model; prints the differences, with intervals")
  parser.add_argument("--embeddings", metavar="FILE", help=".npz or .parquet of `jaxface embed`, or .npy with names in a .txt beside it; with --model: write them here")
  add_model(parser)
  add_faces(parser)
  add_mirror(parser, "sum", "with --model: ")
  add_crops(parser, "with --model: ")
  parser.add_argument("--normalise", metavar="FILE", help="divide each feature by its maximum over these embeddings of a training set"
                      " (.npz or .parquet), or by a saved fit (.json)")
  parser.add_argument("--verifier", metavar="FILE", help="score pairs by this verifier instead of the cosine, see `jaxface verifier --help`")
  parser.add_argument("--compare-verifier", metavar="FILE", help="prints the differences to this verifier, or to `cosine`, on the embeddings of --compare (default: of --embeddings)")
  parser.add_argument("--save-fit", metavar="FILE", help="write the fit of --normalise as .json")
  parser.add_argument("--threshold-from", metavar="PATH", help="pair list that sets the threshold, such as LFW's pairsDevTrain.txt (default: the"
                      " other folds; for a list without folds its own pairs, which is optimistic), or a model directory, whose threshold is used"
                      " beside the folds")
  parser.add_argument("--skip-missing", action="store_true",
                      help="ignore pairs of images without an embedding, also of the list of --threshold-from, with a note (default: error)")
  add_frames(parser)
  parser.add_argument("--json", metavar="FILE", help="also write all figures to this file")
  parser.add_argument("--save", metavar="FILE", help="also write scores, ranks and figures to this .npz file, for `jaxface report`")
  parser.add_argument("--title", default="", metavar="TEXT", help="name of the model in reports (default: the name of the file of --save)")
  options = parser.parse_args(arguments)
  compares = options.compare or options.compare_verifier
  if (options.far and not options.all_pairs) or (compares and (options.all_pairs or options.images or options.records)):
    parser.error("--far goes with --all-pairs, --compare and --compare-verifier with --embeddings and --pairs")
  if (options.all_pairs or compares) and (options.save or options.normalise or options.title):
    parser.error("--save, --title and --normalise go with --pairs, without --compare and --compare-verifier")
  if (options.verifier and options.normalise) or (options.save_fit and not options.normalise):
    parser.error("--normalise goes without --verifier, which was fitted on other numbers; --save-fit needs --normalise, the embeddings to fit on")
  if (options.frame_count or options.frame_seed or options.frame_quality) and options.protocol not in FRAME_PROTOCOLS:
    parser.error(f"--frame-count, --frame-seed and --frame-quality go with --protocol {' or '.join(FRAME_PROTOCOLS)}")
  with ExitStack() as stack:
    faces = faces_of(parser, options, stack)
    rules: dict[str, Any] = {
      "protocol": options.protocol, "normalise": options.normalise, "save_fit": options.save_fit, "threshold_from": options.threshold_from,
      "skip_missing": options.skip_missing, "out": options.json, "save": options.save, "title": options.title, "score": read_score(options.verifier),
    }
    if options.protocol in FRAME_PROTOCOLS:
      rules["frames"] = FrameRule.read(options.frame_quality, count=options.frame_count, seed=options.frame_seed)
    images = {
      "template": options.template, "mirror": options.mirror, "crops": options.crops, "batch_size": options.batch_size, "devices": options.devices,
      "embeddings": options.embeddings, "progress": sys.stderr.isatty(), "say": say,
    }
    found: Any
    if options.all_pairs:
      made = embed_listed(options.model, faces, None, **images) if faces else options.embeddings
      found = evaluate_all_pairs(made, options.far, score=rules["score"], out=options.json)
    elif compares:
      kept = {name: rules[name] for name in ("protocol", "threshold_from", "skip_missing", "score", "out")}
      found = compare_embeddings(options.embeddings, options.compare or options.embeddings, options.pairs, second_score=read_score(options.compare_verifier), **kept)
    elif faces:
      found = evaluate_model(options.model, faces, options.pairs, **images, **rules)
    else:
      found = evaluate(options.embeddings, options.pairs, **rules)
  for note in found.notes:
    print(f"note: {note}", file=sys.stderr)
  print(found if sys.stdout.isatty() or options.json else json.dumps(found.figures, indent=2))
  return 0
