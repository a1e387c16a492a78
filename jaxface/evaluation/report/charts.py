"""The report's charts: training curves, similarity histograms and ROCs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxface.evaluation.pairs.verification import Verification
from jaxface.evaluation.report.svg import Axis, Mark, Series, chart, histogram

POINTS = 500  # more points cannot be distinguished on the page
BINS = 60


def curve(metrics: Sequence[Mapping[str, Any]], key: str, title: str) -> str:
  """One metric over steps: faint values, with a running mean on top if there are enough of them.

  Args:
    metrics: rows with `step`; rows without `key` are skipped.
    key: key of the metric.
    title: title of the chart.
  Returns:
    SVG, or an empty string if fewer than two rows have the metric.
  """
  point_k2 = np.array(
    [(row["step"], row[key]) for row in metrics if row.get(key) is not None and "step" in row], np.float64
  ).reshape(-1, 2)
  if len(point_k2) < 2:
    return ""
  step_k, value_k = _thin(*point_k2.T)
  smooth_k = _running_mean(value_k, max(1, len(value_k) // 40))
  finite_k = value_k[np.isfinite(value_k)]
  if not finite_k.size:
    return ""
  # A schedule rises once and falls once; a curve with more total variation is noisy.
  noisy = np.abs(np.diff(finite_k)).sum() > 3 * np.ptp(finite_k)
  series = [Series("", "s-faint", step_k, value_k)] if noisy else []
  series.append(Series("", "s-mated", step_k, smooth_k if noisy else value_k))
  y = Axis(title[:1].lower() + title[1:], low=0.0 if finite_k.min() >= 0 else None, high=None if finite_k.max() > 0 else 1.0)
  return chart(title, series, Axis("step", low=0.0), y, size=(360, 250))


def score_range(verifications: Sequence[Verification]) -> tuple[float, float]:
  """Limits of a similarity axis that fits all of them."""
  low = min(float(one.score_p.min()) for one in verifications)
  high = max(float(one.score_p.max()) for one in verifications)
  low, high = max(-1.0, math.floor(low * 10) / 10), min(1.0, math.ceil(high * 10) / 10)
  if high - low < 0.1:
    low, high = max(-1.0, high - 0.1), min(1.0, low + 0.1)
  return low, high


def similarity(one: Verification, low: float, high: float) -> str:
  """Histograms of mated and non-mated pairs with the threshold.

  Args:
    one: the verification.
    low: left end of the axis, in cosine.
    high: right end.
  """
  histograms = _histograms(one, low, high)
  # A separate scale: before training all scores are in a few bins, which would flatten the histogram after it.
  tallest = max(float(line.y.max()) for line in histograms)
  return chart(
    f"Similarity of mated and non-mated pairs, threshold {one.threshold_cosine:.3f}",
    histograms,
    Axis("cosine similarity", low, high),
    Axis("share of pairs", 0.0, 1.12 * tallest, percent=True),
    marks=[Mark(one.threshold_cosine, f"threshold {one.threshold_cosine:.3f}".replace("-", "−"))],
  )


def roc_chart(after: Verification, before: Verification | None, *, log: bool) -> str:
  """ROC after training, and before if given; `log` sets a logarithmic FAR axis."""
  curves = [("before training", "s-before", before)] if before else []
  curves.append(("after training" if before else "", "s-mated", after))
  series = []
  for name, style, one in curves:
    first = (
      int(np.searchsorted(one.roc.far, 0, side="right")) - 1 if log else 0
    )  # 0 is not on a logarithmic axis
    series.append(Series(name, style, one.roc.far[first:], one.roc.tar[first:], step=True))
  least = 10.0 ** math.floor(math.log10(1 / after.roc.nonmated)) if after.roc.nonmated > 1 else 0.1
  x = Axis("false accept rate (FAR)", least if log else 0.0, 1.0, log=log)
  title = f"ROC{' with logarithmic FAR' if log else ''}: AUC {after.auc:.4f}"
  return chart(title, series, x, Axis("true accept rate (TAR)", 0.0, 1.0))


def _histograms(one: Verification, low: float, high: float) -> list[Series]:
  same = one.pairs.same
  values = [
    ("non-mated (two people)", "s-other", one.score_p[~same]),
    ("mated (one person)", "s-mated", one.score_p[same]),
  ]
  return histogram(values, low, high, BINS)


def _thin(step_k: np.ndarray, value_k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Means over at most `POINTS` groups of neighbours."""
  runs = np.array_split(np.arange(len(step_k)), min(POINTS, len(step_k)))
  return np.array([step_k[run].mean() for run in runs]), np.array([value_k[run].mean() for run in runs])


def _running_mean(value_k: np.ndarray, reach: int) -> np.ndarray:
  """Mean over `reach` neighbours on each side, fewer at the ends; ignores values that are not finite."""
  finite = np.isfinite(value_k)
  window = np.ones(2 * reach + 1)
  total = np.convolve(np.where(finite, value_k, 0.0), window, "full")[reach : reach + len(value_k)]
  count = np.convolve(finite.astype(np.float64), window, "full")[reach : reach + len(value_k)]
  return np.divide(total, count, out=np.full(len(value_k), np.nan), where=count > 0)


__all__ = ["curve", "roc_chart", "score_range", "similarity"]
