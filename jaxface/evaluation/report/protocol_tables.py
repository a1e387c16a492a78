"""Tables and charts of protocols whose figures are neither those of one pair list nor of a search: MegaFace, and pair lists by group (RFW)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.evaluation.protocols.base import ProtocolFigures
from jaxface.evaluation.report.drawing import Axis, Series, chart, escape
from jaxface.evaluation.report.page import card, interval, percent, section, table

Named = Sequence[tuple[str, Mapping[str, Any]]]
_RANKS = ("rank-1", "rank-10")
_SHARES = {"accuracy": "Accuracy (%)", "eer": "Equal error rate (%)", "auc": "AUC (%)"}


def protocol_tables(named: Sequence[tuple[str, str, Evaluation | ProtocolFigures]]) -> list[str]:
  """A section for each list of MegaFace or of groups.

  Args:
    named: (list, model, evaluation) of each.
  Returns:
    HTML of each section.
  """
  sections = []
  for shown, draw in ((has_distractors, _distractors), (has_groups, _groups)):
    by_list: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for where, model, one in named:
      if shown(one):
        by_list.setdefault(where, []).append((model, one.figures))
    sections += [draw(where, found) for where, found in by_list.items()]
  return sections


def has_distractors(one: Evaluation | ProtocolFigures) -> bool:
  """Whether the figures are ranks among distractors."""
  return isinstance(one.figures.get("distractors"), Mapping)


def has_groups(one: Evaluation | ProtocolFigures) -> bool:
  """Whether the figures are those of a pair list for each group."""
  return isinstance(one.figures.get("groups"), Mapping)


def distractors_chart(named: Named) -> str:
  """Rank 1 of each model over the number of distractors, with 95 % intervals.

  Args:
    named: (model, figures of MegaFace) of each.
  """
  series, least = [], 1.0
  sizes = sorted({int(size) for _, found in named for size in found["distractors"]})
  for number, (model, found) in enumerate(named):
    at_k = sorted(found["distractors"], key=int)
    value_k = np.array([found["distractors"][size]["rank-1"] for size in at_k], np.float64)
    ends_k2 = np.array([found["distractors"][size].get("rank-1_95", [value] * 2) for size, value in zip(at_k, value_k)], np.float64)
    least = min(least, float(ends_k2.min()))
    x_k = np.array([int(size) for size in at_k], np.float64)
    name = model if len(named) > 1 else ""
    series.append(Series(name, f"model{number % 8}", x_k, value_k, low=ends_k2[:, 0], high=ends_k2[:, 1], dashes=number))
  x = Axis("distractors (images of other people in the gallery)", sizes[0] / 1.5, sizes[-1] * 1.5, "log")
  y = Axis("rank 1 (% of probes)", max(0.0, least - 0.02), 1.0, percent=True)
  return chart("Rank 1 over the number of distractors", series, x, y, legend="lower left")


def _distractors(where: str, named: Named) -> str:
  rows = [
    (model, [f"{int(size):,}", *(_share(found["distractors"][size], rank) for rank in _RANKS)])
    for model, found in named for size in sorted(found["distractors"], key=int)
  ]
  fars = list(dict.fromkeys(far for _, found in named for far in found["tar_at_far"]))
  tars = [(model, [_with(found["tar_at_far"].get(far), found.get("tar_at_far_95", {}).get(far)) for far in fars]) for model, found in named]
  first = named[0][1]
  note = "A tie counts against the mate. Small numbers are 95 % intervals over people; the distractors are taken as given."
  pairs = f"{first['mated']:,} mated pairs, {first['nonmated']:,} pairs of a probe and a distractor."
  return (
    section(escape(where), note, [card("Rank 1 over the number of distractors", distractors_chart(named))])
    + f'\n<div class="card scroll">\n{table("", ["Model", "Distractors", "Rank 1 (%)", "Rank 10 (%)"], rows)}\n</div>'
    + f'\n<div class="card scroll">\n{table(pairs, ["Model", *(f"TAR at FAR ≤ {escape(far)} (%)" for far in fars)], tars)}\n</div>'
  )


def _groups(where: str, named: Named) -> str:
  targets = list(dict.fromkeys(far for _, found in named for one in found["groups"].values() for far in one.get("tar_at_far", {})))
  rows, summary = [], []
  for model, found in named:
    for group, one in found["groups"].items():
      tars = (_with(one["tar_at_far"].get(far), one.get("tar_at_far_interval", {}).get(far)) for far in targets)
      shares = (_with(one.get(name), one.get(f"{name}_interval")) for name in _SHARES)
      rows.append((model, [escape(group), f"{one['pairs']:,}", *shares, *tars]))
    ratio = found.get("skewed_error_ratio")
    cells = [
      _with(found["accuracy_mean"], found.get("accuracy_mean_95")),
      f"{100 * found['accuracy_std']:.2f}" + _small(found.get("accuracy_std_95"), 100),
      "– (a group has no error)" if ratio is None else f"{ratio:.2f}" + _small(found.get("skewed_error_ratio_95"), 1),
    ]
    summary.append((model, cells))
  heads = ["Model", "Group", "Pairs", *_SHARES.values(), *(f"TAR at FAR ≤ {escape(far)} (%)" for far in targets)]
  over = ["Model", "Mean accuracy of the groups", "Standard deviation (% points)", "Largest error / smallest"]
  note = "Each group has its own list and thresholds. Small numbers are 95 % intervals over people."
  return (
    f"<section>\n<h2>{escape(where)}, by group</h2>\n"
    f'<div class="card scroll">\n{table(note, heads, rows)}\n</div>\n<div class="card scroll">\n{table("", over, summary)}\n</div>\n</section>'
  )


def _small(ends: Sequence[float] | None, times: int) -> str:
  """An interval below its figure; "" for figures of earlier releases, which have none."""
  return f'<br><small class="soft">{times * ends[0]:.2f} to {times * ends[1]:.2f}</small>' if ends else ""


def _share(one: Mapping[str, Any], name: str) -> str:
  return _with(one.get(name), one.get(f"{name}_95"))


def _with(value: float | None, ends: Sequence[float] | None) -> str:
  """A share and its interval in a cell."""
  if value is None:
    return "–"
  return percent(value) + (f'<br><small class="soft">{interval(ends)}</small>' if ends else "")


__all__ = ["distractors_chart", "has_distractors", "has_groups", "protocol_tables"]
