"""The report's charts: training curves, similarity histograms, ROC, DET, CMC and sweeps."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxface.evaluation.measures.curves import det
from jaxface.evaluation.measures.identification import Searches, cmc, open_set
from jaxface.evaluation.pairs.pair_score import COSINE
from jaxface.evaluation.pairs.verification import Verification
from jaxface.evaluation.report.drawing import NARROW, Axis, Mark, Series, chart, histogram, thinned

POINTS = 500  # more points cannot be distinguished on the page
BINS = 60
RANKS = 100

Named = Sequence[tuple[str, Verification]]


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
  step_k, value_k = _means(*point_k2.T)
  smooth_k = _running_mean(value_k, max(1, len(value_k) // 40))
  finite_k = value_k[np.isfinite(value_k)]
  if not finite_k.size:
    return ""
  # A schedule rises once and falls once; a curve with more total variation is noisy.
  noisy = np.abs(np.diff(finite_k)).sum() > 3 * np.ptp(finite_k)
  series = [Series("", "model0", step_k, value_k, thin=True)] if noisy else []
  series.append(Series("", "model0", step_k, smooth_k if noisy else value_k))
  low, high = (0.0 if finite_k.min() >= 0 else None), (None if finite_k.max() > 0 else 1.0)
  y = Axis(title[:1].lower() + title[1:], low, high)
  return chart(title, series, Axis("training step (updates)", low=0.0), y, size=NARROW)


def score_range(verifications: Sequence[Verification]) -> tuple[float, float]:
  """Limits of a similarity axis that fits all of them."""
  low = min(float(one.score_p.min()) for one in verifications)
  high = max(float(one.score_p.max()) for one in verifications)
  if any(one.score_name != COSINE for one in verifications):
    margin = 0.02 * (high - low) or 0.5
    return low - margin, high + margin
  low, high = max(-1.0, math.floor(low * 10) / 10), min(1.0, math.ceil(high * 10) / 10)
  if high - low < 0.1:
    low, high = max(-1.0, high - 0.1), min(1.0, low + 0.1)
  return low, high


def similarity(one: Verification, low: float, high: float, name: str = "", *, link: bool = True) -> str:
  """Histograms of mated and non-mated pairs with the threshold.

  Args:
    one: the verification.
    low: left end of the axis, in cosine or the other score.
    high: right end.
    name: of the model, for screen readers.
    link: whether the threshold read-out moves on it.
  """
  same_p, cosine = one.pairs.same, one.score_name == COSINE
  series = histogram(
    [("non-mated (two people)", "other", one.score_p[~same_p]), ("mated (one person)", "mated", one.score_p[same_p])], low, high, BINS
  )
  # A separate scale for each chart: before training all scores are in a few bins, which would flatten the histogram after it.
  tallest = max(float(line.y.max()) for line in series)
  return chart(
    f"Similarity of mated and non-mated pairs{f' of {name}' if name else ''}, threshold {one.threshold:.3f}",
    series,
    Axis("cosine similarity (from −1 to 1)" if cosine else f"score of {one.score_name}", low, high),
    Axis(f"% of each kind per {(high - low) / BINS:.3g} of {'cosine' if cosine else 'the score'}", 0.0, 1.45 * tallest, percent=True),
    marks=[Mark(one.threshold, f"threshold {one.threshold:.3f}".replace("-", "−"))],
    legend="upper left", link="threshold" if link else "",
  )


def roc_chart(named: Named, *, log: bool, link: bool = True) -> str:
  """ROC of each model; `log` sets a logarithmic FAR axis, and then TAR begins at the worst shown.

  Args:
    named: (name, verification) of each model.
    log: logarithmic FAR.
    link: whether the threshold read-out moves on it.
  """
  x = Axis("FAR (% of non-mated pairs accepted)", _least_rate(named) if log else 0.0, 1.0, "log" if log else "linear", percent=True)
  assert x.low is not None
  worst = min(float(one.roc.tar[np.searchsorted(one.roc.far, x.low, side="right") - 1]) for _, one in named)
  y = Axis("TAR (% of mated pairs accepted)", _floor(worst) if log else 0.0, 1.0, percent=True)
  series = []
  for number, (name, one) in enumerate(named):
    far_k, tar_k = one.roc.far, one.roc.tar
    first = int(np.searchsorted(far_k, 0, side="right")) - 1 if log else 0  # 0 is not on a logarithmic axis: drawn from its left end
    x_k, y_k = thinned(np.maximum(far_k[first:], x.low), tar_k[first:], x, y)
    series.append(Series(_model(name, len(named)), f"model{number % 8}", x_k, y_k, step=True, dashes=number))
  title = f"ROC{' with logarithmic FAR' if log else ''}: " + ", ".join(f"{name} AUC {one.auc:.4f}".strip() for name, one in named)
  return chart(title, series, x, y, legend="lower right", link="far tar" if link else "")


def det_chart(named: Named) -> str:
  """DET of each model on normal-deviate axes."""
  least = _least_rate(named)
  x = Axis("FAR (% of non-mated pairs accepted)", least, 0.5, "probit", percent=True)
  y = Axis("FRR (% of mated pairs rejected)", min(least, 1 / max(one.roc.mated for _, one in named)), 0.5, "probit", percent=True)
  series = []
  for number, (name, one) in enumerate(named):
    found = det(one.roc)
    inside = (found.far <= 0.9) & (found.frr <= 0.9)
    x_k, y_k = thinned(np.clip(found.far[inside], x.low, 0.9), np.clip(found.frr[inside], y.low, 0.9), _to(x, 0.9), _to(y, 0.9))
    series.append(Series(_model(name, len(named)), f"model{number % 8}", x_k, y_k, step=True, dashes=number))
  title = "DET: " + ", ".join(f"{name} EER {100 * one.eer:.2f} %".strip() for name, one in named)
  return chart(title, series, x, y, legend="upper right", link="far frr")


def cmc_chart(named: Sequence[tuple[str, Searches]]) -> str:
  """CMC of each search, up to the largest rank that occurs, at most `RANKS`.

  Args:
    named: (name, searches) of each.
  """
  ranks = min(RANKS, max(2, *(int(one.rank.max()) for _, one in named)))
  series, worst = [], 1.0
  for number, (name, one) in enumerate(named):
    share_r = cmc(one.rank, ranks)
    worst = min(worst, float(share_r[0]))
    series.append(Series(name, f"model{number % 8}", np.arange(1.0, ranks + 1), share_r, step=True, dashes=number))
  x = Axis("rank (position in the gallery, 1 is best)", 1.0, float(ranks), "log" if ranks > 20 else "linear")
  y = Axis("mated probes within the rank (%)", _floor(worst), 1.0, percent=True)
  return chart("Cumulative match characteristic", series, x, y, legend="lower right")


def open_set_chart(named: Sequence[tuple[str, Searches]]) -> str:
  """TPIR over FPIR of each open-set search, with mates of rank 1.

  Args:
    named: (name, searches) of each, with mated and non-mated probes.
  """
  curves = [(name, open_set(one, rank=1)) for name, one in named]
  # FPIR of 0 is not on a logarithmic axis: drawn from its left end.
  x = Axis("FPIR (% of non-mated probes with a false match)", min(0.1, 1 / max(one.nonmated for _, one in curves)), 1.0, "log", percent=True)
  assert x.low is not None
  series, worst = [], 1.0
  for number, (name, one) in enumerate(curves):
    first = int(np.searchsorted(one.fpir, 0, side="right")) - 1
    worst = min(worst, float(one.tpir[first]))
    x_k, y_k = thinned(np.maximum(one.fpir[first:], x.low), one.tpir[first:], x, Axis("", 0.0, 1.0))
    series.append(Series(name, f"model{number % 8}", x_k, y_k, step=True, dashes=number))
  y = Axis("TPIR (% of mated probes found)", _floor(worst), 1.0, percent=True)
  return chart("Open-set identification: TPIR over FPIR", series, x, y, legend="lower right")


def points(title: str, named: Sequence[tuple[str, Sequence[tuple[Any, float, tuple[float, float] | None]]]], x: str, y: str) -> str:
  """A figure with its interval over the values of a sweep, or over groups.

  Args:
    title: text for screen readers.
    named: (name, [(value, figure, interval or None)]) of each model; values are all numbers, or text.
    x: label of the horizontal axis.
    y: label of the vertical axis; figures are shares in [0, 1].
  """
  values = list(dict.fromkeys(value for _, rows in named for value, _, _ in rows))
  numeric = all(isinstance(value, int | float) for value in values)
  spread = len(named) > 1 and not numeric
  series, ends = [], []
  for number, (name, rows) in enumerate(named):
    at = [value if numeric else values.index(value) + (0.12 * (number - (len(named) - 1) / 2) if spread else 0.0) for value, _, _ in rows]
    figure = np.array([value for _, value, _ in rows], np.float64)
    low, high = np.array([interval or (value, value) for _, value, interval in rows], np.float64).T
    ends += [float(low.min()), float(high.max())]
    label = name if len(named) > 1 else ""
    series.append(Series(label, f"model{number % 8}", np.array(at, np.float64), figure, low=low, high=high, dashes=number))
  slack = 0.06 * (max(ends) - min(ends) or 0.1)
  vertical = Axis(y, max(0.0, min(ends) - slack), min(1.0 + slack / 2, max(ends) + slack), percent=True)
  return chart(title, series, Axis(x) if numeric else Axis(x, names=[str(value) for value in values]), vertical)


def _model(name: str, models: int) -> str:
  """The name in the legend: none for a single model."""
  return name if models > 1 else ""


def _least_rate(named: Named) -> float:
  """The power of ten at or below the smallest rate of false accepts that the lists can show."""
  most = max(one.roc.nonmated for _, one in named)
  return 10.0 ** math.floor(math.log10(1 / most)) if most > 1 else 0.1


def _floor(share: float) -> float:
  """A round share below `share`, where an axis begins."""
  for low in (0.99, 0.98, 0.95, 0.9, 0.8, 0.6, 0.4, 0.2):
    if share >= low:
      return low
  return 0.0


def _to(axis: Axis, high: float) -> Axis:
  return Axis(axis.label, axis.low, high, axis.scale)


def _means(step_k: np.ndarray, value_k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


__all__ = ["cmc_chart", "curve", "det_chart", "open_set_chart", "points", "roc_chart", "score_range", "similarity"]
