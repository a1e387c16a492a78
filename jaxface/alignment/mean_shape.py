"""Where the points of each set are in a template."""

import numpy as np

from jaxface.alignment.points import check_point_set, means_matrix
from jaxface.alignment.similarity import fit_on_host
from jaxface.geometry import template

# The mean shape of the 783 annotated faces of HELEN's training part (Le et al., 2012; points of iBUG, Sagonas et al., 2013) in pixels
# of arcface112, made symmetric: python docs/make_mean_shape.py DATA/photos/helen_train.json
MEAN_SHAPE_68 = (
  (15.13, 54.47), (15.58, 65.13), (16.88, 75.67), (19.23, 85.91), (23.54, 95.38), (30.11, 103.53),
  (38.03, 110.21), (46.50, 115.53), (55.91, 117.05), (65.33, 115.53), (73.80, 110.21), (81.72, 103.53),
  (88.29, 95.38), (92.60, 85.91), (94.94, 75.67), (96.25, 65.13), (96.69, 54.47), (22.24, 46.08),
  (27.23, 41.23), (34.50, 39.57), (42.07, 40.45), (49.28, 42.97), (62.55, 42.97), (69.76, 40.45),
  (77.33, 39.57), (84.60, 41.23), (89.59, 46.08), (55.91, 51.83), (55.91, 58.76), (55.91, 65.53),
  (55.91, 72.53), (47.49, 77.65), (51.58, 78.95), (55.91, 80.11), (60.25, 78.95), (64.34, 77.65),
  (30.70, 53.05), (35.19, 50.43), (40.67, 50.48), (45.33, 54.09), (40.31, 55.03), (34.84, 54.95),
  (66.50, 54.09), (71.16, 50.48), (76.64, 50.43), (81.13, 53.05), (76.99, 54.95), (71.51, 55.03),
  (40.30, 90.48), (46.00, 88.08), (51.99, 86.70), (55.91, 87.74), (59.84, 86.70), (65.83, 88.08),
  (71.53, 90.48), (65.95, 95.97), (60.17, 98.43), (55.91, 98.88), (51.66, 98.43), (45.87, 95.97),
  (42.63, 90.74), (51.93, 90.13), (55.91, 90.58), (59.89, 90.13), (69.19, 90.74), (59.96, 93.18),
  (55.91, 93.68), (51.87, 93.18),
)


def template_points(name: str, count: int) -> np.ndarray:
  """Positions of a point set in an aligned image.

  Five points are those of the template, and two its eyes. The others are those of a mean face: a similarity brings the mean face's
  five points closest to the template's.

  Args:
    name: one of `jaxface.geometry.TEMPLATES`.
    count: number of points, in `POINT_SETS`.
  Returns:
    [count, 2] float64, (x, y) in pixels of the aligned image.
  Raises:
    KeyError: no such template; lists the names.
    ValueError: no such point set.
  """
  five_k2 = template(name).point_k2
  check_point_set(count)
  if count in (2, 5):
    return five_k2[:count]
  mean_k2 = np.array(MEAN_SHAPE_68)
  matrix_23 = fit_on_host(means_matrix(68, 5) @ mean_k2, five_k2)
  placed_k2 = mean_k2 @ matrix_23[:, :2].T + matrix_23[:, 2]
  if count == 68:
    return placed_k2
  reduced_k2 = means_matrix(68, count) @ placed_k2
  if count == 6:
    # The template's own five, so that six points differ from five by the sixth only.
    reduced_k2[:5] = five_k2
  return reduced_k2


__all__ = ["MEAN_SHAPE_68", "template_points"]
