"""Fit a verifier, a learned score of two embeddings, or describe one.

  jaxface embed --model models/mobilefacenet --images TRAIN --out train.npz
  jaxface verifier fit joint-bayesian --embeddings train.npz --components 100 --out verifier.npz
  jaxface evaluate --protocol lfw --pairs pairs.txt --embeddings lfw.npz --verifier verifier.npz
  jaxface verifier show verifier.npz

Fit it on other people than those that it will be evaluated on. docs/verifiers.md describes the kinds.
"""

import argparse
import json
from typing import Any

from jaxface.pipeline.say import say
from jaxface.verifiers import VERIFIERS, fit_verifier, read_verifier
from jaxface.verifiers.joint_bayesian_em import UPDATES


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, fit or read, print."""
  which = parser.add_subparsers(dest="what", required=True, metavar="fit | show")
  fit = which.add_parser("fit", help="fit a verifier on embeddings of a training set", formatter_class=argparse.RawDescriptionHelpFormatter)
  fit.add_argument("kind", choices=VERIFIERS, help="kind of verifier")
  fit.add_argument("--embeddings", required=True, metavar="FILE", help=".npz or .parquet of `jaxface embed`, with labels (one folder per person)")
  fit.add_argument("--out", required=True, metavar="FILE", help="verifier to write, .npz")
  # Settings that are not given keep the kind's own default.
  setting: dict[str, Any] = {"default": argparse.SUPPRESS}
  fit.add_argument("--components", type=int, metavar="N", help="compare N principal components (default: the embeddings)", **setting)
  fit.add_argument("--whiten", action="store_true", help="divide each component by its standard deviation", **setting)
  fit.add_argument(
    "--unit", action=argparse.BooleanOptionalAction, help="scale embeddings to length one first (default: yes for joint-bayesian, else no)", **setting
  )
  fit.add_argument("--update", choices=UPDATES, help="joint-bayesian: M-step of maximum likelihood, or that of the paper (default: exact)", **setting)
  fit.add_argument("--iterations", type=int, metavar="N", help="joint-bayesian: at most N iterations of EM (default: 100)", **setting)
  fit.add_argument("--tolerance", type=float, metavar="SHARE", help="joint-bayesian: end when covariances change by less (default: 1e-4)", **setting)
  show = which.add_parser("show", help="describe a verifier")
  show.add_argument("file", metavar="FILE")
  options = vars(parser.parse_args(arguments))
  if options.pop("what") == "show":
    found = read_verifier(options["file"])
    print(json.dumps({"verifier": found.name, "score": found.what, "front": found.front.settings(), "settings": found.settings(), "made_from": dict(found.made_from)}, indent=2))
    return 0
  found = fit_verifier(**options, say=say)
  people = f" of {found.made_from['people']:,} people" if "people" in found.made_from else ""
  print(f"{options['out']}: {found.name}, fitted on {found.made_from['images']:,} images{people}")
  return 0
