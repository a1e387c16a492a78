"""Charts as inline SVG: lines and histograms with round ticks, coloured by the page's style sheet.

Colours, fonts and line widths are CSS classes (`s-…`, `axis`, `grid`), so that charts work in light and dark mode.
"""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LEFT, RIGHT, BOTTOM = 56, 22, 46


@dataclass(frozen=True)
class Series:
  """A line, or with `fill` the outline of an area down to the axis.

  Attributes:
    name: entry in the legend; empty for none.
    style: CSS class of its colour.
    x: [K] float.
    y: [K] float.
    step: hold y until the next x instead of joining the points.
    fill: fill down to the axis.
  """

  name: str
  style: str
  x: np.ndarray
  y: np.ndarray
  step: bool = False
  fill: bool = False


@dataclass(frozen=True)
class Frame:
  """Position of the plot in the drawing, in units that CSS scales to the page."""

  width: int
  height: int
  top: int

  @property
  def right(self) -> int:
    return self.width - RIGHT

  @property
  def bottom(self) -> int:
    return self.height - BOTTOM


@dataclass(frozen=True)
class Mark:
  """A vertical line at `x` with a label."""

  x: float
  label: str


@dataclass(frozen=True)
class Axis:
  """An axis from `low` to `high`; by default the range of the data, extended to round numbers."""

  label: str
  low: float | None = None
  high: float | None = None
  log: bool = False
  percent: bool = False


def chart(
  title: str,
  series: Sequence[Series],
  x: Axis,
  y: Axis,
  *,
  marks: Sequence[Mark] = (),
  size: tuple[int, int] = (480, 300),
) -> str:
  """One chart as an `<svg>` element.

  Args:
    title: text for screen readers; the page has the visible heading.
    series: series to draw, the first at the bottom. Points that are not finite interrupt a line.
    x: horizontal axis.
    y: vertical axis.
    marks: vertical lines.
    size: width and height of the drawing; text is 12 high in it.
  Returns:
    SVG text, with escaped labels.
  """
  named = [line for line in series if line.name]
  frame = Frame(*size, top=34 if named or y.label else 10)
  x_low, x_high, x_ticks = _extent(x, [line.x for line in series])
  y_low, y_high, y_ticks = _extent(y, [line.y for line in series])
  to_x = _scale(x, x_low, x_high, LEFT, frame.right)
  to_y = _scale(y, y_low, y_high, frame.bottom, frame.top)
  parts = [
    f'<svg class="chart" viewBox="0 0 {frame.width} {frame.height}" role="img" aria-label="{escape(title)}">'
  ]
  for tick in y_ticks:
    at = to_y(tick)
    parts.append(f'<line class="grid" x1="{LEFT}" x2="{frame.right}" y1="{at:.1f}" y2="{at:.1f}"/>')
    parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{_label(tick, y, y_ticks)}</text>')
  for tick in x_ticks:
    at = to_x(tick)
    parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{frame.top}" y2="{frame.bottom}"/>')
    label = _label(tick, x, x_ticks)
    parts.append(f'<text x="{at:.1f}" y="{frame.bottom + 18}" text-anchor="middle">{label}</text>')
  parts.append(f'<path class="axis" d="M{LEFT} {frame.top}V{frame.bottom}H{frame.right}"/>')
  middle = (LEFT + frame.right) / 2
  parts.append(
    f'<text class="name" x="{middle}" y="{frame.height - 8}" text-anchor="middle">{escape(x.label)}</text>'
  )
  parts.append(f'<text class="name" x="4" y="{frame.top - 18}">{escape(y.label)}</text>' if y.label else "")
  for line in series:
    path = _path(line, to_x, to_y, x_low if x.log else -math.inf)
    if line.fill and path:
      parts.append(f'<path class="area {line.style}" d="{path}V{frame.bottom}Z"/>')
    hint = f"<title>{escape(line.name)}</title>" if line.name else ""
    parts.append(f'<path class="line {line.style}" d="{path}">{hint}</path>')
  for mark in marks:
    at = to_x(mark.x)
    anchor, shift = ("end", -6) if at > frame.width * 0.6 else ("start", 6)
    parts.append(f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{frame.top}" y2="{frame.bottom}"/>')
    label = f'x="{at + shift:.1f}" y="{frame.top + 12}" text-anchor="{anchor}"'
    parts.append(f'<text class="mark" {label}>{escape(mark.label)}</text>')
  return "".join([*parts, _legend(named, frame), "</svg>"])


def histogram(
  value_by_name: Sequence[tuple[str, str, np.ndarray]], low: float, high: float, bins: int
) -> list[Series]:
  """Histograms over common bins as filled outlines, each as the share of its values per bin.

  Args:
    value_by_name: (name, style, [K] values) of each histogram.
    low: left end of the first bin.
    high: right end of the last bin.
    bins: number of bins.
  Returns:
    One `Series` per histogram.
  """
  series = []
  for name, style, values in value_by_name:
    count, edge = np.histogram(np.clip(values, low, high), bins=bins, range=(low, high))
    share = np.append(count, 0) / max(1, values.size)
    series.append(Series(name, style, np.append(edge[0], edge), np.append(0.0, share), step=True, fill=True))
  return series


def nice_ticks(low: float, high: float, count: int = 6) -> list[float]:
  """Multiples of 1, 2 or 5 · 10ⁿ that cover [low, high] in about `count` steps; low may equal high."""
  if high - low <= 1e-9 * max(abs(low), abs(high)):
    low, high = (low - 0.5, high + 0.5) if low == 0 else (min(low, 0.0), max(high, 0.0))
  raw = (high - low) / count
  power = 10.0 ** math.floor(math.log10(raw))
  step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
  first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
  return [round(index * step, 12 - math.floor(math.log10(step))) for index in range(first, last + 1)]


def escape(text: object) -> str:
  """Escapes text for elements and attributes."""
  return html.escape(str(text), quote=True)


def _extent(axis: Axis, values: Sequence[np.ndarray]) -> tuple[float, float, list[float]]:
  finite = np.concatenate([np.asarray(one, np.float64)[np.isfinite(one)] for one in values] or [np.empty(0)])
  if axis.log:
    finite = finite[finite > 0]
  low = axis.low if axis.low is not None else float(finite.min()) if finite.size else 0.0
  high = axis.high if axis.high is not None else float(finite.max()) if finite.size else 1.0
  if axis.log:
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    ticks = [10.0**power for power in range(first, max(last, first + 1) + 1)]
  else:
    ticks = nice_ticks(low, high)
  low, high = (
    axis.low if axis.low is not None else ticks[0],
    axis.high if axis.high is not None else ticks[-1],
  )
  slack = 1e-9 * (high - low)
  return low, high, [tick for tick in ticks if low - slack <= tick <= high + slack]


def _scale(axis: Axis, low: float, high: float, start: float, end: float) -> Callable[[float], float]:
  """Maps values to pixels, clipped to the ends of the axis."""
  if axis.log:
    low, high = math.log10(low), math.log10(high)

  def scale(value: float) -> float:
    place = math.log10(max(value, 1e-300)) if axis.log else value
    return start + (end - start) * min(1.0, max(0.0, (place - low) / (high - low)))

  return scale


def _label(value: float, axis: Axis, ticks: Sequence[float]) -> str:
  if axis.log:
    power = round(math.log10(value))
    return f'10<tspan dy="-5" font-size="9">{str(power).replace("-", "−")}</tspan>' if power else "1"
  step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(value) or 1.0
  if axis.percent:
    value, step = 100 * value, 100 * step
  largest = max(abs(tick) for tick in ticks)
  if largest >= 1e4 and not axis.percent:
    text = f"{value / 1e3:.{max(0, 3 - math.floor(math.log10(step) + 1e-9))}f}".rstrip("0").rstrip(".") + "k"
    text = "0" if value == 0 else text
  elif 0 < largest < 1e-3:
    text = "0" if value == 0 else f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")
  else:
    text = f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"
  return text.replace("-", "−") + (" %" if axis.percent else "")


def _path(line: Series, to_x: Callable[[float], float], to_y: Callable[[float], float], least: float) -> str:
  """Path data in tenths of pixels, without invisible points."""
  commands: list[str] = []
  previous: tuple[float, float] | None = None
  for x_value, y_value in zip(
    np.asarray(line.x, np.float64).tolist(), np.asarray(line.y, np.float64).tolist()
  ):
    if not (math.isfinite(x_value) and math.isfinite(y_value)):
      previous = None
      continue
    here = round(to_x(max(x_value, least)), 1), round(to_y(y_value), 1)
    if previous is None:
      commands.append(f"M{here[0]:g} {here[1]:g}")
    elif here == previous:
      continue
    elif line.step:
      across = f"H{here[0]:g}" if here[0] != previous[0] else ""
      down = f"V{here[1]:g}" if here[1] != previous[1] else ""
      if down and not across and commands[-1][0] == "V":
        commands.pop()  # replaces the previous vertical segment
      commands += [command for command in (across, down) if command]
    else:
      commands.append(f"L{here[0]:g} {here[1]:g}")
    previous = here
  return "".join(commands)


def _legend(series: Sequence[Series], frame: Frame) -> str:
  """Entries in one row above the plot, from the right."""
  parts, at, base = [], float(frame.right), frame.top - 18
  for line in reversed(series):
    at -= 7.2 * len(line.name)
    parts.append(f'<text x="{at:.0f}" y="{base}">{escape(line.name)}</text>')
    at -= 22
    parts.append(
      f'<line class="line {line.style}" x1="{at:.0f}" x2="{at + 16:.0f}" y1="{base - 4}" y2="{base - 4}"/>'
    )
    at -= 14
  return "".join(parts)


__all__ = ["Axis", "Mark", "Series", "chart", "escape", "histogram", "nice_ticks"]
