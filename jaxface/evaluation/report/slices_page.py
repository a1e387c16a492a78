"""The section of the page on slices: error rates of each group at shared thresholds, and figures within the groups."""

from collections.abc import Mapping
from typing import Any

from jaxface.evaluation.report import charts
from jaxface.evaluation.report.drawing import escape
from jaxface.evaluation.report.page import card, folded, interval, percent, section, table
from jaxface.evaluation.report.sweep_file import RATES, names_of
from jaxface.evaluation.report.sweep_page import figure_cards, figure_cells, figure_label, notes_of

LABELS = {"fmr": "FMR (% of the group's non-mated pairs accepted)", "fnmr": "FNMR (% of the group's mated pairs rejected)"}


def slices_section(one: Mapping[str, Any]) -> str:
  """A section of figures by group.

  Args:
    one: a table of `jaxface slices`, see `read_table`.
  """
  groups, column = one["groups"], one["column"]
  points = list(dict.fromkeys(point for row in groups for point in row.get("shared", {})))
  cards = [card for point in points[-1:] for card in _rate_cards(groups, column, point)]
  cards += figure_cards([("", [(str(row["group"]), row) for row in groups])], f"Figures by {column}", column, groups)
  words = (
    "Error rates at a threshold that all groups share show what a group would meet in use; figures within a group have thresholds of their own."
    " Differences within their intervals can be by chance." if points else "Figures within each group of pairs, with 95 % intervals where the file has them."
  )
  names = names_of(groups)
  rows = [(str(row["group"]), [_count(row, "pairs"), *figure_cells(row, names)]) for row in groups]
  heads = [escape(column), "Pairs", *(f"{figure_label(name)} (%)" for name in names)]
  parts = [section(f"By {escape(column)}", words, cards)]
  parts += [_shared(one, point) for point in points]
  within = table("" if points else notes_of(one), heads, rows)
  parts.append(folded("Figures within the groups", within) if points else f'<div class="card scroll">{within}</div>')
  if points and notes_of(one):
    parts.append(f'<p class="soft">{notes_of(one)}</p>')
  return "\n".join(parts)


def _rate_cards(groups: list[Mapping[str, Any]], column: str, point: str) -> list[str]:
  """A chart of each error rate at a shared threshold."""
  cards = []
  for rate in RATES:
    found = [(str(row["group"]), rates[rate], rates.get(f"{rate}_95")) for row in groups if (rates := _at(row, point)).get(rate) is not None]
    if found:
      title = f"{rate.upper()} at the shared threshold, {_point(point)}"
      cards.append(card(title, charts.points(f"{title}, by {column}", [("", found)], column, LABELS[rate])))
  return cards


def _shared(one: Mapping[str, Any], point: str) -> str:
  """The table of error rates at one shared threshold, with differences to the other groups."""
  rows = []
  more = [row for row in one.get("incomplete", []) if isinstance(row, dict) and "group" in row] if isinstance(one.get("incomplete"), list) else []
  for row in [*one["groups"], *more]:
    change = row.get("difference") if isinstance(row.get("difference"), dict) else {}
    changes = _at(change, point)
    cells = [cell for rate in RATES for cell in (_rate(_at(row, point), rate), _rate(changes, rate, sign="+"))]
    rows.append((str(row["group"]), [_count(row, "mated"), _count(row, "nonmated"), *cells]))
  threshold = one.get("thresholds", {}).get(point) if isinstance(one.get("thresholds"), dict) else None
  note = f"At the threshold of {_point(point)} over all pairs" + (f", cosine {threshold:.4f}" if isinstance(threshold, int | float) else "") + "."
  heads = [escape(one["column"]), "Mated pairs", "Non-mated pairs", "FMR (%)", "to the others (% points)", "FNMR (%)", "to the others (% points)"]
  return f'<div class="card scroll">{table(escape(note), heads, rows)}</div>'


def _at(row: Mapping[str, Any], point: str) -> Mapping[str, Any]:
  found = row.get("shared", {}).get(point) if isinstance(row.get("shared"), dict) else None
  return found if isinstance(found, dict) else {}


def _rate(rates: Mapping[str, Any], name: str, sign: str = "") -> str:
  value, ends = rates.get(name), rates.get(f"{name}_95")
  if not isinstance(value, int | float):
    return "–"
  text = percent(value) if not sign else f"{100 * value:+.2f}".replace("-", "−")
  return f'{text}<br><small class="soft">{interval(ends)}</small>' if isinstance(ends, list) and len(ends) == 2 else text


def _point(point: str) -> str:
  return f"FMR {point}" if point[:1].isdigit() else point


def _count(row: Mapping[str, Any], name: str) -> str:
  return f"{row[name]:,}" if isinstance(row.get(name), int) else "–"


__all__ = ["slices_section"]
