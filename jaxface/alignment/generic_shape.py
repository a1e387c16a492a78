"""A generic face in three dimensions: the 67 points of the landmark files, points of the forehead, and triangles.

Its depth is that of our synthetic head; no person was measured. The numbers: python docs/make_generic_shape.py shape
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxface.alignment.points import MIRROR_ORDER
from jaxface.alignment.similarity import fit_on_host
from jaxface.geometry import template as find_template

# x and y in pixels of arcface112, z towards the viewer.
_POINTS_68 = (
  (18.39, 55.87, 12.45), (18.00, 65.54, 11.86), (20.00, 75.38, 12.58), (23.27, 84.38, 11.29), (26.94, 92.93, 11.35),
  (32.17, 101.01, 11.21), (39.55, 106.96, 15.20), (47.16, 112.48, 24.71), (55.91, 114.80, 25.45), (64.67, 112.48, 24.70),
  (72.28, 106.96, 15.19), (79.66, 101.01, 11.20), (84.89, 92.93, 11.34), (88.56, 84.38, 11.28), (91.82, 75.38, 12.59),
  (93.83, 65.54, 11.85), (93.43, 55.87, 12.47), (22.24, 46.08, 19.99), (27.23, 41.23, 28.72), (34.50, 39.57, 35.81),
  (42.07, 40.45, 39.43), (49.28, 42.97, 40.77), (62.55, 42.97, 40.77), (69.76, 40.45, 39.43), (77.33, 39.57, 35.81),
  (84.60, 41.23, 28.72), (89.59, 46.08, 19.98), (55.91, 51.83, 44.48), (55.91, 58.76, 43.40), (55.91, 65.53, 42.81),
  (55.91, 72.53, 50.36), (47.49, 77.65, 36.68), (51.58, 78.95, 36.86), (55.91, 80.11, 36.96), (60.25, 78.95, 36.86),
  (64.34, 77.65, 36.67), (30.70, 53.05, 29.87), (35.19, 50.43, 33.37), (40.67, 50.48, 36.25), (45.33, 54.09, 37.45),
  (40.31, 55.03, 35.59), (34.84, 54.95, 32.75), (66.50, 54.09, 37.45), (71.16, 50.48, 36.25), (76.64, 50.43, 33.37),
  (81.13, 53.05, 29.87), (76.99, 54.95, 32.75), (71.51, 55.03, 35.59), (40.30, 90.48, 31.07), (46.00, 88.08, 35.67),
  (51.99, 86.70, 37.58), (55.91, 87.74, 37.97), (59.84, 86.70, 37.58), (65.83, 88.08, 35.67), (71.53, 90.48, 31.06),
  (65.95, 95.97, 33.15), (60.17, 98.43, 34.62), (55.91, 98.88, 35.09), (51.66, 98.43, 34.62), (45.87, 95.97, 33.15),
  (42.63, 90.74, 33.24), (51.93, 90.13, 37.50), (55.91, 90.58, 37.80), (59.89, 90.13, 37.50), (69.19, 90.74, 33.24),
  (59.96, 93.18, 36.81), (55.91, 93.68, 37.03), (51.87, 93.18, 36.81),
)
_EXTRA = (
  (16.50, 38.00, 10.29), (22.00, 25.00, 20.60), (34.00, 27.00, 33.67), (55.91, 28.00, 40.70), (31.00, 10.00, 22.64),
  (43.00, 7.00, 28.83), (55.91, 6.00, 30.85),
)
_JAW_1 = (
  (18.60, 55.96, 13.10), (18.81, 65.68, 14.24), (20.20, 75.36, 13.16), (23.27, 84.38, 11.29), (26.94, 92.93, 11.35),
  (32.30, 100.85, 11.93), (39.55, 106.96, 15.20), (47.25, 112.05, 25.61), (55.91, 113.45, 27.97), (64.58, 112.05, 25.61),
  (72.28, 106.96, 15.19), (79.53, 100.85, 11.92), (84.89, 92.93, 11.34), (88.56, 84.38, 11.28), (91.62, 75.36, 13.17),
  (93.02, 65.68, 14.23), (93.22, 55.96, 13.12),
)
_JAW_2 = (
  (21.66, 57.27, 19.99), (22.03, 66.23, 20.62), (23.13, 75.08, 19.47), (25.10, 83.68, 16.65), (28.72, 91.64, 17.16),
  (34.24, 98.49, 19.02), (40.89, 104.10, 21.28), (48.01, 108.57, 29.41), (55.91, 109.84, 31.36), (63.82, 108.57, 29.40),
  (70.94, 104.10, 21.27), (77.59, 98.49, 19.02), (83.11, 91.64, 17.15), (86.73, 83.68, 16.64), (88.70, 75.08, 19.47),
  (89.80, 66.23, 20.61), (90.17, 57.27, 20.00),
)
_JAW_3 = (
  (24.92, 58.68, 24.61), (25.26, 66.78, 25.08), (26.25, 74.79, 23.82), (28.03, 82.57, 22.35), (31.31, 89.77, 22.86),
  (36.30, 95.96, 23.87), (42.32, 101.04, 24.73), (48.76, 105.08, 31.02), (55.91, 106.24, 32.62), (63.07, 105.08, 31.01),
  (69.51, 101.04, 24.73), (75.53, 95.96, 23.87), (80.52, 89.77, 22.86), (83.80, 82.57, 22.34), (85.57, 74.79, 23.83),
  (86.57, 66.78, 25.08), (86.90, 58.68, 24.61),
)
_MIDDLE_X = 55.913

# Mean square root of the distance of a measured point from the fitted camera's along x and y, in pixels of arcface112, over HELEN's 783
# annotated training faces, and the length over which these distances are alike: python docs/make_generic_shape.py spread FILE
_DEVIATION_67 = (
  (2.66, 3.62), (2.00, 2.36), (2.48, 2.13), (2.95, 2.31), (2.66, 2.54), (2.68, 2.54), (2.80, 3.34), (2.09, 4.23),
  (1.95, 2.65), (2.09, 4.23), (2.80, 3.34), (2.68, 2.54), (2.66, 2.54), (2.95, 2.31), (2.48, 2.13), (2.00, 2.36),
  (2.66, 3.62), (3.70, 3.10), (2.71, 1.99), (2.02, 1.94), (1.96, 2.04), (2.23, 2.27), (2.23, 2.27), (1.96, 2.04),
  (2.02, 1.94), (2.71, 1.99), (3.70, 3.10), (1.31, 2.04), (0.78, 1.33), (1.15, 1.87), (1.61, 2.58), (1.61, 1.67),
  (1.47, 1.68), (1.47, 1.90), (1.47, 1.68), (1.61, 1.67), (1.93, 1.39), (1.63, 1.61), (1.57, 1.65), (1.81, 1.49),
  (1.55, 1.48), (1.70, 1.42), (1.81, 1.49), (1.57, 1.65), (1.63, 1.61), (1.93, 1.39), (1.70, 1.42), (1.55, 1.48),
  (2.75, 2.37), (1.95, 2.00), (1.13, 2.06), (0.64, 2.09), (1.13, 2.06), (1.95, 2.00), (2.75, 2.37), (2.02, 2.21),
  (1.31, 2.81), (0.90, 2.86), (1.31, 2.81), (2.02, 2.21), (3.03, 1.99), (1.09, 2.00), (0.60, 1.10), (1.09, 2.00),
  (3.03, 1.99), (1.16, 2.52), (1.16, 2.52),
)
_ALIKE = 6.5

# The middles of the upper and of the lower inner lip, which meet in a closed mouth, are one of the 67 points.
_UPPER, _LOWER = 62, 66
_KEPT = (*range(_LOWER), 67)
JAW = 17


class GenericShape(NamedTuple):
  """The face in the frame of a template.

  Attributes:
    vertex_v3: [V, 3] float64 points: the 67 that are measured, then the others.
    jaw_cj3: [17, J, 3] the first 17 points, the jaw, and the same moved towards the middle of the face along the head, for outlines.
    mirror_v: [V] int, the vertex on the other side of the face.
    triangle_t3: [T, 3] int, Delaunay's triangles of x and y.
    normal_v3: [V, 3] unit vectors across the surface, towards the viewer.
    covariance: [134, 134] of the measured points about those of a fitted camera.
  """

  vertex_v3: np.ndarray
  jaw_cj3: np.ndarray
  mirror_v: np.ndarray
  triangle_t3: np.ndarray
  normal_v3: np.ndarray
  covariance: np.ndarray


def to_67(point_bk2: ArrayLike) -> np.ndarray:
  """The 67 points from iBUG's 68, [..., 67, 2] or [..., 67, 3]: the middles of the inner lips become one.

  Args:
    point_bk2: [..., 68, 2] or [..., 68, 3].
  Raises:
    ValueError: another number of points.
  """
  point_bk2 = np.asarray(point_bk2)
  if point_bk2.ndim < 2 or point_bk2.shape[-2] != 68:
    raise ValueError(f"points have shape {point_bk2.shape}: the generic face needs 68 points")
  found = point_bk2[..., _KEPT, :]
  found[..., _UPPER, :] = (point_bk2[..., _UPPER, :] + point_bk2[..., _LOWER, :]) / 2
  return found


@cache
def generic_shape(template: str = "arcface112") -> GenericShape:
  """The generic face in the frame of a template.

  Args:
    template: one of `jaxface.geometry.TEMPLATES`.
  Raises:
    KeyError: no such template.
  """
  from scipy.spatial import Delaunay

  matrix_23 = fit_on_host(find_template("arcface112").point_k2, find_template(template).point_k2)
  scale = float(np.hypot(*matrix_23[:, 0]))

  def placed(point_n3: np.ndarray) -> np.ndarray:
    return np.concatenate([point_n3[..., :2] @ matrix_23[:, :2].T + matrix_23[:, 2], scale * point_n3[..., 2:]], -1)

  measured_k3 = to_67(_POINTS_68)
  extra_e3 = np.array(_EXTRA)
  side_e = np.abs(extra_e3[:, 0] - _MIDDLE_X) > 0.01  # of the left half; the others are in the middle
  other_e3 = np.array([2 * _MIDDLE_X, 0, 0]) + extra_e3[side_e] * (-1, 1, 1)
  vertex_v3 = placed(np.concatenate([measured_k3, extra_e3, other_e3]))
  count = len(measured_k3)
  back = count + len(extra_e3) + np.arange(side_e.sum())
  extra_mirror = np.arange(count, count + len(extra_e3))
  extra_mirror[side_e] = back
  mirror_v = np.concatenate([_mirror_67(), extra_mirror, count + np.flatnonzero(side_e)])
  triangle_t3 = Delaunay(vertex_v3[:, :2]).simplices.astype(np.int32)
  jaw_cj3 = np.stack([placed(np.array(part)) for part in (_POINTS_68[:JAW], _JAW_1, _JAW_2, _JAW_3)], 1)
  return GenericShape(vertex_v3, jaw_cj3, mirror_v, triangle_t3, _normals(vertex_v3, triangle_t3), scale**2 * _covariance(measured_k3))


def _mirror_67() -> np.ndarray:
  place = {old: new for new, old in enumerate(_KEPT)} | {_LOWER: _UPPER}
  return np.array([place[MIRROR_ORDER[68][old]] if old != _UPPER else _UPPER for old in _KEPT])


def _normals(vertex_v3: np.ndarray, triangle_t3: np.ndarray) -> np.ndarray:
  """Unit normals of vertices: sums of those of their triangles, by area, towards the viewer."""
  a, b, c = np.moveaxis(vertex_v3[triangle_t3], 1, 0)
  normal_t3 = np.cross(b - a, c - a)
  normal_t3 *= np.sign(normal_t3[:, 2:])
  found = np.zeros_like(vertex_v3)
  for corner in range(3):
    np.add.at(found, triangle_t3[:, corner], normal_t3)
  return found / np.linalg.norm(found, axis=1, keepdims=True)


def _covariance(measured_k3: np.ndarray) -> np.ndarray:
  """Of neighbouring points alike: deviations of both times exp(−distance / length), along x and y apart."""
  away_kk = np.linalg.norm(measured_k3[:, None, :2] - measured_k3[None, :, :2], axis=-1)
  alike_kk = np.exp(-away_kk / _ALIKE)
  deviation_k2 = np.array(_DEVIATION_67)
  found = np.zeros((len(measured_k3), 2, len(measured_k3), 2))
  for axis in range(2):
    found[:, axis, :, axis] = deviation_k2[:, None, axis] * deviation_k2[None, :, axis] * alike_kk
  return found.reshape(2 * len(measured_k3), -1)


__all__ = ["JAW", "GenericShape", "generic_shape", "to_67"]
