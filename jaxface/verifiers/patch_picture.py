"""A picture of selected patches on a face, and their search as a table."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.formats.atomic import atomic_file, write_text
from jaxface.geometry.patches import Patch, boxes
from jaxface.geometry.templates import Template
from jaxface.verifiers.patch_features import MIRRORED
from jaxface.verifiers.patch_selection import Selection

COLUMNS = ("group", "action", "patch", "size", "accuracy", "tuning_accuracy")
SUFFIXES = (".png", ".svg", ".pdf")


def trace_csv(selection: Selection) -> str:
  """The steps of a search as CSV: group, action, patch, size, and the accuracies on both lists as shares."""
  file = io.StringIO()
  writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
  writer.writeheader()
  writer.writerows(selection.rows())
  return file.getvalue()


def write_trace(path: str | Path, selection: Selection) -> None:
  """Writes `trace_csv`, atomically."""
  write_text(path, trace_csv(selection))


def patch_box(name: str, patches: Sequence[Patch], face: Template, size: tuple[int, int]) -> tuple[float, float, float, float]:
  """(left, top, width, height) of a patch in an image of a face, in pixels; a patch of the mirrored face is where it shows on the face.

  Args:
    name: name of a patch, with or without "_mirrored".
    patches: the networks' patches.
    face: template of the face.
    size: (height, width) of the image.
  Raises:
    ValueError: an unknown name.
  """
  plain = name.removesuffix(MIRRORED)
  found = [patch for patch in patches if patch.name == plain]
  if not found:
    raise ValueError(f"patch {name!r}: the network has {', '.join(patch.name for patch in patches[:5])}{', …' if len(patches) > 5 else ''}")
  y, x, height, width = boxes(found, face, size)[0].tolist()
  if name.endswith(MIRRORED):
    x = size[1] - 1 - x
  return x - width / 2, y - height / 2, width, height


def draw_patches(
  path: str | Path, groups: Sequence[Sequence[str]], patches: Sequence[Patch], face: Template, *, face_hwc: np.ndarray | None = None,
) -> None:
  """Draws the patches of each group as boxes on a face, numbered in the order of selection; grey patches are dashed. Written atomically.

  Args:
    path: .png, .svg or .pdf.
    groups: names of patches.
    patches: the networks' patches.
    face: template of the face.
    face_hwc: [H, W, 3] uint8, an aligned face, such as the mean of many; None draws one from the points of the template.
  Raises:
    ValueError: an unknown suffix or patch, or no groups.
  """
  path = Path(path)
  if path.suffix.lower() not in SUFFIXES:
    raise ValueError(f"{path}: pictures are written as {', '.join(SUFFIXES)}")
  if not groups:
    raise ValueError("no groups to draw")
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure
  from matplotlib.patches import Rectangle

  columns = min(4, len(groups))
  rows = -(-len(groups) // columns)
  figure = Figure(figsize=(3 * columns, 3.3 * rows), dpi=120, layout="constrained")
  FigureCanvasAgg(figure)
  size = face.size if face_hwc is None else face_hwc.shape[:2]
  by_name = {patch.name: patch for patch in patches}
  for number, group in enumerate(groups, 1):
    axes = figure.add_subplot(rows, columns, number)
    if face_hwc is None:
      _draw_face(axes, face)
    else:
      axes.imshow(face_hwc)
    for order, name in enumerate(group):
      left, top, width, height = patch_box(name, patches, face, size)
      colour = f"C{order % 10}"
      dashes = "--" if by_name[name.removesuffix(MIRRORED)].colour == "grey" else "-"
      axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=colour, linestyle=dashes, linewidth=1.2))
      # Boxes of one position share their centre: numbers go along the upper edge.
      axes.text(left + width * (order % 5 + 0.5) / 5, top, str(order + 1), color=colour, fontsize=7, ha="center", va="bottom")
    axes.set(xlim=(-0.5, size[1] - 0.5), ylim=(size[0] - 0.5, -0.5), xticks=[], yticks=[], title=f"group {number}: {len(group)} patches")
  with atomic_file(path) as file:
    # Without a date, so that equal selections give equal files.
    dates: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}
    figure.savefig(file, format=path.suffix[1:].lower(), metadata=dates[path.suffix.lower()])


def _draw_face(axes: Any, face: Template) -> None:
  """A face of an oval, eyes, nose and mouth at the points of a template."""
  from matplotlib.patches import Ellipse

  point_k2 = np.asarray(face.point_k2)
  eyes, mouth = point_k2[:2].mean(0), point_k2[3:].mean(0)
  unit, (x, y) = float(mouth[1] - eyes[1]), (eyes + mouth) / 2
  axes.add_patch(Ellipse((x, y), 2.0 * unit, 2.8 * unit, facecolor="0.93", edgecolor="0.6"))
  for eye in point_k2[:2]:
    axes.add_patch(Ellipse(eye, 0.42 * unit, 0.2 * unit, facecolor="white", edgecolor="0.6"))
    axes.add_patch(Ellipse(eye, 0.14 * unit, 0.14 * unit, facecolor="0.5"))
  nose = point_k2[2]
  axes.plot([eyes[0], nose[0] - 0.12 * unit, nose[0] + 0.12 * unit], [eyes[1] + 0.1 * unit, nose[1] + 0.05 * unit, nose[1] + 0.05 * unit], color="0.6")
  axes.plot(point_k2[3:, 0], point_k2[3:, 1], color="0.5", linewidth=2)
  axes.set_aspect("equal")


__all__ = ["COLUMNS", "SUFFIXES", "draw_patches", "patch_box", "trace_csv", "write_trace"]
