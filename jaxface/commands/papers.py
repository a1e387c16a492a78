"""List the papers whose systems jaxface has; their figures beside those measured here; keep new ones.

  jaxface papers                                         names and sources
  jaxface papers --table                                 each figure of the papers, and ours
  jaxface papers deepface --table                        of one paper
  jaxface papers --keep runs/deepface_small runs/vggface
  jaxface papers --keep runs/deepface_small --results mine && jaxface papers --table --results mine
  jaxface papers deepface --run --model runs/deepface_small --lfw LFW_ALIGNED --train CELEBA_ALIGNED --lists LISTS --out deepface.json
  jaxface papers deepface --run --model runs/rgb runs/gradient --lfw LFW_ALIGNED --train TRAIN --lists LISTS --alignment none=LFW_CROPPED --out deepface.json

--run computes the verification of DeepFace on LFW from one trained network or several: inner product, χ²-SVM, Siamese, and their ensemble.
Embeddings of `jaxface embed --raw` may be given instead of images, one file for each network; --model then only names the data and the size.

The papers' figures are in experiments/papers.json, ours in experiments/results, one file for each run. --keep writes such a file from
the workdir of a finished run of `jaxface train`, or copies the file that the command of a system wrote.
"""

import argparse
import shlex
import sys

from jaxface.command_line import listing
from jaxface.losses.ranges import check_name
from jaxface.pipeline.papers.keep import keep_results
from jaxface.pipeline.papers.table import as_markdown, as_text, paper_rows, read_papers, read_results


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Print the list or the table, or keep results."""
  parser.add_argument("paper", nargs="?", metavar="PAPER", help="one paper, such as deepface (default: all)")
  action = parser.add_mutually_exclusive_group()
  action.add_argument("--table", action="store_true", help="print the papers' figures and ours, with data, size and command")
  action.add_argument("--markdown", action="store_true", help="the same as Markdown")
  action.add_argument("--keep", nargs="+", metavar="PATH", help="write result files from workdirs of finished runs, or copy result files")
  action.add_argument("--run", action="store_true", help="with PAPER deepface: compute its figures on LFW")
  system = parser.add_argument_group("--run")
  system.add_argument("--model", nargs="+", metavar="DIR", help="trained networks that end with a ReLU, the first is the single one")
  system.add_argument("--lfw", nargs="+", metavar="PATH", help="folder or records of all images of LFW, or raw embeddings of each network")
  system.add_argument("--train", nargs="+", metavar="PATH", help="the same of the training set, for the maxima of the features")
  system.add_argument("--lists", metavar="DIR", help="folder of LFW's lists: pairs.txt, people.txt, and those of view 1")
  system.add_argument("--no-tune", action="store_true", help="keep the default penalties; otherwise they are chosen on view 1")
  system.add_argument("--mirror", choices=("sum", "none"), default="sum", help="with --model: add the embedding of the mirror image (default: sum)")
  system.add_argument("--alignment", nargs="+", metavar="NAME=PATH", help="images of LFW in other alignments, which the first network embeds; some may be missing")
  system.add_argument("--out", metavar="FILE", help="result file to write, .json, for --keep")
  parser.add_argument("--results", metavar="DIR", help="folder of result files (default: those that come with jaxface)")
  options = parser.parse_args(arguments)
  if options.keep:
    for file in keep_results(options.keep, options.results):
      print(file)
    return 0
  if options.run:
    return _run(parser, options, arguments)
  papers = read_papers()
  if options.paper:
    check_name("paper", options.paper, [paper.name for paper in papers])
    papers = tuple(paper for paper in papers if paper.name == options.paper)
  if not (options.table or options.markdown):
    print(listing({paper.name: paper.source for paper in papers}))
    return 0
  table = list(paper_rows(papers, read_results(options.results)))
  print(as_markdown(table) if options.markdown else as_text(table))
  return 0


def _run(parser: argparse.ArgumentParser, options: argparse.Namespace, arguments: list[str]) -> int:
  """Compute the figures of a paper's system."""
  check_name("paper with --run", options.paper or "", ("deepface",))
  if not (options.lfw and options.train and options.lists and options.out):
    parser.error("--run needs --lfw, --train, --lists and --out")
  named = [one.partition("=") for one in options.alignment or ()]
  if not all(name and path for name, _, path in named):
    parser.error("--alignment takes NAME=PATH, such as none=LFW_NOT_ALIGNED")
  from jaxface.pipeline.papers.deepface_run import run_deepface

  found = run_deepface(
    options.lfw, options.train, options.lists, options.out, models=options.model or (), alignments={name: path for name, _, path in named},
    mirror=options.mirror, tune=not options.no_tune, command=shlex.join(["jaxface", "papers", *arguments]), progress=sys.stderr.isatty(),
  )
  for name, figure in found.figures.items():
    print(f"{name}: accuracy {100 * figure['accuracy']:.2f} % ± {100 * figure['accuracy_se']:.2f}, AUC {figure['auc']:.4f}")
  print(options.out)
  return 0
