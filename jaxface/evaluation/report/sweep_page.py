"""Sections of the page on sweeps: charts with intervals, and a table."""

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from jaxface.evaluation.report import charts
from jaxface.evaluation.report.drawing import escape
from jaxface.evaluation.report.page import card, folded, interval, percent, section, table
from jaxface.evaluation.report.sweep_file import figure_of, interval_of, names_of

Table = Mapping[str, Any]
NAMES = {"accuracy": "Accuracy", "auc": "AUC", "eer": "Equal error rate"}


def sweeps_sections(sweeps: Sequence[Table]) -> list[str]:
  """A section for each axis; sweeps of several models over one axis share its charts."""
  by_axis: dict[str, list[Table]] = {}
  for one in sweeps:
    by_axis.setdefault(one["axis"], []).append(one)
  return [_sweep(axis, found) for axis, found in by_axis.items()]


def _sweep(axis: str, sweeps: list[Table]) -> str:
  what = str(sweeps[0].get("what") or axis)
  series, rows, every = [], [], [row for one in sweeps for row in one["rows"]]
  names = names_of(every)
  for at, one in enumerate(sweeps):
    title = str(one.get("title") or PurePath(str(one.get("model", ""))).name or f"model {at + 1}")
    levels = [row for row in one["rows"] if row["value"] is not None]
    series.append((title, [(row["value"], row) for row in levels]))
    reference = one.get("reference")
    if reference is not None and levels:
      ends = [min(row["value"] for row in levels), max(row["value"] for row in levels)]
      if all(isinstance(end, int | float) for end in ends):
        plain = {key: value for key, value in reference.items() if not key.endswith(("_95", "_interval"))}
        series.append((f"{title}, unchanged" if len(sweeps) > 1 else "unchanged", [(end, plain) for end in dict.fromkeys(ends)]))
    for row in [*one["rows"], *([reference] if reference is not None and reference not in one["rows"] else [])]:
      level = "unchanged" if row["value"] is None else _level(row["value"])
      rows.append((level, [escape(PurePath(str(row.get("model") or title)).name), *figure_cells(row, names), _difference(row)]))
  heads = [escape(what), "Model", *(f"{figure_label(name)} (%)" for name in names), "Difference of accuracy (% points)"]
  pictures = [one for sweep in sweeps[:1] for one in sweep.get("examples", []) if str(one.get("image", "")).startswith("data:image/")]
  shown = "".join(
    f'<figure class="card"><img alt="{escape(what)}: {escape(_level(one.get("value")))}" src="{escape(one["image"])}">'
    f"<figcaption>{escape(_level(one.get('value')))}</figcaption></figure>" for one in pictures
  )
  return (
    section(escape(what), "Figures at each level, with 95 % intervals.", figure_cards(series, what, what, every))
    + (f'\n<div class="pairs levels">{shown}</div>' if shown else "")
    + "\n" + folded("Table", table(" ".join(filter(None, map(notes_of, sweeps))), heads, rows))
  )


def figure_cards(series: list[tuple[str, list[tuple[Any, Mapping[str, Any]]]]], title: str, x: str, rows: list[Mapping[str, Any]]) -> list[str]:
  """A chart of the accuracy, and one of TAR at the lowest FAR, where the rows have them."""
  names = names_of(rows)
  chosen = [name for name in names if name == "accuracy"] + [name for name in names if name.startswith("tar_at_far")][-1:] or names[:1]
  cards = []
  for name in chosen:
    drawn = [
      (model, [(value, share, interval_of(row, name)) for value, row in found if (share := figure_of(row, name)) is not None])
      for model, found in series
    ]
    drawn = [(model, found) for model, found in drawn if found]
    if drawn:
      cards.append(card(f"{figure_label(name)}", charts.points(f"{title}: {figure_label(name)}", drawn, x, f"{figure_label(name)} (%)")))
  return cards


def figure_cells(row: Mapping[str, Any], names: list[str]) -> list[str]:
  """The figures of a row with their intervals, as cells."""
  cells = []
  for name in names:
    share, ends = figure_of(row, name), interval_of(row, name)
    small = f'<br><small class="soft">{interval(ends)}</small>' if ends else ""
    cells.append("–" if share is None else f"{percent(share)}{small}")
  return cells


def _difference(row: Mapping[str, Any]) -> str:
  change = row.get("difference")
  if not isinstance(change, dict) or not isinstance(change.get("accuracy"), int | float):
    return "–"
  text, ends = f"{100 * change['accuracy']:+.2f}".replace("-", "−"), change.get("accuracy_95")
  p = change.get("p", {}).get("accuracy") if isinstance(change.get("p"), dict) else None
  small = f"{interval(ends)}" if isinstance(ends, list) and len(ends) == 2 else ""
  small += f"<br>p = {p:.3g}" if isinstance(p, int | float) else ""
  return f'{text}<br><small class="soft">{small}</small>' if small else text


def figure_label(name: str) -> str:
  """The name of a figure for readers: as it is, unless it is one of those of pair lists."""
  kind, _, target = name.partition(" ")
  return NAMES.get(name) or (f"TAR at FAR ≤ {target}" if kind == "tar_at_far" else name)


def _level(value: Any) -> str:
  if value is None:
    return "unchanged"
  return f"{value:,.6g}" if isinstance(value, int | float) and math.isfinite(value) else str(value)


def notes_of(one: Table) -> str:
  """The notes of a sweep or slices as HTML."""
  notes = one.get("notes", [])
  return escape(" ".join(map(str, notes))) if isinstance(notes, list) else ""


__all__ = ["figure_cards", "figure_cells", "figure_label", "notes_of", "sweeps_sections"]
