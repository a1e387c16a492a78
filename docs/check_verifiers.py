"""Verifiers on the same embeddings of LFW: fitted for each fold on the other nine, and fitted once on other data.

Settings are chosen on view 1, by the AUC of its test list, before view 2 is scored once with the chosen ones. View 1's people are in view 2 too, as LFW's
lists have it. In Markdown, for docs/verifiers.md.

Command: python docs/check_verifiers.py --lfw lfw.npz --outside celeba.npz --lists PROTOCOLS
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from generated import replace_part
from tqdm import tqdm

from jaxface.evaluation import compare
from jaxface.evaluation.pairs.comparison import Difference
from jaxface.evaluation.pairs.verification import Verification
from jaxface.evaluation.protocols.lfw import read_view_1, read_view_2
from jaxface.formats import Embeddings, read_embeddings
from jaxface.verifiers import Verifier, evaluate_on_lfw, fit_verifier

PAGE = Path(__file__).with_name("verifiers.md")
SIZES = (None, 32, 64, 96, 128)
GRID: dict[str, list[dict[str, Any]]] = {
  "l2": [{"unit": True, "components": size} for size in SIZES[1:]],
  "cosine": [{"unit": True, "components": size, "whiten": whiten} for size in SIZES[1:] for whiten in (False, True)],
  "chi-square": [{"split": True, "weights": weights} for weights in ("equal", "svm")],
  "siamese": [{"components": size, "penalty": penalty} for size in (None, 64) for penalty in (1e-3, 1e-2, 1e-1)],
  "joint-bayesian": [{"components": size} for size in SIZES],
  "neural": [{"unit": True, "hidden": 80, "epochs": epochs, "weight_decay": decay} for epochs in (10, 40) for decay in (1e-2, 1.0)],
}
FUSED = ("cosine", "chi-square", "joint-bayesian")  # fitted on other people; their weights on LFW
NORMS = ("none", "s")


def chosen(kind: str, grid: list[dict[str, Any]], lfw: Embeddings, lists: str, outside: Embeddings | None, bar: tqdm) -> dict[str, Any]:
  """The setting of a grid with the largest AUC on view 1's test list; of equal ones the first."""
  best: tuple[float, dict[str, Any]] | None = None
  rules = read_view_1(lists)
  for options in grid:
    if outside is None:
      auc = evaluate_on_lfw(kind, lfw, lists, view=1, **options).figures["auc"]
    else:
      auc = rules.evaluate(lfw, score=fit_verifier(kind, outside, **options)).figures["auc"]
    bar.update()
    bar.write(f"view 1: {kind} {told(options)} {'outside' if outside else 'LFW'}: AUC {auc:.5f}", file=sys.stderr)
    if best is None or auc > best[0]:
      best = auc, options
  assert best is not None
  return best[1]


def told(options: dict[str, Any]) -> str:
  """Settings in words; the parts of a fusion by their kinds."""
  shown = {**options, "parts": " + ".join(part.kind for part in options["parts"])} if "parts" in options else options
  return ", ".join(f"{key} {value}" for key, value in shown.items() if value is not None) or "–"


def row(name: str, options: dict[str, Any], data: str, found: Verification, differences: dict[str, Difference] | None) -> str:
  """A line of the table."""
  low, high = found.intervals.accuracy
  change = {key: "–" for key in ("accuracy", "auc")} if differences is None else {
    key: f"{scale * one.value:+.{digits}f} ({scale * one.low:+.{digits}f} to {scale * one.high:+.{digits}f})"
    for key, scale, digits, one in (("accuracy", 100, 2, differences["accuracy"]), ("auc", 100, 3, differences["auc"]))
  }
  accuracy = f"{100 * found.accuracy:.2f} % ({100 * low:.2f} to {100 * high:.2f})"
  return f"| {name} | {told(options)} | {data} | {accuracy} | {change['accuracy']} | {found.auc:.5f} | {change['auc']} |"


def main() -> None:
  """Measure, and write the table into the page."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--lfw", required=True, metavar="FILE", help="embeddings of all images of LFW")
  parser.add_argument("--outside", required=True, metavar="FILE", help="embeddings of other people, with labels")
  parser.add_argument("--lists", required=True, metavar="DIR", help="LFW's lists of both views")
  options = parser.parse_args()
  lfw, outside = read_embeddings(options.lfw), read_embeddings(options.outside)
  rules = read_view_2(options.lists)
  plain = rules.evaluate(lfw).verification
  assert plain is not None
  lines = [
    "| verifier | settings, chosen on view 1 | fitted on | accuracy on view 2 | minus cosine (points) | AUC | minus cosine (hundredths) |",
    "|---|---|---|---|---|---|---|", row("cosine", {}, "nothing", plain, None),
  ]
  fitted: dict[str, Verifier] = {}
  with tqdm(total=2 * sum(map(len, GRID.values())) + len(NORMS), desc="view 1", disable=not sys.stderr.isatty()) as bar:
    for kind, grid in GRID.items():
      best = chosen(kind, grid, lfw, options.lists, None, bar)
      nine = evaluate_on_lfw(kind, lfw, options.lists, **best)
      assert nine.found.verification is not None
      lines.append(row(kind, best, "nine folds", nine.found.verification, dict(nine.differences)))
      best = chosen(kind, grid, lfw, options.lists, outside, bar)
      fitted[kind] = fit_verifier(kind, outside, **best)
      found = rules.evaluate(lfw, score=fitted[kind]).verification
      assert found is not None
      lines.append(row(kind, best, "other people", found, dict(compare(plain, found))))
      bar.write("\n".join(lines[-2:]), file=sys.stderr)
    fusions = [{"parts": [fitted[kind] for kind in FUSED], "norm": norm} for norm in NORMS]
    best = chosen("fusion", fusions, lfw, options.lists, None, bar)
    nine = evaluate_on_lfw("fusion", lfw, options.lists, **best)
    assert nine.found.verification is not None
    lines.append(row("fusion", best, "nine folds, parts on other people", nine.found.verification, dict(nine.differences)))
  text = "\n".join(lines)
  print(text)
  replace_part(PAGE, "docs/check_verifiers.py", text)


if __name__ == "__main__":
  main()
