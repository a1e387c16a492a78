"""Alignment templates by name: the positions of five points of a face in an aligned image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Template:
  """Positions of the points of a face in an aligned image.

  Args:
    name: the name that packed sets and models record.
    size: (height, width) of the aligned image in pixels.
    points: (x, y) in pixels of left eye, right eye, nose, left and right mouth corner, as seen in the image.
    source: where the numbers come from.
  """

  name: str
  size: tuple[int, int]
  points: tuple[tuple[float, float], ...]
  source: str

  @property
  def point_k2(self) -> np.ndarray:
    """The points as [5, 2] float64, x before y."""
    return np.array(self.points, dtype=np.float64)


_ARCFACE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))

TEMPLATES: dict[str, Template] = {
  template.name: template
  for template in (
    Template("arcface112", (112, 112), _ARCFACE, "Deng et al., ArcFace, 2019: the reference implementation"),
    Template(
      "sphereface96x112",
      (112, 96),
      tuple((round(x - 8, 4), y) for x, y in _ARCFACE),
      "Liu et al., SphereFace, 2017: the reference implementation",
    ),
    Template(
      "lightcnn128",
      (128, 128),
      tuple((x * 128 / 112, y * 128 / 112) for x, y in _ARCFACE),
      "arcface112 scaled by 128/112, for the input of Wu et al., Light CNN, 2018",
    ),
  )
}


def check_template_name(field: str, name: str) -> None:
  """Rejects a name that is no template.

  Args:
    field: the option or field that holds the name, for the message.
    name: one of `TEMPLATES`, "none" for faces aligned to no template, or "" if unknown.
  Raises:
    ValueError: another name; lists the valid ones.
  """
  if name and name != "none" and name not in TEMPLATES:
    raise ValueError(f"{field} is {name!r}, should be one of {', '.join(TEMPLATES)}, none, or empty if unknown")


def unknown_template(option: str) -> str:
  """A message for users whose images do not record an alignment template.

  Args:
    option: the option that sets it, such as "--template".
  """
  return (
    f"the alignment of the faces is unknown, and cannot be inferred from the image size: if they follow a template, set it with {option} "
    f"({', '.join(TEMPLATES)})."
  )


def template(name: str) -> Template:
  """Looks a template up.

  Args:
    name: one of `TEMPLATES`.
  Returns:
    The template.
  Raises:
    KeyError: no such template; lists the names.
  """
  if name not in TEMPLATES:
    raise KeyError(f"no template {name!r}; there are {', '.join(sorted(TEMPLATES))}")
  return TEMPLATES[name]
