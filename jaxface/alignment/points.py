"""The sets of face points that alignment accepts, and how a set follows from a larger one.

A set is named by its number of points. Left and right are as seen in the image.

  2   centres of the left and the right eye
  5   left eye, right eye, nose tip, left and right mouth corner: the order of `Template.points`
  6   the five, and the middle of the mouth
  21  left brow (left end, middle, right end), right brow, left eye (left corner, centre, right corner), right eye, left ear, nose
      (left, tip, right), right ear, mouth (left corner, middle, right corner), chin: the order of AFLW
  68  the order of iBUG's 300-W, from 0: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, mouth 48-67
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

POINT_SETS = (2, 5, 6, 21, 68)

# For each point of the smaller set, the points of the larger one whose mean it is.
_EYES = (tuple(range(36, 42)), tuple(range(42, 48)))
_MOUTH_MIDDLE = (62, 66)
_MEANS: dict[tuple[int, int], tuple[tuple[int, ...], ...]] = {
  (5, 2): ((0,), (1,)),
  (6, 2): ((0,), (1,)),
  (6, 5): ((0,), (1,), (2,), (3,), (4,)),
  (21, 2): ((7,), (10,)),
  (21, 5): ((7,), (10,), (14,), (17,), (19,)),
  (21, 6): ((7,), (10,), (14,), (17,), (19,), (18,)),
  (68, 2): _EYES,
  (68, 5): (*_EYES, (30,), (48,), (54,)),
  (68, 6): (*_EYES, (30,), (48,), (54,), _MOUTH_MIDDLE),
  (68, 21): (
    (17,), (19,), (21,), (22,), (24,), (26,), (36,), _EYES[0], (39,), (42,), _EYES[1], (45,),
    (0,), (31,), (30,), (35,), (16,), (48,), _MOUTH_MIDDLE, (54,), (8,),
  ),
}

# Position in the mirrored face of each point: left and right exchanged.
_MIRROR_68 = (
  *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
  54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
)
MIRROR_ORDER: dict[int, tuple[int, ...]] = {
  2: (1, 0),
  5: (1, 0, 2, 4, 3),
  6: (1, 0, 2, 4, 3, 5),
  21: (5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 16, 15, 14, 13, 12, 19, 18, 17, 20),
  68: _MIRROR_68,
}


def check_point_set(count: int) -> None:
  """Rejects a number of points that is no set.

  Args:
    count: number of points of a face.
  Raises:
    ValueError: the number is not in `POINT_SETS`.
  """
  if count not in POINT_SETS:
    raise ValueError(f"{count} points per face: needs {', '.join(map(str, POINT_SETS[:-1]))} or {POINT_SETS[-1]}")


def reduce_points(point_bk2: ArrayLike, count: int) -> Array:
  """A smaller point set from a larger one: single points, or means of several, such as of the six points around an eye.

  The middle of the mouth is the mean of the inner lips' middles. The ears of the 21 points are the ends of the jaw.

  Args:
    point_bk2: [..., K, 2] with K in `POINT_SETS`.
    count: number of points of the result, at most K.
  Returns:
    [..., count, 2].
  Raises:
    ValueError: K or count is no point set, or the result cannot follow from K points.
  """
  point_bk2 = jnp.asarray(point_bk2)
  known = point_bk2.shape[-2]
  check_point_set(known)
  check_point_set(count)
  if known == count:
    return point_bk2
  if (known, count) not in _MEANS:
    raise ValueError(f"{count} points cannot be derived from {known}: needs a set of at least {count} points")
  return jnp.einsum("ik,...kc->...ic", means_matrix(known, count).astype(point_bk2.dtype), point_bk2)


def means_matrix(known: int, count: int) -> np.ndarray:
  """The matrix [count, known] of `reduce_points`: rows sum to 1."""
  matrix = np.zeros((count, known))
  for row, columns in enumerate(_MEANS[known, count]):
    matrix[row, list(columns)] = 1 / len(columns)
  return matrix


def mirror_points(point_bk2: ArrayLike, width: ArrayLike) -> Array:
  """Points of the mirrored image, in the order of the set.

  Args:
    point_bk2: [..., K, 2] with K in `POINT_SETS`.
    width: width of the image in pixels, a number or broadcastable to the leading axes.
  Returns:
    [..., K, 2].
  Raises:
    ValueError: K is no point set.
  """
  point_bk2 = jnp.asarray(point_bk2)
  check_point_set(point_bk2.shape[-2])
  ordered = point_bk2[..., np.array(MIRROR_ORDER[point_bk2.shape[-2]]), :]
  return jnp.stack([jnp.asarray(width)[..., None] - 1 - ordered[..., 0], ordered[..., 1]], axis=-1)


__all__ = ["MIRROR_ORDER", "POINT_SETS", "check_point_set", "means_matrix", "mirror_points", "reduce_points"]
