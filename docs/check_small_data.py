"""What each ingredient adds to a network that was trained on few images, measured on LFW's view 1, and the best of them once on view 2.

Test-time ingredients of one trained network: the mirror image, crops, principal components, Joint Bayesian, scores normalised by a cohort. Verifiers are
fitted on the training set of the network alone; the cohort is of people with one image there, whom the network has not seen. Rows are compared on all
3,200 pairs of view 1, each of its two lists with the threshold of the other, since nothing is fitted on either. The row with the largest AUC is then
scored on view 2, and beside it the reference, which is what `jaxface train` prints. In Markdown, for docs/results.md.

Command: python docs/check_small_data.py --model runs/celeba_lfw --data $JAXFACE_DATA --embeddings runs/small_data [--other runs/wider ...]

--other: further trained networks, each compared by its cosine (mirror image, one crop). Embeddings are kept in the folder and reused.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from generated import replace_part

from jaxface.evaluation import compare
from jaxface.evaluation.pairs.verification import Verification, verify_pairs
from jaxface.evaluation.protocols.lfw import read_view_1, read_view_2
from jaxface.formats import Embeddings, read_embeddings
from jaxface.formats.pairs import Pairs
from jaxface.inference.evaluate import embed_listed
from jaxface.inference.model import load
from jaxface.verifiers import Fusion, RowPairs, Verifier, fit_verifier
from jaxface.verifiers.drawn_pairs import draw_pairs

PAGE = Path(__file__).with_name("results.md")
NAME = "docs/check_small_data.py"
COHORT = 1000


class Recipe(NamedTuple):
  """A way to score pairs with a trained network.

  Attributes:
    mirror, crops: see `embed_listed`.
    kind: of the verifier; "" for the cosine as it is.
    people: what it is fitted on: "trained", those of two images or more that the network was trained on, or "all" of the folder.
    norm: "none", or "s", see `Fusion`.
    options: of the verifier.
  """

  mirror: str = "sum"
  crops: str = "one"
  kind: str = ""
  people: str = "trained"
  norm: str = "none"
  options: tuple[tuple[str, Any], ...] = ()

  def __str__(self) -> str:
    told = ["mirror image" if self.mirror == "sum" else "no mirror image", {"one": "one crop", "ten": "five crops", "thirty": "fifteen crops"}[self.crops]]
    told.append(", ".join([self.kind or "cosine", *(f"{key} {value}" for key, value in self.options)]))
    if self.kind:
      told.append("fitted on the people with two images or more" if self.people == "trained" else "fitted on all people")
    return "; ".join([*told, *(["s-norm"] if self.norm == "s" else [])])


REFERENCE = Recipe()
RECIPES = (
  Recipe(mirror="none"), Recipe(crops="ten"), Recipe(norm="s"),
  *(Recipe(kind="cosine", people=people, options=(("components", size), ("whiten", whiten)))
    for people in ("trained", "all") for size in (64, 128) for whiten in (False, True)),
  *(Recipe(kind="joint-bayesian", people=people, options=(("components", size),)) for people in ("trained", "all") for size in (64, 128)),
)


def view_1(lists: Path) -> Pairs:
  """Both lists of view 1 as two folds, so that each has its threshold from the other."""
  rules = read_view_1(lists)
  assert rules.train is not None
  first, second = rules.train, rules.pairs
  fold = np.repeat([0, 1], [len(first), len(second)])
  return Pairs([*first.left, *second.left], [*first.right, *second.right], np.concatenate([first.same, second.same]), fold)


class Measured:
  """Embeds what a recipe needs, once for each network, mirror image and crops, and scores it."""

  def __init__(self, data: Path, kept: Path):
    self.data, self.kept = data, kept
    self.fits: dict[tuple[Path, Recipe], Verifier] = {}
    kept.mkdir(parents=True, exist_ok=True)

  def embeddings(self, model: Path, part: str, recipe: Recipe, names: list[str] | None) -> Embeddings:
    """Embeddings of `part`, "train", "view1" or "view2"."""
    file = self.kept / f"{model.name}_{part}_{recipe.mirror}_{recipe.crops}.npz"
    if not file.is_file():
      faces = self.data / ("celeba_aligned112" if part == "train" else "lfw_aligned112")
      embed_listed(
        load(model), faces, names, template="arcface112", mirror=recipe.mirror, crops=recipe.crops, embeddings=file, progress=sys.stderr.isatty(),
      )
    return read_embeddings(file)

  def verifier(self, model: Path, recipe: Recipe) -> Verifier | None:
    """The fitted verifier; None for the cosine as it is."""
    if not recipe.kind and recipe.norm == "none":
      return None
    every = self.embeddings(model, "train", recipe, None)
    assert every.label_n is not None
    several_n = np.bincount(every.label_n)[every.label_n] >= 2
    rows = np.flatnonzero(several_n) if recipe.people == "trained" else np.arange(len(several_n))
    used = Embeddings(every.embedding_nd[rows], [every.names[row] for row in rows], every.label_n[rows], every.meta)
    plain = (model, recipe._replace(norm="none"))
    if plain not in self.fits:
      self.fits[plain] = fit_verifier(recipe.kind or "cosine", used, **dict(recipe.options))
    return self.fits[plain] if recipe.norm == "none" else normalised(self.fits[plain], every, several_n, recipe.norm)

  def scored(self, model: Path, recipe: Recipe, pairs: Pairs, part: str) -> Verification:
    """Figures of a recipe on a list."""
    images = list(dict.fromkeys([*pairs.left, *pairs.right]))
    found = self.embeddings(model, part, recipe, images)
    return verify_pairs(found.embedding_nd, found.names, pairs, score=self.verifier(model, recipe))


def normalised(verifier: Verifier, every: Embeddings, several_n: np.ndarray, norm: str) -> Verifier:
  """The verifier with scores normalised by a cohort of people with one image; its weight is fitted on pairs of the others."""
  several, single = np.flatnonzero(several_n), np.flatnonzero(~several_n)
  assert every.label_n is not None
  drawn = draw_pairs(np.unique(every.label_n[several], return_inverse=True)[1], seed=0)
  used, row_p = np.unique(np.concatenate([drawn.left_p, drawn.right_p]), return_inverse=True)
  left_p, right_p = row_p.reshape(2, -1)
  row_nd = np.concatenate([every.embedding_nd[several[used]], every.embedding_nd[single]])
  return Fusion.fit(row_nd, RowPairs(left_p, right_p, drawn.same_p), parts=[verifier], norm=norm, cohort=COHORT)


def line(name: str, found: Verification, reference: Verification | None) -> str:
  """A line of the table."""
  low, high = found.intervals.accuracy
  change = compare(reference, found) if reference else None
  cells = [
    f"{100 * each.value:+.2f} ({100 * each.low:+.2f} to {100 * each.high:+.2f})" if each else "–"
    for each in ((change["accuracy"], change["auc"]) if change else (None, None))
  ]
  return f"| {name} | {100 * found.accuracy:.2f} ({100 * low:.2f} to {100 * high:.2f}) | {cells[0]} | {found.auc:.4f} | {cells[1]} |"


def head(what: str) -> list[str]:
  """First lines of a table."""
  return [f"| {what} | accuracy, % | minus the reference, points | AUC | minus the reference, hundredths |", "|---|---|---|---|---|"]


def combined(best: Callable[[Callable[[Recipe], bool]], Recipe]) -> Iterator[Recipe]:
  """The best crops with the best verifiers, with and without the cohort."""
  crops = best(lambda one: not one.kind and one.norm == "none")
  for kind in ("cosine", "joint-bayesian"):
    verifier = best(lambda one, kind=kind: one.kind == kind)
    for norm in ("none", "s"):
      yield verifier._replace(mirror=crops.mirror, crops=crops.crops, norm=norm)
  yield crops._replace(norm="s")


def main() -> None:
  """Measure, and write the tables into the page."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--model", required=True, type=Path, metavar="DIR", help="workdir of the trained network")
  parser.add_argument("--other", type=Path, nargs="*", default=[], metavar="DIR", help="workdirs of further networks")
  parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="celeba_aligned112, lfw_aligned112 and protocols")
  parser.add_argument("--embeddings", required=True, type=Path, metavar="DIR", help="folder for embeddings")
  parser.add_argument("--thirty", action="store_true", help="also fifteen crops at three sizes, which take three times as long as five")
  parser.add_argument("--view-2", action="store_true", help="also score the best recipe on view 2, and write the page")
  options = parser.parse_args()
  measured, pairs = Measured(options.data, options.embeddings), view_1(options.data / "protocols")
  found: dict[Recipe, Verification] = {}

  def add(recipe: Recipe) -> None:
    if recipe not in found:
      found[recipe] = measured.scored(options.model, recipe, pairs, "view1")
      print(line(str(recipe), found[recipe], found[REFERENCE]), file=sys.stderr, flush=True)

  def best(fits: Callable[[Recipe], bool]) -> Recipe:
    return max(filter(fits, found), key=lambda one: found[one].auc)

  for recipe in (REFERENCE, *RECIPES, *([Recipe(crops="thirty")] if options.thirty else [])):
    add(recipe)
  for recipe in list(combined(best)):
    add(recipe)
  chosen = best(lambda one: True)
  lines = [*head("view 1, 3,200 pairs"), line(f"{REFERENCE} (the reference)", found[REFERENCE], None)]
  lines += [line(f"{each} **(chosen)**" if each == chosen else str(each), found[each], found[REFERENCE]) for each in found if each != REFERENCE]
  for other in options.other:
    lines.append(line(f"network {other.name}", measured.scored(other, REFERENCE, pairs, "view1"), found[REFERENCE]))
    print(lines[-1], file=sys.stderr, flush=True)
  if options.view_2:
    rules = read_view_2(options.data / "protocols")
    plain = measured.scored(options.model, REFERENCE, rules.pairs, "view2")
    after = measured.scored(options.model, chosen, rules.pairs, "view2")
    lines += ["", *head("view 2, 6,000 pairs"), line(f"{REFERENCE} (the reference)", plain, None), line(str(chosen), after, plain)]
    replace_part(PAGE, NAME, "\n".join(lines))
  print("\n".join(lines))


if __name__ == "__main__":
  main()
