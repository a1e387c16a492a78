"""The landmark network, the supervised descent method, LBP with SVR or the five-point cascade on photos with detected boxes."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from jaxface.alignment.cascade import cascade
from jaxface.alignment.iterate import align_iteratively
from jaxface.alignment.landmark_net import landmarknet, mean_points
from jaxface.alignment.lbpsvr import lbpsvr
from jaxface.alignment.points import mirror_points
from jaxface.alignment.sdm import sdm
from jaxface.alignment.squares import box_square
from jaxface.models.saved import SavedModel, load_model

BATCH = 32
# What finds points; importing them registers them.
NETWORKS = (landmarknet.__name__, sdm.__name__, lbpsvr.__name__, cascade.__name__)


class LandmarkFinder:
  """Finds points of faces in photos.

  Args:
    saved: a trained landmark network, supervised descent method, LBP with SVR or cascade, or the folder of one.
    passes: how often points are found; from the second time on in a square that the points before have turned upright.
    mirror: average the points of a square and of its mirror image.
  Raises:
    ValueError: the model is no landmark network.
  """

  def __init__(self, saved: SavedModel | Path | str, *, passes: int = 3, mirror: bool = True):
    self.saved = saved if isinstance(saved, SavedModel) else load_model(saved)
    if self.saved.name not in NETWORKS:
      raise ValueError(f"the model is {self.saved.name}, should be {', '.join(NETWORKS[:-1])} or {NETWORKS[-1]}")
    self.passes, self.mirror = passes, mirror
    self.points = int(self.saved.module.points)  # type: ignore[attr-defined]
    self._embed = jax.jit(self.saved.embed)

  def __call__(self, photos: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> np.ndarray:
    """Points of one face in each photo; a photo with several faces is given several times.

    Args:
      photos: [H, W, 3] uint8 each.
      boxes: (x0, y0, x1, y1) each, in pixels.
    Returns:
      [N, K, 2] float64, (x, y) in pixels of the photo.
    Raises:
      ValueError: a box that is empty, not finite or outside of its photo, with its number.
    """
    if len(photos) != len(boxes):
      raise ValueError(f"{len(photos)} photos and {len(boxes)} boxes: needs one box for each photo")
    side = self.saved.preprocess.size[0]
    matrices = []
    for index, box in enumerate(boxes):
      try:
        matrices.append(box_square(box, side))
      except ValueError as error:
        raise ValueError(f"face {index}: {error}") from error
    found = align_iteratively(
      photos, matrices, self.find_in_squares, mean_points(self.points, side), (side, side), passes=self.passes,
    )
    return found.point_nk2

  def find_in_squares(self, square_nhwc: np.ndarray) -> np.ndarray:
    """Points in squares [N, side, side, 3] uint8 of faces: [N, K, 2], in pixels of the squares."""
    found = self._regress(square_nhwc)
    if not self.mirror:
      return found
    mirrored = self._regress(square_nhwc[:, :, ::-1])
    return (found + np.asarray(mirror_points(mirrored, square_nhwc.shape[2]))) / 2

  def _regress(self, square_nhwc: np.ndarray) -> np.ndarray:
    rows = []
    for start in range(0, len(square_nhwc), BATCH):
      part = square_nhwc[start : start + BATCH]
      full = np.zeros((BATCH, *part.shape[1:]), np.uint8)
      full[: len(part)] = part
      rows.append(np.asarray(self._embed(self.saved.variables, full))[: len(part)])
    return np.concatenate(rows).reshape(len(square_nhwc), -1, 2) if rows else np.zeros((0, self.points, 2))


__all__ = ["LandmarkFinder"]
