"""The faceness of windows: how much of the response of each part network lies where the part is in a face.

Source: Yang, Luo, Loy, Tang, "From Facial Parts Responses to Face Detection: A Deep Learning Approach", 2015, section 3.2: sums by
integral images, the quotient of the response in the part's region and elsewhere in the window, and regions learned from labelled windows.
The share of the whole is used here instead of the quotient, of which it is an increasing function that has an upper bound.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.detection.area import integral
from jaxface.detection.part_nets import PARTS, PATCH, STRIDE

# Side of a window in pixels, and patches beside each other in it.
WINDOW = 48
GRID = (WINDOW - PATCH) // STRIDE + 1
# The response of one patch, added to that of a window: windows without any response have a low faceness.
LEAST = 255

# top, left, bottom, right in patches of a window; bottom and right are after the last one.
Region = tuple[int, int, int, int]


@partial(jax.jit, static_argnames="regions")
def faceness_map(map_brcp: Array, regions: tuple[Region, ...]) -> Array:
  """Faceness of the windows that begin at each fourth pixel: [B, rows − 8, columns − 8] float32 in 0..1, the mean over the parts.

  Args:
    map_brcp: [B, rows, columns, 5] uint8, see `part_maps`.
    regions: of the parts, see `fit_regions`.
  """
  sums_bcrp = integral(map_brcp)
  columns, rows = (length - GRID for length in sums_bcrp.shape[1:3])

  def total(part: int, region: Region) -> Array:
    top, left, bottom, right = region

    def at(x: int, y: int) -> Array:
      return sums_bcrp[:, x : x + columns, y : y + rows, part]

    return at(right, bottom) - at(left, bottom) - at(right, top) + at(left, top)

  shares = [total(part, region) / (total(part, (0, 0, GRID, GRID)) + LEAST) for part, region in enumerate(regions)]
  return jnp.mean(jnp.stack(shares), 0).swapaxes(1, 2).astype(jnp.float32)


def candidate_regions() -> list[Region]:
  """All regions of at least two by two patches that are symmetric from left to right, as a frontal face is."""
  spans = [(low, high) for low in range(GRID) for high in range(low + 2, GRID + 1)]
  return [(top, left, bottom, GRID - left) for top, bottom in spans for left in range(GRID // 2)]


def fit_regions(map_nrcp: np.ndarray, face_n: np.ndarray) -> tuple[tuple[Region, ...], np.ndarray]:
  """For each part the region whose share of the response tells faces from other windows best, by the area under the ROC curve.

  Args:
    map_nrcp: [N, 9, 9, 5] uint8 maps of windows.
    face_n: [N] bool, which of them are faces.
  Returns:
    The regions of `PARTS`, and [5] their areas under the curve.
  Raises:
    ValueError: there is no window with or none without a face, or maps of another size.
  """
  from scipy.stats import rankdata

  if map_nrcp.shape[1:] != (GRID, GRID, len(PARTS)):
    raise ValueError(f"maps of {map_nrcp.shape[1:]}: needs [N, {GRID}, {GRID}, {len(PARTS)}]")
  faces, others = int(face_n.sum()), int((~face_n).sum())
  if not faces or not others:
    raise ValueError(f"{faces:,} windows with a face and {others:,} without: needs some of each")
  sums_nrcp = np.pad(map_nrcp.astype(np.int64).cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0), (0, 0)))
  whole_np = sums_nrcp[:, -1, -1] + LEAST
  candidates, area_cp = candidate_regions(), []
  for top, left, bottom, right in candidates:
    inside_np = sums_nrcp[:, bottom, right] - sums_nrcp[:, top, right] - sums_nrcp[:, bottom, left] + sums_nrcp[:, top, left]
    rank_np = rankdata(inside_np / whole_np, axis=0)
    area_cp.append((rank_np[face_n].sum(0) - faces * (faces + 1) / 2) / (faces * others))
  best_p = np.argmax(area_cp, 0)
  return tuple(candidates[best] for best in best_p), np.max(area_cp, 0)


def regions_of(array_p4: np.ndarray) -> tuple[Region, ...]:
  """Regions from an array, as they are stored.

  Raises:
    ValueError: another shape, or a region outside of a window.
  """
  array_p4 = np.asarray(array_p4)
  if array_p4.shape != (len(PARTS), 4) or array_p4.dtype.kind not in "iu":
    raise ValueError(f"regions are {array_p4.dtype} {array_p4.shape}: needs whole numbers ({len(PARTS)}, 4)")
  top_p, left_p, bottom_p, right_p = array_p4.T
  if (array_p4 < 0).any() or (array_p4 > GRID).any() or (top_p >= bottom_p).any() or (left_p >= right_p).any():
    raise ValueError(f"regions are {array_p4.tolist()}: needs top, left, bottom, right in 0..{GRID}")
  return tuple((int(top), int(left), int(bottom), int(right)) for top, left, bottom, right in array_p4.tolist())


__all__ = ["GRID", "LEAST", "WINDOW", "Region", "candidate_regions", "faceness_map", "fit_regions", "regions_of"]
