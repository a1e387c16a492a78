"""Selects patches of an ensemble by the accuracy of their features, as DeepID2 does, and takes their features out of embeddings.

  jaxface patches select --model runs/deepid2 --embeddings lfw.npz --pairs LISTS --count 25 --groups 7 --out selection
  jaxface patches take --embeddings celeba.npz --selection selection/selection.json --group 1 --out group1.npz
  JAXFACE_DATA=FOLDER jaxface patches system deepid --small --workdir runs/deepid_small
  JAXFACE_DATA=FOLDER jaxface patches groups deepid2_patches --small --count 4 --groups 3 --workdir runs/deepid2_patches_small

`select` writes selection.json, trace.csv (a row for each step) and patches.png (the boxes on a face) to its folder. LISTS is the folder
of LFW's view 1, pairsDevTrain.txt and pairsDevTest.txt; any other pair list measures accuracy at its own best threshold.

`system` is DeepID's whole system: trains the ensemble if WORKDIR has no trained one, embeds its training images and LFW, and writes the figures
of the cosine, of Joint Bayesian after principal components and of the neural verifier, for several numbers of patches, to WORKDIR/system.
`groups` is DeepID2's: groups selected one after another, Joint Bayesian of each, and a support vector machine over their scores.
"""

import argparse
import json
import shlex
import sys

from jaxface.pipeline.patch_groups import GroupFigures, run_patch_groups
from jaxface.pipeline.patch_system import SCORES as SYSTEM_SCORES
from jaxface.pipeline.patch_system import SystemFigures, run_patch_system
from jaxface.pipeline.patches import SCORES, select_groups, take_group

RERUN = "the same command resumes after the last finished step"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, select or take, print."""
  table = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
  select = table.add_parser("select", help="select groups of patches", description="Selects groups of patches, forward and backward.")
  select.add_argument("--embeddings", required=True, metavar="FILE", help="of an ensemble, .npz or .parquet of `jaxface embed` (--mirror concat: each patch and its mirror image)")
  select.add_argument("--pairs", required=True, metavar="PATH", help="folder of LFW's view 1, or a pair list")
  select.add_argument("--out", required=True, metavar="DIR", help="folder of the results; an unfinished selection there is continued")
  select.add_argument("--model", metavar="DIR", help="the ensemble, which names and places the patches (default: they are numbered, and not drawn)")
  select.add_argument("--size", type=int, default=160, metavar="N", help="without --model: numbers of each patch (default: 160)")
  select.add_argument("--count", type=int, default=25, metavar="N", help="patches of a group (default: 25)")
  select.add_argument("--groups", type=int, default=1, metavar="N", help="groups, each of what the earlier ones left (DeepID2: 7; default: 1)")
  select.add_argument("--score", choices=SCORES, default="cosine", help="of each patch's features; those of a group are added (default: cosine)")
  select.add_argument("--training", metavar="FILE", help="with joint-bayesian: labelled embeddings of other people")
  select.add_argument("--components", type=int, metavar="N", help="with joint-bayesian: principal components of each patch")
  select.add_argument("--face", metavar="FILE", help="an aligned face to draw on (default: a drawing)")
  take = table.add_parser("take", help="write the features of a group", description="Writes embeddings that have only the features of a group.")
  take.add_argument("--embeddings", required=True, metavar="FILE", help="of the same ensemble, with the same --mirror")
  take.add_argument("--selection", required=True, metavar="FILE", help="selection.json of `jaxface patches select`")
  take.add_argument("--group", type=int, default=1, metavar="N", help="number of the group (default: 1)")
  take.add_argument("--out", required=True, metavar="FILE", help=".npz or .parquet")
  system = table.add_parser("system", help="train and measure DeepID's whole system", description="Trains, embeds, fits and measures; what exists is reused.")
  system.add_argument("--numbers", type=int, nargs="+", default=[1, 5, 15, 60], metavar="N", help="numbers of patches (default: 1 5 15 60); all are added")
  system.add_argument("--components", type=int, default=150, metavar="N", help="principal components (default: 150)")
  system.add_argument("--scores", nargs="+", choices=SYSTEM_SCORES, default=list(SYSTEM_SCORES), help="beside the cosine: Joint Bayesian fitted on the training images, on LFW's other folds or on both, the neural verifier (default: all)")
  groups = table.add_parser("groups", help="train and measure DeepID2's whole system", description="Trains, embeds, selects, fits and measures; what exists is reused.")
  groups.add_argument("--count", type=int, default=25, metavar="N", help="patches of a group, of which each network has two (default: 25)")
  groups.add_argument("--groups", type=int, default=7, metavar="N", help="groups, each of what the earlier ones left (default: 7)")
  groups.add_argument("--components", type=int, default=180, metavar="N", help="principal components (default: 180)")
  for one, example in ((system, "deepid"), (groups, "deepid2_patches")):
    one.add_argument("experiment", metavar="EXPERIMENT", help=f"{example}, or the path of an experiment with an ensemble of patches")
    one.add_argument("--small", action="store_true", help="the experiment's small form")
    one.add_argument("--workdir", required=True, metavar="DIR", help="folder of the run, resumed or reused")
    one.add_argument("--view", type=int, choices=(1, 2), default=2, help="of LFW: 2 for the figures, 1 to tune (default: 2)")
  options = parser.parse_args(arguments)
  if options.action in ("system", "groups"):
    given = {"small": options.small, "components": options.components, "view": options.view, "command": shlex.join(["jaxface", "patches", *arguments]), "progress": sys.stderr.isatty()}
    measured: SystemFigures | GroupFigures
    if options.action == "system":
      measured = run_patch_system(options.experiment, options.workdir, numbers=options.numbers, scores=options.scores, **given)
    else:
      measured = run_patch_groups(options.experiment, options.workdir, count=options.count, groups=options.groups, **given)
    print(measured.table() if sys.stdout.isatty() else json.dumps(measured.figures, indent=2))
    return 0
  if options.action == "take":
    made = take_group(options.embeddings, options.selection, options.out, group=options.group)
    print(f"{options.out}: {made.embedding_nd.shape[0]:,} embeddings of {made.embedding_nd.shape[1]:,} numbers")
    return 0
  if options.score != "joint-bayesian" and (options.training or options.components):
    parser.error("--training and --components go with --score joint-bayesian")
  if options.score == "joint-bayesian" and not options.training:
    parser.error("--score joint-bayesian needs --training")
  if options.face and not options.model:
    parser.error("--face needs --model, which places the patches")
  found = select_groups(
    options.embeddings, options.pairs, options.out, model=options.model, size=options.size, count=options.count, groups=options.groups,
    score=options.score, training=options.training, components=options.components, face=options.face, progress=sys.stderr.isatty(),
  )
  if sys.stdout.isatty():
    for number, group in enumerate(found.groups, 1):
      print(f"group {number}: {100 * found.accuracy(number):.2f} % of the pairs it was selected on\n  {' '.join(group)}")
  else:
    print(json.dumps([{"group": n, "accuracy": found.accuracy(n), "patches": group} for n, group in enumerate(found.groups, 1)], indent=2))
  return 0
