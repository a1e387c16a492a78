"""Fit a verifier, a learned score of two embeddings, evaluate one by LFW's rules, or describe one.

  jaxface embed --model models/mobilefacenet --images TRAIN --out train.npz
  jaxface verifier fit joint-bayesian --embeddings train.npz --components 100 --out verifier.npz
  jaxface evaluate --protocol lfw --pairs pairs.txt --embeddings lfw.npz --verifier verifier.npz
  jaxface verifier lfw joint-bayesian --embeddings lfw.npz --lists LISTS
  jaxface verifier show verifier.npz

Fit it on other people than those that it will be evaluated on. `lfw` does so fold by fold: each fold is tested with a fit on the people (or pairs) of
the other nine, and the differences to the cosine are printed. docs/verifiers.md describes the kinds.
"""

import argparse
import inspect
import json
import re
import sys
from typing import Any, get_args, get_type_hints

from jaxface.pipeline.say import say
from jaxface.verifiers import VERIFIERS, evaluate_on_lfw, fit_verifier, read_verifier
from jaxface.verifiers.fit import settings_of
from jaxface.verifiers.lfw import SETTINGS, VIEWS


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, fit or read, print."""
  which = parser.add_subparsers(dest="what", required=True, metavar="fit | lfw | show")
  form = argparse.RawDescriptionHelpFormatter
  fit = which.add_parser("fit", help="fit a verifier on embeddings of a training set", formatter_class=form)
  fit.add_argument("kind", choices=VERIFIERS, help="kind of verifier")
  fit.add_argument("--embeddings", required=True, metavar="FILE", help=".npz or .parquet of `jaxface embed`, with labels (one folder per person)")
  fit.add_argument("--pair-list", metavar="FILE", help="pair list to learn from instead of labels, for kinds that learn from pairs")
  fit.add_argument("--out", required=True, metavar="FILE", help="verifier to write, .npz")
  lfw = which.add_parser("lfw", help="figures on LFW, each fold with a fit on the other nine", formatter_class=form)
  lfw.add_argument("kind", choices=VERIFIERS, help="kind of verifier")
  lfw.add_argument("--embeddings", required=True, metavar="FILE", help=".npz or .parquet of `jaxface embed`, of all images of LFW")
  lfw.add_argument("--lists", required=True, metavar="DIR", help="folder of pairs.txt and people.txt; for view 1 of pairsDevTrain.txt, pairsDevTest.txt and"
                   " peopleDevTrain.txt")
  lfw.add_argument("--view", type=int, choices=VIEWS, default=2, help="2: ten folds, for the figure; 1: one fit and one test, for tuning (default: 2)")
  lfw.add_argument("--setting", choices=SETTINGS, default="unrestricted", help="unrestricted: fitted on all people of the other folds; restricted: on their"
                   " pairs (default: %(default)s)")
  lfw.add_argument("--skip-missing", action="store_true", help="ignore images without an embedding, with a note (default: error)")
  lfw.add_argument("--json", metavar="FILE", help="also write all figures to this file")
  for one in (fit, lfw):
    _add_settings(one)
  show = which.add_parser("show", help="describe a verifier")
  show.add_argument("file", metavar="FILE")
  options = vars(parser.parse_args(arguments))
  what = options.pop("what")
  if what == "show":
    found = read_verifier(options["file"])
    print(json.dumps({"verifier": found.name, "score": found.what, "front": found.front.settings(), "settings": found.settings(), "made_from": dict(found.made_from)}, indent=2))
    return 0
  if what == "lfw":
    file = options.pop("json")
    figures = evaluate_on_lfw(**options, out=file, progress=sys.stderr.isatty(), say=say)
    for note in figures.notes:
      print(f"note: {note}", file=sys.stderr)
    print(figures if sys.stdout.isatty() or file else json.dumps(figures.figures, indent=2))
    return 0
  found = fit_verifier(**options, say=say)
  people = f" of {found.made_from['people']:,} people" if "people" in found.made_from else ""
  print(f"{options['out']}: {found.name}, fitted on {found.made_from['images']:,} images{people}")
  return 0


def _add_settings(parser: argparse.ArgumentParser) -> None:
  """Declare the settings of all kinds, the keyword arguments of their `fit`. Those that are not given keep the kind's own default."""
  group = parser.add_argument_group("settings of the kinds")
  kinds_of: dict[str, list[str]] = {}
  for kind in VERIFIERS:
    for name in settings_of(kind):
      kinds_of.setdefault(name, []).append(kind)
  for name, kinds in kinds_of.items():
    first = VERIFIERS[kinds[0]].fit
    hint = get_type_hints(first)[name]
    types = [one for one in (get_args(hint) or (hint,)) if one is not type(None)]
    defaults = {kind: inspect.signature(VERIFIERS[kind].fit).parameters[name].default for kind in kinds}
    every = len(kinds) == len(VERIFIERS)
    told = str(defaults[kinds[0]]) if len(set(map(str, defaults.values()))) == 1 else ", ".join(f"{kind} {value}" for kind, value in defaults.items())
    text = f"{'' if every else ', '.join(kinds) + ': '}{_described(first, name)} (default: {told})".replace("%", "%%")
    more: dict[str, Any] = {"action": argparse.BooleanOptionalAction} if types[0] is bool else {"type": types[0], "metavar": types[0].__name__.upper()}
    group.add_argument(f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, help=text, **more)


def _described(fit: Any, name: str) -> str:
  """What the docstring says of an argument."""
  found = re.search(rf"^  {name}: (.*?)(?=^  \S|^\S|\Z)", inspect.getdoc(fit) or "", re.MULTILINE | re.DOTALL)
  return re.sub(r"\s+", " ", found[1]).strip().rstrip(".") if found else name


__all__ = ["run"]
