"""A picture of a confusion matrix."""

import io
from typing import Any

import numpy as np

from jaxface.evaluation.measures.confusion import Confusion

# Numbers are written into the cells of so many classes at most, names of more are left out.
_NUMBERS, _NAMES = 20, 50


def draw_confusion(confusion: Confusion, title: str = "") -> str:
  """A confusion matrix as an SVG file: shares of each true class as shades, samples as numbers.

  Args:
    confusion: from `confusion_matrix`.
    title: heading; "" for none.
  Returns:
    The text of the file; equal matrices give equal text.
  """
  import matplotlib
  from matplotlib.backends.backend_svg import FigureCanvasSVG
  from matplotlib.figure import Figure

  names, share_cc = [str(label) for label in confusion.label.tolist()], confusion.share
  settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "jaxface", "text.parse_math": False, "font.size": 9}
  with matplotlib.rc_context(settings):
    figure = Figure((5.2, 4.6), dpi=72, layout="constrained")
    FigureCanvasSVG(figure)
    axes: Any = figure.add_subplot()
    image = axes.imshow(share_cc, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class")
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    if len(names) <= _NAMES:
      axes.set_xticks(range(len(names)), names, rotation=0 if max(map(len, names)) < 4 else 90)
      axes.set_yticks(range(len(names)), names)
    if len(names) <= _NUMBERS:
      for row, column in zip(*np.nonzero(confusion.samples)):
        ink = "white" if share_cc[row, column] > 0.5 else "black"
        axes.text(column, row, str(confusion.samples[row, column]), ha="center", va="center", color=ink)
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
  return stream.getvalue()


__all__ = ["draw_confusion"]
