"""Draws charts with matplotlib as inline SVG, whose colours are CSS variables of the page, so that one drawing is light and dark."""

import html
import io
import re
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

# Each CSS variable of report.css has a colour here that nothing else uses, which is replaced in the SVG.
STYLES = ("mated", "other", "before", *(f"model{number}" for number in range(8)))
_INK = ("ink", "soft", "grid", "card", "mark")
_PLACEHOLDER = {name: f"#fe{number:02x}01" for number, name in enumerate((*STYLES, *_INK))}
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
# Width and height in inches of 72 units, the units of the SVG.
WIDE, NARROW = (4.35, 2.95), (3.5, 2.6)
# Points nearer than this share of an axis to their predecessor are not drawn: a third of a pixel in a chart of 600 pixels.
CELL = 1 / 2000


@dataclass(frozen=True)
class Series:
  """A line, an area or points.

  Attributes:
    name: entry in the legend; "" for none.
    style: one of `STYLES`.
    x: [K] float.
    y: [K] float; where it is not finite, the line is interrupted.
    step: hold y until the next x instead of joining the points.
    fill: fill down to the axis.
    low: [K] float, lower ends of intervals, which are drawn as bars around points; None for a line without points.
    high: [K] float, upper ends.
    thin: draw thinly, as values behind their mean.
    dashes: number of the pattern of dashes, 0 for a solid line.
  """

  name: str
  style: str
  x: np.ndarray
  y: np.ndarray
  step: bool = False
  fill: bool = False
  low: np.ndarray | None = None
  high: np.ndarray | None = None
  thin: bool = False
  dashes: int = 0


@dataclass(frozen=True)
class Mark:
  """A vertical line at `x` with a label."""

  x: float
  label: str


@dataclass(frozen=True)
class Axis:
  """An axis; by default over the range of the data.

  Attributes:
    label: what it shows, with its unit.
    low: left or lower end.
    high: right or upper end.
    scale: "linear", "log", or "probit", the normal-deviate scale of a DET.
    percent: label a share as a percentage.
    names: labels at 0, 1, 2, … instead of numbers.
  """

  label: str
  low: float | None = None
  high: float | None = None
  scale: str = "linear"
  percent: bool = False
  names: Sequence[str] = ()


def chart(
  title: str, series: Sequence[Series], x: Axis, y: Axis, *, marks: Sequence[Mark] = (), size: tuple[float, float] = WIDE,
  legend: str = "best", link: str = "",
) -> str:
  """One chart as an `<svg>` element for an HTML page with report.css.

  Args:
    title: text for screen readers; the page has the visible heading.
    series: series to draw, the first at the bottom.
    x: horizontal axis.
    y: vertical axis.
    marks: vertical lines.
    size: `WIDE` or `NARROW`.
    legend: its place, as matplotlib names it.
    link: what the axes show for the threshold read-out: "threshold", "far tar" or "far frr"; "" for charts without.
  """
  import matplotlib
  from matplotlib.backends.backend_svg import FigureCanvasSVG
  from matplotlib.figure import Figure

  settings: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "jaxface", "text.parse_math": False, "font.size": 9, "axes.unicode_minus": True,
    "text.color": _PLACEHOLDER["soft"], "axes.labelcolor": _PLACEHOLDER["ink"], "xtick.color": _PLACEHOLDER["soft"],
    "ytick.color": _PLACEHOLDER["soft"], "axes.edgecolor": _PLACEHOLDER["before"], "grid.color": _PLACEHOLDER["grid"],
    "grid.linewidth": 0.8, "axes.linewidth": 0.8, "lines.linewidth": 1.6, "axes.axisbelow": True, "legend.fontsize": 8.5,
    "axes.spines.top": False, "axes.spines.right": False,
  }
  with matplotlib.rc_context(settings), warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Glyph")  # the browser's fonts draw the text
    figure = Figure(size, dpi=72)
    figure.patch.set_visible(False)
    FigureCanvasSVG(figure)
    left, bottom = 52 / (72 * size[0]), 33 / (72 * size[1])
    axes: Any = figure.add_axes((left, bottom, 0.95 - left, 0.975 - bottom))
    axes.patch.set_visible(False)
    for one in series:
      _draw(axes, one, x, y)
    for mark in marks:
      at = axes.axvline(mark.x, color=_PLACEHOLDER["mark"], linewidth=1.1, linestyle=(0, (4, 3)))
      at.set_label(mark.label)
    _axis(axes.xaxis, axes.set_xscale, axes.set_xlim, x)
    _axis(axes.yaxis, axes.set_yscale, axes.set_ylim, y)
    axes.set_xlabel(_clean(x.label))
    axes.set_ylabel(_clean(y.label))
    axes.grid(True)
    axes.tick_params(length=0)
    if any(one.name for one in series) or marks:
      axes.legend(loc=legend, frameon=True, framealpha=0.85, facecolor=_PLACEHOLDER["card"], edgecolor="none", handlelength=1.8)
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    box, limits = axes.get_position(), (*axes.get_xlim(), *axes.get_ylim())
  width, height = 72 * size[0], 72 * size[1]
  frame = (box.x0 * width, box.x1 * width, (1 - box.y1) * height, (1 - box.y0) * height)
  data = ""
  if link:
    data = f' data-link="{link}" data-scale="{x.scale} {y.scale}" data-frame="{_numbers(frame)}" data-limits="{_numbers(limits, 9)}"'
  return _inline(stream.getvalue(), title, data)


def thinned(x_k: np.ndarray, y_k: np.ndarray, x: Axis, y: Axis) -> tuple[np.ndarray, np.ndarray]:
  """A curve without points that lie in the same cell of a fine grid over both axes as their neighbours on each side.

  A point that is left out lies in the cell of a drawn one, so that no point of the curve moves by more than `CELL` of an axis.

  Args:
    x_k: [K] float.
    y_k: [K] float.
    x: horizontal axis, with ends.
    y: vertical axis, with ends.
  """
  cells = []
  for axis, value_k in ((x, x_k), (y, y_k)):
    place = _places(axis.scale)
    assert axis.low is not None and axis.high is not None
    low, high = place(np.array([axis.low, axis.high], np.float64))
    at_k = (place(np.clip(value_k, axis.low, axis.high)) - low) / (high - low)
    cells.append(np.floor(np.nan_to_num(at_k, nan=-1.0) / CELL).astype(np.int64))
  changed = (np.diff(cells[0]) != 0) | (np.diff(cells[1]) != 0)
  keep = np.append(True, changed) | np.append(changed, True)  # the first and the last of each run
  return np.asarray(x_k)[keep], np.asarray(y_k)[keep]


def histogram(values: Sequence[tuple[str, str, np.ndarray]], low: float, high: float, bins: int) -> list[Series]:
  """Histograms over common bins as filled outlines, each as the share of its values per bin.

  Args:
    values: (name, style, [K] values) of each histogram.
    low: left end of the first bin.
    high: right end of the last bin.
    bins: number of bins.
  """
  series = []
  for name, style, value_k in values:
    count, edge = np.histogram(np.clip(value_k, low, high), bins=bins, range=(low, high))
    share = np.append(count, 0) / max(1, value_k.size)
    series.append(Series(name, style, np.append(edge[0], edge), np.append(0.0, share), step=True, fill=True))
  return series


def escape(text: object) -> str:
  """Escapes text for elements and attributes."""
  return html.escape(str(text), quote=True)


def _draw(axes: Any, one: Series, x: Axis, y: Axis) -> None:
  colour, name = _PLACEHOLDER[one.style], _clean(one.name)[:40]
  x_k, y_k = np.asarray(one.x, np.float64), np.asarray(one.y, np.float64)
  drawn: dict[str, Any] = {"color": colour, "label": name or "_", "drawstyle": "steps-post" if one.step else "default"}
  if one.low is not None and one.high is not None:
    ends = np.maximum(0.0, np.stack([y_k - one.low, np.asarray(one.high) - y_k]))
    axes.errorbar(x_k, y_k, ends, marker="o", markersize=4, capsize=2.5, elinewidth=1.1,
                  linestyle="none" if x.names else _DASHES[one.dashes % 4], color=colour, label=name or "_")
    return
  if one.fill:
    axes.fill_between(x_k, y_k, step="post" if one.step else None, color=colour, alpha=0.22, linewidth=0)
  axes.plot(x_k, y_k, linewidth=0.7 if one.thin else 1.6, alpha=0.45 if one.thin else None, linestyle=_DASHES[one.dashes % 4], **drawn)


def _axis(axis: Any, set_scale: Callable[..., Any], set_limits: Callable[..., Any], spec: Axis) -> None:
  from matplotlib import ticker

  if spec.names:
    axis.set_ticks(np.arange(len(spec.names)), [_clean(name)[:18] for name in spec.names])
    set_limits(-0.5, len(spec.names) - 0.5)
    return
  if spec.scale == "log":
    set_scale("log")
  elif spec.scale == "probit":
    set_scale("function", functions=(_places("probit"), _rates))
  set_limits(spec.low, spec.high)
  if spec.scale == "probit":
    axis.set_major_locator(ticker.FixedLocator(
      [rate for rate in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999) if (spec.low or 0) <= rate <= (spec.high or 1)]
    ))
  elif spec.scale == "linear":
    axis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
  axis.set_minor_locator(ticker.NullLocator())
  if spec.percent:
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{100 * value:.6g} %".replace("-", "−")))
  elif spec.scale == "log":
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.6g}".replace("-", "−")))


def _places(scale: str) -> Callable[[np.ndarray], np.ndarray]:
  """Maps values to places along an axis of the scale."""
  def probit(rate_k: np.ndarray) -> np.ndarray:
    quantile = np.vectorize(NormalDist().inv_cdf, otypes=[np.float64])
    return quantile(np.clip(np.asarray(rate_k, np.float64), 1e-9, 1 - 1e-9))

  places: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda value: value, "log": lambda value: np.log10(np.maximum(value, 1e-300)), "probit": probit,
  }
  return places[scale]


def _rates(place_k: np.ndarray) -> np.ndarray:
  """The inverse of the probit scale."""
  return np.vectorize(NormalDist().cdf, otypes=[np.float64])(np.asarray(place_k, np.float64))


def _clean(text: object) -> str:
  """Text without characters that XML does not allow."""
  return re.sub(r"[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", str(text))


def _numbers(values: Sequence[float], digits: int = 6) -> str:
  return " ".join(f"{value:.{digits}g}" for value in values)


def _inline(svg: str, title: str, data: str) -> str:
  """matplotlib's document as an element of a page: without its style, metadata and fonts, with CSS variables and unique ids."""
  svg = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
  box = re.search(r'viewBox="([^"]*)"', svg)
  assert box
  head = f'<svg class="chart" viewBox="{box[1]}" role="img" aria-label="{escape(_clean(title))}"{data}>'
  svg = head + svg[svg.index(">") + 1 :].rstrip()
  svg = re.sub(r'(<g) id="[^"]*"', r"\1", svg).replace("xlink:href", "href")
  salt = f"c{zlib.crc32(svg.encode()):08x}"
  svg = re.sub(r'((?:id="|href="#|url\(#))', rf"\g<1>{salt}", svg)
  svg = re.sub(r' d="([^"]*)"', lambda found: f' d="{_path(found[1])}"', svg)
  svg = re.sub(r"font-family: [^;\"]*; ", "", svg)
  svg = re.sub(r' transform="rotate\(-0 [^"]*"|<g/>', "", svg)
  svg = re.sub(r' (x|y)="(-?\d+\.\d+)"', lambda found: f' {found[1]}="{float(found[2]):.2f}"', svg)
  for name, colour in _PLACEHOLDER.items():
    svg = svg.replace(colour, f"var(--{name})")
  return re.sub(r">\s*\n\s*<", "><", svg)


def _path(path: str) -> str:
  """Path data in hundredths, on one line."""
  short = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), path)
  return re.sub(r"\s*([A-Za-z])\s*", r"\1", short).strip()


__all__ = ["NARROW", "STYLES", "WIDE", "Axis", "Mark", "Series", "chart", "escape", "histogram", "thinned"]
