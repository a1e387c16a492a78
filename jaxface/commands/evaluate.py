"""Verification figures of embeddings, made here or elsewhere, on a pair list.

  jaxface evaluate --protocol lfw --pairs pairs.txt --embeddings lfw.npz --json lfw.json
  jaxface evaluate --pairs mine.csv --threshold-from tuning.csv --embeddings mine.npz

A pair list has lines `left right same` or `left right same fold` (same 1 or 0, with a header or without, parted by tabs or
commas), or is LFW's or YTF's own; docs/evaluation.md has all forms.

As DeepFace's representation, fitted on embeddings of the training set (both made with `jaxface embed --raw`):

  jaxface evaluate --pairs pairs.txt --embeddings lfw.npz --normalise train.npz --save-fit fit.json
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.folds import best_threshold
from jaxface.evaluation.normalisation import LargestFeatures
from jaxface.evaluation.pair_names import list_notes, matched, scores_of_one_kind, without_missing
from jaxface.evaluation.verification import score_pairs, verify_pairs
from jaxface.formats.atomic import write_json
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.formats.pairs import Pairs, read_pairs

PROTOCOLS = {"lfw": read_pairs}
SHOWN = 10


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, verify, print."""
  parser.add_argument("--protocol", choices=PROTOCOLS, default="lfw", help="format and rules of the pair list (default: lfw)")
  parser.add_argument("--pairs", required=True, metavar="FILE", help="pair list, such as LFW's pairs.txt")
  parser.add_argument("--embeddings", required=True, metavar="FILE", help=".npz or .parquet of `jaxface embed`")
  parser.add_argument(
    "--normalise", metavar="FILE",
    help="divide each feature by its largest number over these embeddings of a training set (.npz or .parquet), or by a saved"
    " fit (.json)",
  )
  parser.add_argument("--save-fit", metavar="FILE", help="write what --normalise found as .json")
  parser.add_argument(
    "--threshold-from", metavar="FILE", help="pair list that sets the threshold, such as LFW's pairsDevTrain.txt (default: the"
    " other folds; of a list without folds its own pairs, which flatters)",
  )
  parser.add_argument(
    "--skip-missing", action="store_true", help="leave out pairs of images without an embedding, with a note (default: refuse)"
  )
  parser.add_argument("--json", metavar="FILE", help="write every figure here")
  options = parser.parse_args(arguments)
  pairs = PROTOCOLS[options.protocol](options.pairs)
  if options.save_fit and not options.normalise:
    parser.error("--save-fit needs --normalise, which says what to fit on")
  embeddings = read_embeddings(options.embeddings)
  embedding_nd = embeddings.embedding_nd
  if options.normalise:
    fit = fitted(options.normalise)
    embedding_nd = fit.apply(network_numbers(options.embeddings, embeddings))
    if options.save_fit:
      Path(options.save_fit).parent.mkdir(parents=True, exist_ok=True)
      fit.save(options.save_fit)
  train = PROTOCOLS[options.protocol](options.threshold_from) if options.threshold_from else None
  notes: list[str] = []
  if options.skip_missing:
    pairs, notes = without_missing(matched(pairs, embeddings.names), embeddings.names)
    if not len(pairs):
      raise ValueError(f"{options.pairs}: no pair is left. {notes[0]}")
  shown, figures = judged(embedding_nd, embeddings.names, pairs, train)
  figures["notes"] = [*notes, *unreadable_notes(embeddings), *figures["notes"]]
  for note in figures["notes"]:
    print(f"note: {note}", file=sys.stderr)
  figures = {"protocol": options.protocol, **figures}
  if options.json:
    Path(options.json).parent.mkdir(parents=True, exist_ok=True)
    write_json(options.json, figures)
  if sys.stdout.isatty() or options.json:
    print(shown)
  else:
    print(json.dumps(figures, indent=2))
  return 0


def judged(embedding_nd: np.ndarray, names: list[str], pairs: Pairs, train: Pairs | None) -> tuple[str, dict[str, Any]]:
  """The figures of a list for a terminal and as JSON; of one without mated or without non-mated pairs the scores alone."""
  if pairs.same.any() and not pairs.same.all():
    result = verify_pairs(embedding_nd, names, pairs, train=train)
    return f"{result.summary()}\n{result.threshold_table()}", result.to_json()
  pairs, score_p = score_pairs(embedding_nd, names, pairs)
  figures = scores_of_one_kind(pairs, score_p)
  missing = "non-mated" if pairs.same.any() else "mated"
  note = f"the list has no {missing} pair: accuracy, rates and thresholds need pairs of both kinds, scores stand alone."
  lines = [f"{score:.4f}  {left}  {right}" for score, left, right in zip(score_p[:SHOWN], pairs.left, pairs.right)]
  if train is not None:
    train, train_score_p = score_pairs(embedding_nd, names, train)
    threshold = best_threshold(train_score_p, train.same)
    accepted = int((score_p >= threshold).sum())
    figures |= {"threshold_cosine": threshold, "threshold_from": "train pairs", "accepted": accepted}
    lines.append(f"{accepted:,} of {len(pairs):,} accepted at the threshold {threshold:.4f} of the other list")
  if len(pairs) > SHOWN:
    lines.append(f"… and {len(pairs) - SHOWN:,} more, in the JSON; cosine {score_p.min():.4f} to {score_p.max():.4f}")
  return "\n".join(["cosine  pair", *lines]), {**figures, "notes": [*list_notes(pairs), note]}


def unreadable_notes(embeddings: Embeddings) -> list[str]:
  """A line on images that could not be read when the embeddings were made, or none."""
  lost = embeddings.meta.get("unreadable", [])
  return [f"{len(lost):,} images could not be read when the embeddings were made (first: {lost[0]})."] if lost else []


def fitted(path: str) -> LargestFeatures:
  """The fit that a `.json` file holds, or that is made on the embeddings of another file."""
  if path.endswith(".json"):
    return LargestFeatures.load(path)
  return LargestFeatures.fit(network_numbers(path, read_embeddings(path)))


def network_numbers(path: str, embeddings: Embeddings) -> np.ndarray:
  """The embeddings [N, D] of a file, unless it says that they were scaled to length one.

  Raises:
    ValueError: it says so: lengths are lost, and with them what one face's features are worth beside another's.
  """
  if not embeddings.meta.get("raw", True):
    raise ValueError(f"{path}: its embeddings were scaled to length one; --normalise takes them as `jaxface embed --raw` makes them")
  return embeddings.embedding_nd
