"""The threshold read-out: the rates of each model at a threshold that moves with the pointer, a slider or the keyboard.

The page has exact counts on a grid of thresholds. Without scripts and in print the table shows the rates at the threshold of the best
accuracy.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxface.evaluation.pairs.pair_score import COSINE
from jaxface.evaluation.pairs.verification import Verification
from jaxface.evaluation.report.drawing import escape

MOST = 2500  # thresholds of the grid
HEADS = ("FAR (%)", "TAR (%)", "FRR (%)", "False accepts (pairs)", "False rejects (pairs)", "Accuracy (%)")


def grid_of(verifications: Sequence[Verification]) -> np.ndarray:
  """[T] float64, rising thresholds that are multiples of a round step and cover all scores.

  Args:
    verifications: of the models, at least one.
  """
  low = min(float(one.score_p.min()) for one in verifications)
  high = max(float(one.score_p.max()) for one in verifications)
  power = 10.0 ** math.floor(math.log10(max(high - low, 1e-9) / MOST))
  step = max(0.001 if high - low > 0.02 else 0.0, next(part * power for part in (1, 2, 5, 10) if part * power * MOST >= high - low))
  first, last = math.floor(low / step), math.ceil(high / step + 1e-9) + 1
  return np.round(np.arange(first, last + 1) * step, 9)


def counts_at(one: Verification, threshold_t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Accepted pairs at each threshold.

  Args:
    one: the verification.
    threshold_t: [T] float64; accepted is score >= threshold.
  Returns:
    (accepted non-mated pairs [T] int64, accepted mated pairs [T] int64).
  """
  found = []
  for kind_p in (~one.pairs.same, one.pairs.same):
    score_p = np.sort(one.score_p[kind_p])
    found.append(score_p.size - np.searchsorted(score_p, threshold_t, side="left"))
  return found[0], found[1]


def readout(named: Sequence[tuple[str, Verification]], number: int) -> str:
  """The slider, the table and the data of the read-out of one list.

  Args:
    named: (name, verification) of each model, all on one list and with one score.
    number: of the list on the page, for ids.
  """
  first = named[0][1].score_name
  what = "cosine similarity" if first == COSINE else f"score of {escape(first)}"
  threshold_t = grid_of([one for _, one in named])
  start = int(np.argmin(np.abs(threshold_t - named[0][1].threshold)))
  step = float(np.round(threshold_t[1] - threshold_t[0], 9))
  data: dict[str, Any] = {"low": float(threshold_t[0]), "step": step, "start": start, "models": []}
  rows = []
  for name, one in named:
    false_t, true_t = counts_at(one, threshold_t)
    nonmated, mated = one.roc.nonmated, one.roc.mated
    # Differences of falling counts are short: the page is a third of the size.
    fewer = [(-np.diff(count_t, prepend=total)).tolist() for count_t, total in ((false_t, nonmated), (true_t, mated))]
    data["models"].append({"nonmated": nonmated, "mated": mated, "false": fewer[0], "true": fewer[1]})
    values = cells_of(int(false_t[start]), int(true_t[start]), nonmated, mated)
    cells = "".join(f'<td class="number" data-name="{head}">{value}</td>' for head, value in zip(HEADS, values, strict=True))
    rows.append(f'<tr><th scope="row">{escape(name or "model")}</th>{cells}</tr>')
  digits = max(0, -math.floor(math.log10(step) + 1e-9))
  low, high, now = (f"{threshold_t[at]:.{digits}f}" for at in (0, -1, start))
  return (
    f'<div class="card readout"><h3>Rates at a threshold</h3>\n'
    f'<p class="soft noprint" data-help hidden>Move the slider, or the pointer over the histograms and curves of this list.</p>\n'
    f'<label for="threshold{number}">Accept at a {what} of at least <output class="value">{now.replace("-", "−")}</output></label>\n'
    f'<input class="noprint" type="range" id="threshold{number}" min="{low}" max="{high}" step="{step:.9g}" value="{now}" hidden>\n'
    '<div class="scroll"><table><thead><tr><th scope="col">Model</th>'
    + "".join(f'<th scope="col" class="number">{head}</th>' for head in HEADS)
    + "</tr></thead>\n<tbody>\n" + "\n".join(rows)
    + f'\n</tbody></table></div>\n<script type="application/json">{json.dumps(data, separators=(",", ":"))}</script></div>'
  )


def cells_of(false: int, true: int, nonmated: int, mated: int) -> list[str]:
  """The cells of a row; report.js computes the same text.

  Args:
    false: accepted non-mated pairs.
    true: accepted mated pairs.
    nonmated: non-mated pairs.
    mated: mated pairs.
  """
  correct = true + nonmated - false
  rates = [(false, nonmated), (true, mated), (mated - true, mated)]
  shares = [_percent(count, total) for count, total in rates]
  return [*shares, f"{false:,}", f"{mated - true:,}", _percent(correct, mated + nonmated)]


def _percent(count: int, total: int) -> str:
  """A share in per cent, with digits enough for one pair."""
  digits = max(2, math.ceil(math.log10(total) - 1e-9) - 2)
  return f"{100 * count / total:.{digits}f}"


__all__ = ["cells_of", "counts_at", "grid_of", "readout"]
