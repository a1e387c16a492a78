"""Figures per group of a column, with differences to the other groups: the table, its JSON form, and the function that makes it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.intervals.identity_units import units_of
from jaxface.evaluation.measures import roc as measures
from jaxface.evaluation.measures.folds import best_threshold
from jaxface.evaluation.pairs.pair_names import matched, without_missing
from jaxface.evaluation.pairs.pair_score import score_pairs
from jaxface.evaluation.protocols.pair_list import PairProtocol
from jaxface.evaluation.protocols.registry import read_protocol
from jaxface.evaluation.slices.attributes import Attributes, read_attributes
from jaxface.evaluation.slices.cuts import NO_GROUP, groups_of
from jaxface.evaluation.slices.group_figures import (
  Scored,
  own_changes,
  own_figures,
  shared_changes,
  shared_rates,
  size_notes,
)
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.formats.pairs import Pairs

# Targets of thresholds that are shared by all groups, by name.
FMR = {"1e-2": 1e-2, "1e-3": 1e-3}
BEST = "best accuracy"
CROSS = "+"  # joins columns: a group for each combination of their values


@dataclass(frozen=True)
class Slices:
  """Figures of a pair list per group; `print` shows a table.

  Attributes:
    column: name of the column, or several joined by "+".
    figures: everything as plain JSON values, see docs/sweeps.md.
  """

  column: str
  figures: Mapping[str, Any]

  @property
  def notes(self) -> tuple[str, ...]:
    """Caveats, a line each."""
    return tuple(self.figures["notes"])

  def to_json(self) -> dict[str, Any]:
    """The figures as plain JSON values: shares in [0, 1], 95 % intervals as [low, high] under `NAME_95`."""
    return dict(self.figures)

  def __str__(self) -> str:
    """Table for a terminal, in percent: rates at each shared threshold, with the difference to the other groups."""
    parts = []
    for point, threshold in self.figures["thresholds"].items():
      lines = [[self.column, "mated", "non-mated", "FMR", "to the others", "FNMR", "to the others"]]
      for group in [*self.figures["groups"], *self.figures["incomplete"], *([self.figures["mixed"]] if self.figures["mixed"]["pairs"] else [])]:
        rates, change = group["shared"][point], group.get("difference", {}).get("shared", {}).get(point, {})
        cells = [text for name in ("fmr", "fnmr") for text in (_percent(rates, name), _percent(change, name, sign="+"))]
        lines.append([group["group"], f"{group['mated']:,}", f"{group['nonmated']:,}", *cells])
      widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
      head = f"at the threshold of {point if point == BEST else f'FMR {point}'} over all pairs, cosine {threshold:.4f}: %, with 95 % intervals over identities"
      rows = ("  ".join([line[0].ljust(widths[0]), *(cell.rjust(size) for cell, size in zip(line[1:], widths[1:]))]).rstrip() for line in lines)
      parts.append("\n".join([head, *rows]))
    return "\n\n".join(parts)


def evaluate_slices(
  embeddings: Embeddings | str | Path, pairs: Pairs | str | Path, table: Attributes | str | Path, by: Sequence[str], *,
  edges: Mapping[str, Sequence[float]] | None = None, quantiles: int = 4, key: str = "", protocol: str = "pairs", skip_missing: bool = False,
) -> tuple[Slices, ...]:
  """Figures of embeddings on a pair list, per group of a table's columns.

  A pair belongs to a group if both of its images do. Pairs of two groups are "mixed": they have figures of their own, and belong to
  no group; pairs of an image without a value are left out and counted. Thresholds that are shared are chosen on all pairs of the
  list; differences are those of a group to the pairs of all other groups together.

  Args:
    embeddings: an `Embeddings`, or a file of them.
    pairs: a `Pairs`, or what `protocol` reads.
    table: attributes of images or identities, or a file of them, see `read_attributes`.
    by: columns, each for itself; "sex+age" crosses two.
    edges: where to cut the numbers of a column, by column.
    quantiles: number of groups of other columns of numbers that have more than six values.
    key: column with the names, see `read_attributes`.
    protocol: a protocol that is one pair list.
    skip_missing: ignore pairs of images without an embedding, with a note; otherwise they raise an error.
  Returns:
    `Slices` of each column.
  Raises:
    ValueError: an unknown column, edges of another one, images that are not in the table, missing embeddings, a list without mated or
      without non-mated pairs.
    DamagedData: a file that cannot be read.
  """
  table = table if isinstance(table, Attributes) else read_attributes(table, key)
  edges = dict(edges or {})
  used = {column for name in by for column in name.split(CROSS)}
  if strange := sorted(set(edges) - used):
    raise ValueError(f"edges are given for {strange[0]!r}, which is not among the columns to group by: {', '.join(sorted(used))}")
  if not by:
    raise ValueError(f"no column to group by; {table.file} has {', '.join(table.columns)}")
  where = "these embeddings" if isinstance(embeddings, Embeddings) else str(embeddings)
  embeddings = embeddings if isinstance(embeddings, Embeddings) else read_embeddings(embeddings)
  listed, notes = _list_of(pairs, protocol)
  if skip_missing:
    listed, more = without_missing(matched(listed, embeddings.names), embeddings.names)
    notes += more
  listed, score_p = score_pairs(embeddings.embedding_nd, embeddings.names, listed)
  if not listed.same.any() or listed.same.all():
    raise ValueError(f"{int(listed.same.sum())} mated of {len(listed)} pairs: figures per group need both kinds")
  scored = Scored(score_p, listed.same, listed.fold, units_of(listed))
  about = {"embeddings": where, "pairs": "" if isinstance(pairs, Pairs) else str(pairs), "protocol": protocol, "table": table.file}
  return tuple(_slices(column, scored, listed, table, edges, quantiles, about, notes) for column in by)


def _list_of(pairs: Pairs | str | Path, protocol: str) -> tuple[Pairs, list[str]]:
  if isinstance(pairs, Pairs):
    return pairs, []
  rules = read_protocol(protocol, pairs)
  if not isinstance(rules, PairProtocol):
    raise ValueError(f"protocol {protocol!r} is not one list of pairs of images: slices take lists such as 'pairs', 'lfw' or 'cfp-fp'")
  return rules.pairs, list(rules.notes)


def _slices(
  column: str, scored: Scored, pairs: Pairs, table: Attributes, edges: Mapping[str, Sequence[float]], quantiles: int,
  about: Mapping[str, Any], notes: Sequence[str],
) -> Slices:
  images = list(dict.fromkeys([*pairs.left, *pairs.right]))
  number = {name: at for at, name in enumerate(images)}
  left_p, right_p = (np.array([number[name] for name in side]) for side in (pairs.left, pairs.right))
  lines = list(notes)
  group_i, names = np.zeros(len(images), np.int64), [""]
  for part in column.split(CROSS):
    one_i, one_names, note = groups_of(table.of(part, images), edges.get(part), quantiles)
    lines += [f"{part}: {note}."] if note else []
    known_i = (group_i != NO_GROUP) & (one_i != NO_GROUP)
    group_i = np.where(known_i, group_i * len(one_names) + one_i, NO_GROUP)
    names = [", ".join(filter(None, (first, second))) for first in names for second in one_names]
  of_left, of_right = group_i[left_p], group_i[right_p]
  known_p = (of_left != NO_GROUP) & (of_right != NO_GROUP)
  within_p, mixed_p = known_p & (of_left == of_right), known_p & (of_left != of_right)
  if not within_p.any():
    raise ValueError(f"{column}: no pair has both images in one group ({int(mixed_p.sum()):,} pairs are of two groups)")
  thresholds = {BEST: best_threshold(scored.score_p, scored.same_p)}
  thresholds |= {name: measures.tar_at_far(measures.roc(scored.score_p, scored.same_p), target).threshold for name, target in FMR.items()}
  inside, group_w = scored.take(within_p), of_left[within_p]
  groups, incomplete = [], []
  for at, name in enumerate(names):
    member_w = group_w == at
    if not member_w.any():
      lines.append(f"{column} {name}: no pairs.")
      continue
    group, rest = inside.take(member_w), inside.take(~member_w)
    lines += size_notes(f"{column} {name}", group, FMR)
    plain = {
      "group": name, "images": int((group_i == at).sum()), **_counts(group),
      "shared": {point: shared_rates(group, threshold) for point, threshold in thresholds.items()},
    }
    if not (group.mated and group.nonmated):
      incomplete.append(plain)
      continue
    groups.append({
      **plain, **own_figures(group),
      "difference": {
        **own_changes(group, rest),
        "shared": {point: shared_changes(inside, member_w, threshold) for point, threshold in thresholds.items()},
      },
    })
  if not groups:
    raise ValueError(f"{column}: no group has both mated and non-mated pairs with both images in it: {' '.join(lines)}")
  mixed = scored.take(mixed_p)
  unknown = int((~known_p).sum())
  if unknown:
    lines.append(f"{column}: {unknown:,} of {len(pairs):,} pairs are left out: an image has no value.")
  if mixed_p.any():
    lines.append(f"{column}: {int(mixed_p.sum()):,} of {len(pairs):,} pairs are of two groups (mixed) and belong to neither.")
  return Slices(column, {
    "kind": "slices", "column": column, **about, "thresholds": thresholds, "groups": groups, "incomplete": incomplete,
    "mixed": {
      "group": "mixed", **_counts(mixed), "shared": {point: shared_rates(mixed, threshold) for point, threshold in thresholds.items()},
    },
    "unknown": {"pairs": unknown},
    "differential": {point: {rate: _differential(groups, point, rate) for rate in ("fmr", "fnmr")} for point in thresholds},
    "notes": lines,
  })


def _counts(pairs: Scored) -> dict[str, int]:
  return {
    "pairs": len(pairs.same_p), "mated": pairs.mated, "nonmated": pairs.nonmated,
    "identities": len(np.unique(np.concatenate([pairs.units.left_p, pairs.units.right_p]))),
  }


def _differential(groups: Sequence[Mapping[str, Any]], point: str, rate: str) -> dict[str, Any]:
  """The largest rate over the groups, over the smallest and over their geometric mean, as NIST's reports print; None where one is 0."""
  found = [(group["shared"][point][rate], group["group"]) for group in groups if group["shared"][point][rate] is not None]
  if not found:
    return {"largest": None, "smallest": None, "ratio": None, "over_geometric_mean": None}
  (most, largest), (least, smallest) = max(found), min(found)
  positive = least > 0
  mean = math.exp(sum(math.log(value) for value, _ in found) / len(found)) if positive else 0.0
  return {
    "largest": largest, "smallest": smallest, "ratio": most / least if positive else None,
    "over_geometric_mean": most / mean if positive else None,
  }


def _percent(rates: Mapping[str, Any], name: str, sign: str = "") -> str:
  if rates.get(name) is None:
    return "–"
  low, high = rates[f"{name}_95"]
  return f"{100 * rates[name]:{sign}.2f} ({100 * low:{sign}.2f} to {100 * high:{sign}.2f})"


__all__ = ["BEST", "FMR", "Slices", "evaluate_slices"]
