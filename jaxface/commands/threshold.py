"""Measure the threshold of a model at a false-accept rate, and write it into the model's folder.

  jaxface threshold --far 1e-4 --model models/mobilefacenet --images LFW_ALIGNED --all-pairs --write models/mobilefacenet
  jaxface threshold --far 1e-3 --model models/mobilefacenet --images PHOTOS --align --all-pairs
  jaxface threshold --far 1e-3 --embeddings lfw.npz --pairs pairs.txt --gallery 500 --searches-per-day 200
  jaxface threshold --far 1e-3 --embeddings lfw.npz --pairs pairs.txt --verifier verifier.npz --write verifier.npz

Prints the threshold, the FAR and TAR at it, and the false accepts to expect with a gallery and a traffic, each with a 95 % interval over
identities. FAR and TAR are those of this threshold, as it will be used; `jaxface evaluate --all-pairs` gives TAR at a FAR, whose interval
includes that the threshold of that FAR is not known. A small FAR needs many pairs: --all-pairs takes all pairs of the labelled embeddings, of which the images need one subfolder per
person. docs/threshold.md explains the figures.
"""

import argparse
import functools
import json
import sys
from contextlib import ExitStack

from jaxface.evaluation.config import MIRRORS
from jaxface.evaluation.protocols.registry import PROTOCOLS
from jaxface.inference.threshold import set_threshold
from jaxface.options import add_faces, add_model, faces_of
from jaxface.pipeline.say import say
from jaxface.verifiers.threshold import set_verifier_threshold


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, measure, print."""
  parser.add_argument("--far", required=True, type=float, metavar="RATE", help="share of non-mated pairs to accept at most, such as 1e-4")
  which = parser.add_mutually_exclusive_group(required=True)
  which.add_argument("--pairs", metavar="PATH", help="pair list, or what the protocol reads; folds are not used")
  which.add_argument("--all-pairs", action="store_true", help="all pairs of the embeddings, by their labels")
  parser.add_argument("--protocol", choices=PROTOCOLS, default="pairs", help="of --pairs (default: any pair list)")
  parser.add_argument("--embeddings", metavar="FILE", help=".npz or .parquet of `jaxface embed`, or .npy with names in a .txt beside it; with --model: write them here")
  add_model(parser)
  add_faces(parser)
  parser.add_argument(
    "--mirror", choices=MIRRORS, help="mirror setting of the embeddings to be compared (default: that of --embeddings; with --model: sum)"
  )
  parser.add_argument("--gallery", type=int, default=10_000, metavar="N", help="people that a search is compared with (default: 10,000)")
  parser.add_argument(
    "--searches-per-day", type=float, default=5_000, metavar="N",
    help="searches per day for people who are not in the gallery (default: 5,000)",
  )
  parser.add_argument("--skip-missing", action="store_true", help="ignore pairs of images without an embedding, with a note (default: error)")
  parser.add_argument("--verifier", metavar="FILE", help="of the scores of this verifier instead of the cosine, on people that it was not fitted on")
  parser.add_argument(
    "--write", metavar="PATH", help="model directory or workdir to write threshold.json into; with --verifier: its file, or a new one, which keeps the threshold"
  )
  parser.add_argument("--json", metavar="FILE", help="also write all figures to this file")
  options = parser.parse_args(arguments)
  measure = functools.partial(set_verifier_threshold, options.verifier) if options.verifier else set_threshold
  with ExitStack() as stack:
    faces = faces_of(parser, options, stack)
    found = measure(
      options.far, options.pairs, embeddings=options.embeddings, model=options.model,
      faces=faces, protocol=options.protocol, mirror=options.mirror, gallery=options.gallery,
      searches_per_day=options.searches_per_day, skip_missing=options.skip_missing, write=options.write, out=options.json,
      template=options.template, batch_size=options.batch_size, devices=options.devices, progress=sys.stderr.isatty(), say=say,
    )
  for note in found.notes:
    print(f"note: {note}", file=sys.stderr)
  print(found if sys.stdout.isatty() or options.json else json.dumps(found.figures, indent=2))
  return 0
