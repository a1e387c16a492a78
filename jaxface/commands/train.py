"""Train an experiment, verify the model, save it, write a report, and export it if the experiment says so.

  jaxface train quickstart
  jaxface train folder --data.images MY_FACES --workdir runs/mine
  jaxface train folder --data.images PHOTOS --align --workdir runs/mine
  jaxface train deepface --small
  jaxface train path/to/experiment.py --steps 5000 --optimizer.learning_rate 0.05 --terms.0.margin arcface

--align finds and aligns the faces of --data.images first (data.align). --small selects the small form of a paper's experiment, which
runs on two cores. Any field of the experiment is an option (`jaxface train EXPERIMENT --help` lists them with their values). The same
command resumes a run that was killed or interrupted from its last checkpoint; SIGTERM and Ctrl-C save a checkpoint first and exit with
code 75. An evaluation that fails does not end the run; if the trained model has no figures at the end, the exit code is 3.
"""

import argparse
import shlex
import shutil
import sys

from jaxface.commands.xla import OPTION, check_used
from jaxface.options import add_network, load_network
from jaxface.pipeline.api import train
from jaxface.training.config import list_experiments
from jaxface.training.field_text import field_text
from jaxface.training.interrupt import Interrupted
from jaxface.xla_flags import SETS

# Exit code where the model is saved, but an evaluation set has no figures.
WITHOUT_FIGURES = 3
# Before the first step, and at a second Ctrl-C, no checkpoint is saved: the last one and complete packed shards are kept. Some kinds of experiments
# (hogsvm, sdm, lbpsvr, cascade) save nothing before they end.
RERUN = "checkpoints, if there are any, and complete packed shards are kept; the same command resumes from them"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, train, print the figures on the last line."""
  parser.add_argument("experiment", metavar="EXPERIMENT", help=f"a path, or one of: {', '.join(list_experiments())}")
  parser.add_argument("--workdir", metavar="DIR", help="folder of the run (default: runs/NAME)")
  parser.add_argument("--small", action="store_true", help="the experiment's small form, for a laptop, if it has one")
  parser.add_argument("--align", action="store_true", help="align the faces of --data.images first, into WORKDIR/aligned")
  add_network(parser)
  parser.add_argument(OPTION, metavar="SET", help=f"sets of XLA flags: {', '.join(SETS)}; several with commas (docs/xla_flags.md)")
  parser.add_argument("--ANY.FIELD", metavar="VALUE", help="set any field of the experiment, for example --steps 500")
  if {"-h", "--help"} & set(arguments) and not arguments[0].startswith("-"):
    print(field_text(arguments[0], small="--small" in arguments, width=min(max(shutil.get_terminal_size().columns, 80), 120)))
    return 0
  options, rest = parser.parse_known_args(arguments)
  check_used(options.xla_flags)
  load_network(options)
  try:
    result = train(
      options.experiment, options.workdir, small=options.small, command=shown_command(arguments),
      overrides=parse_overrides([*rest, *(["--data.align", "true"] if options.align else [])]),
    )
  except Interrupted as stop:
    print(f"interrupted after step {stop.step}; a checkpoint is saved, the same command resumes", file=sys.stderr)
    raise
  print(result or "the first host saves and reports")
  if failed := getattr(result, "failed", ()):  # experiments of other kinds have no evaluation sets
    print(
      f"{', '.join(failed)}: no figures of the trained model. The model is saved; evaluate it again with the same command, or"
      f" with jaxface evaluate", file=sys.stderr,
    )
    return WITHOUT_FIGURES
  return 0


def shown_command(arguments: list[str]) -> str:
  """The command line that repeats this run."""
  return shlex.join(["jaxface", "train", *arguments])


def parse_overrides(words: list[str]) -> dict[str, str]:
  """`--a.b 1 --c=2` as {"a.b": "1", "c": "2"}.

  Raises:
    ValueError: a word that is not an option, or an option without a value.
  """
  overrides: dict[str, str] = {}
  left = list(words)
  while left:
    word = left.pop(0)
    if not word.startswith("--"):
      raise ValueError(f"{word!r} is not an option: fields are given as --name value")
    name, equals, value = word[2:].partition("=")
    if not equals:
      # A value may be a negative number, but not another option.
      if not left or left[0].startswith("--"):
        raise ValueError(f"--{name} needs a value")
      value = left.pop(0)
    overrides[name] = value
  return overrides
