"""Images per identity as a histogram with doubling bins: text for the terminal, SVG for a page."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import numpy as np

Bin = tuple[str, int]


def doubling_bins(images: Sequence[int]) -> list[Bin]:
  """Counts identities by their number of images: 1, 2, 3–4, 5–8, 9–16, …

  Args:
    images: number of images of each identity, each at least 1.
  Returns:
    (range of images, number of identities) up to the last bin that is not empty.
  """
  exponent_n = np.ceil(np.log2(np.asarray(images))).astype(int)
  bins = []
  for exponent, count in enumerate(np.bincount(exponent_n).tolist()):
    low, high = 2**exponent // 2 + 1, 2**exponent
    bins.append((f"{low}–{high}" if low < high else f"{high}", count))
  return bins


def as_text(bins: Sequence[Bin], width: int = 50) -> str:
  """Draws bars of block characters, with a resolution of an eighth of a character.

  Args:
    bins: result of `doubling_bins`.
    width: width of the longest bar, in characters.
  Returns:
    A line per bin.
  """
  most = max(count for _, count in bins)
  lines = [f"{'images':>11}  identities"]
  for label, count in bins:
    eighths = -(-count * width * 8 // most)
    bar = "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]
    lines.append(f"{label:>11}  {bar} {count:,}")
  return "\n".join(lines)


def as_svg(bins: Sequence[Bin], title: str) -> str:
  """Draws bars as a self-contained SVG; equal counts give equal text.

  Args:
    bins: result of `doubling_bins`.
    title: title of the picture; plain text.
  Returns:
    An `<svg>` element, which is also a document.
  """
  import matplotlib
  from matplotlib.backends.backend_svg import FigureCanvasSVG
  from matplotlib.figure import Figure

  with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "jaxface", "text.parse_math": False, "font.size": 10}):
    figure = Figure((9, 1.3 + 0.32 * len(bins)), dpi=72, layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    bars = axes.barh([label for label, _ in bins], [count for _, count in bins], color="#3b6ea8")
    axes.bar_label(bars, labels=[f"{count:,}" for _, count in bins], padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=13, fontweight="semibold")
    axes.set_xlabel("identities")
    axes.set_ylabel("images per identity")
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
  svg = stream.getvalue()
  return re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", svg[svg.index("<svg") :], flags=re.DOTALL)


__all__ = ["as_svg", "as_text", "doubling_bins"]
