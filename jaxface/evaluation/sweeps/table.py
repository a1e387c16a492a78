"""The table of a sweep: figures at each level, with intervals and paired differences to a reference."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxface.evaluation.pairs.comparison import Difference, compare
from jaxface.evaluation.pairs.verification import Verification

SCALARS = ("accuracy", "auc", "eer")


@dataclass(frozen=True, eq=False)
class SweepRow:
  """One level of a sweep.

  Attributes:
    value: the level; None for images that were not changed.
    verification: the figures at it.
    model: path or name of the model, where levels are models.
    seconds: time spent on the level.
  """

  value: float | None
  verification: Verification
  model: str = ""
  seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Sweep:
  """Figures of one pair list at several levels; `print` shows a table.

  Attributes:
    axis: name of what varies, such as "jpeg".
    what: label of its values, with the unit: "JPEG quality".
    rows: the levels, in any order; the table is ordered by value.
    reference: what the differences refer to; None for none.
    about: what was measured, plain JSON values: model, images, pairs, seed.
    notes: caveats, a line each.
    examples: (level, data URL of a picture) of one image at each level.
  """

  axis: str
  what: str
  rows: tuple[SweepRow, ...]
  reference: SweepRow | None = None
  about: Mapping[str, Any] = field(default_factory=dict)
  notes: tuple[str, ...] = ()
  examples: tuple[tuple[float | None, str], ...] = ()

  @property
  def ordered(self) -> tuple[SweepRow, ...]:
    """The rows by ascending value, an unchanged one last."""
    return tuple(sorted(self.rows, key=lambda row: (row.value is None, row.value or 0.0, row.model)))

  def to_json(self) -> dict[str, Any]:
    """Everything as plain JSON values: shares in [0, 1], 95 % intervals as [low, high] under `NAME_95`."""
    return {
      "kind": "sweep",
      "axis": self.axis,
      "what": self.what,
      **self.about,
      "reference": None if self.reference is None else _row_json(self.reference),
      "rows": [_row_json(row, self.reference) for row in self.ordered],
      "examples": [{"value": value, "image": image} for value, image in self.examples],
      "notes": list(self.notes),
    }

  def __str__(self) -> str:
    """Table for a terminal, with 95 % intervals; the difference is that of the accuracy to the reference."""
    rows = list(self.ordered)
    if self.reference is not None and not any(row is self.reference for row in rows):
      rows.append(self.reference)
    targets = list(rows[0].verification.tar_at_far) if rows else []
    titles = [self.axis, "accuracy", "difference", "EER", *(f"TAR@FAR {name}" for name in targets)]
    if any(row.model for row in rows):
      titles.append("model")
    lines = [titles]
    for row in rows:
      found, near = row.verification, row.verification.intervals
      cells = [level_text(row.value), _with(found.accuracy, near.accuracy), "–", _with(found.eer, near.eer)]
      if self.reference is not None and row is not self.reference:
        one = compare(self.reference.verification, found)["accuracy"]
        cells[2] = f"{100 * one.value:+.2f} ({100 * one.low:+.2f} to {100 * one.high:+.2f})"
      cells += [_with(found.tar_at_far[name], near.tar_at_far[name]) for name in targets]
      lines.append([*cells, row.model] if len(titles) > len(cells) else cells)
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    model = self.about.get("model")
    head = f"{self.what}{f' of {model}' if isinstance(model, str) else ''}: %, with 95 % intervals over identities"
    # The model comes last, at the left; numbers are at the right.
    return "\n".join([head, *(
      "  ".join(cell.ljust(size) if title == "model" else cell.rjust(size) for cell, size, title in zip(line, widths, titles)).rstrip()
      for line in lines
    )])


def level_text(value: float | None) -> str:
  """A level for a reader: "30", "0.2", "1,600", or "unchanged"."""
  if value is None:
    return "unchanged"
  return f"{int(value):,}" if float(value).is_integer() else f"{value:g}"


def figures_json(found: Verification) -> dict[str, Any]:
  """Figures of a list with their 95 % intervals, as plain JSON values."""
  near = found.intervals
  plain: dict[str, Any] = {}
  for name in SCALARS:
    plain[name] = getattr(found, name)
    plain[f"{name}_95"] = list(getattr(near, name))
  plain["tar_at_far"] = found.tar_at_far
  plain["tar_at_far_95"] = {name: list(ends) for name, ends in near.tar_at_far.items()}
  plain["threshold_cosine"] = found.threshold_cosine
  return plain


def differences_json(found: Mapping[str, Difference]) -> dict[str, Any]:
  """Differences under the names of the figures, with `NAME_95`, and their probabilities under "p"."""
  plain: dict[str, Any] = {"tar_at_far": {}, "tar_at_far_95": {}, "p": {"tar_at_far": {}}}
  for name, one in found.items():
    kind, _, target = name.partition(" ")
    if target:
      plain[kind][target], plain[f"{kind}_95"][target], plain["p"][kind][target] = one.value, [one.low, one.high], one.p
    else:
      plain[name], plain[f"{name}_95"], plain["p"][name] = one.value, [one.low, one.high], one.p
  return plain


def _row_json(row: SweepRow, reference: SweepRow | None = None) -> dict[str, Any]:
  plain: dict[str, Any] = {"value": row.value, **({"model": row.model} if row.model else {}), **figures_json(row.verification)}
  plain["seconds"] = row.seconds
  if reference is not None:
    plain["difference"] = differences_json(compare(reference.verification, row.verification))
  return plain


def _with(value: float, ends: tuple[float, float]) -> str:
  return f"{100 * value:.2f} ({100 * ends[0]:.2f} to {100 * ends[1]:.2f})"


__all__ = ["Sweep", "SweepRow", "differences_json", "figures_json", "level_text"]
