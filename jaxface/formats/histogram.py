"""Images per identity as a histogram with doubling bins: text for the terminal, SVG for a page."""

from __future__ import annotations

import html
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
  """Draws bars as a self-contained SVG.

  Args:
    bins: result of `doubling_bins`.
    title: title of the picture; plain text.
  Returns:
    An SVG document.
  """
  most = max(count for _, count in bins)
  left, top, line, reach = 110, 56, 26, 480
  height = top + line * len(bins) + 40
  parts = [
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {height}" width="680" height="{height}" '
    'font-family="system-ui, sans-serif" font-size="13">',
    '<rect width="100%" height="100%" fill="#fff"/>',
    f'<text x="20" y="28" font-size="16" font-weight="600" fill="#222">{html.escape(title)}</text>',
  ]
  for number, (label, count) in enumerate(bins):
    y = top + number * line
    length = reach * count / most
    parts.append(f'<text x="{left - 10}" y="{y + 14}" text-anchor="end" fill="#555">{label}</text>')
    parts.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{line - 7}" rx="2" fill="#3b6ea8"/>')
    parts.append(f'<text x="{left + length + 6:.1f}" y="{y + 14}" fill="#222">{count:,}</text>')
  parts.append(f'<text x="{left}" y="{height - 14}" fill="#777">identities, by their number of images</text></svg>')
  return "\n".join(parts) + "\n"


__all__ = ["as_svg", "as_text", "doubling_bins"]
