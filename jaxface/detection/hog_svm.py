"""A linear classifier of histograms of oriented gradients, in all windows of an image pyramid.

Source: N. Dalal, B. Triggs, "Histograms of Oriented Gradients for Human Detection", 2005, with windows of faces instead of people.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.data.image_statistics import grey_images
from jaxface.descriptors import hog
from jaxface.detection.cell_pyramid import CellCanvas, cell_canvases, draw_levels, found_windows
from jaxface.detection.detections import Detections, split_photos
from jaxface.detection.keeping import Suppression, keep
from jaxface.detection.pyramid import check_search

BLOCK = 2
_FINAL = Suppression(overlap=0.3)


@dataclass(frozen=True)
class HogSvmConfig:
  """Settings of the detector.

  Attributes:
    cell: side of a cell in pixels, of which the classifier was trained; windows are one cell apart.
    smallest: side of the smallest face in pixels; smaller ones are not found. Time grows with its inverse square.
    threshold: least score of a face.
    factor: ratio of a level of the pyramid to the one before it.
    final: suppression in the photo.
  """

  cell: int = 6
  smallest: float = 24.0
  threshold: float = 0.5
  factor: float = 0.9
  final: Suppression = _FINAL

  def __post_init__(self) -> None:
    if self.cell < 1:
      raise ValueError(f"cell is {self.cell}, should be at least 1 pixel")
    check_search(self, "threshold")


@partial(jax.jit, static_argnames="cell")
def block_map(canvas_bhw: Array, cell: int) -> Array:
  """Blocks of HOG of canvases [B, h, w] (`draw_levels`): [B, block rows, block columns, 36]."""
  found = hog(canvas_bhw, cell=cell, block=BLOCK)
  return found.reshape(*found.shape[:3], -1)


@partial(jax.jit, static_argnames="cell")
def crop_blocks(grey_nhw: Array, cell: int) -> Array:
  """Blocks of HOG of crops that are a window each, [N, n, n, 36]; the edge is repeated around a crop.

  Args:
    grey_nhw: [N, side, side], with a side of n + 1 cells.
    cell: side of a cell in pixels.
  """
  edge_nhw = jnp.pad(jnp.asarray(grey_nhw, jnp.float32), ((0, 0), (cell, cell), (cell, cell)), mode="edge")
  found = hog(edge_nhw, cell=cell, block=BLOCK)[:, 1:-1, 1:-1]
  return found.reshape(*found.shape[:3], -1)


@partial(jax.jit, static_argnames="cell")
def margin_map(params: Any, canvas_bhw: Array, cell: int) -> Array:
  """The classifier's value in the window that begins at each cell of canvases: [B, rows, columns] float32, above 0 for faces.

  Args:
    params: {"kernel": [n, n, 36], "bias": [1]}.
    canvas_bhw: [B, h, w] of one size.
    cell: side of a cell in pixels.
  """
  found = jax.lax.conv_general_dilated(
    block_map(canvas_bhw, cell), params["kernel"][..., None], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"),
    precision=jax.lax.Precision.HIGHEST,
  )
  return found[..., 0] + params["bias"][0]


class HogSvm:
  """The detector, as `jaxface.detection.Detector` takes it.

  A score is the logistic function of the classifier's value; it is no probability.

  Args:
    params: {"svm": {"kernel": [n, n, 36], "bias": [1]}}, weights of the n × n blocks of a window.
    config: settings.
  Raises:
    ValueError: parameters of other shapes.
  """

  name = "hogsvm"
  points = False

  def __init__(self, params: dict[str, Any], config: HogSvmConfig | None = None):
    kernel = np.shape(params.get("svm", {}).get("kernel", ()))
    if len(kernel) != 3 or kernel[0] != kernel[1] or kernel[2] != 9 * BLOCK**2 or np.shape(params["svm"].get("bias")) != (1,):
      raise ValueError(f"a kernel of shape {kernel}: a HOG classifier has [n, n, {9 * BLOCK**2}] and a bias [1]")
    self.params = params
    self.config = config or HogSvmConfig()

  @property
  def window(self) -> int:
    """Side of a window in pixels."""
    return (self.params["svm"]["kernel"].shape[0] + BLOCK - 1) * self.config.cell

  def canvases(self, height: int, width: int) -> tuple[CellCanvas, ...]:
    """The pyramid of photos of a size class."""
    config = self.config
    return cell_canvases(height, width, window=self.window, cell=config.cell, smallest=float(config.smallest), factor=float(config.factor))

  def detect_batch(
    self, image_bhwc: np.ndarray, size_b2: np.ndarray, device: jax.Device | None = None
  ) -> list[Detections]:
    """Faces of a batch of photos of one size class, see `Detector`."""
    least = self._margin(self.config.threshold)
    values = self.margins(image_bhwc, size_b2, device)
    photo_n, box_n4, margin_n = found_windows(self.canvases(*image_bhwc.shape[1:3]), values, least)
    kept, score_n = keep(box_n4, 1 / (1 + np.exp(-margin_n)), photo_n, self.config.final)
    return split_photos(photo_n[kept], box_n4[kept], score_n, size_b2)

  def margins(self, image_bhwc: np.ndarray, size_b2: np.ndarray, device: jax.Device | None = None) -> list[np.ndarray]:
    """The classifier's value in all windows: for each of `canvases` [B, K] float32, −inf outside of the photo.

    Args:
      image_bhwc, size_b2, device: as for `detect_batch`.
    """
    grey = [grey_images(image[None, :height, :width])[0] for image, (height, width) in zip(image_bhwc, size_b2)]
    params, found = jax.device_put(self.params["svm"], device), []
    for canvas in self.canvases(*image_bhwc.shape[1:3]):
      drawn_bhw = np.stack([draw_levels(one, canvas) for one in grey])
      found.append(canvas.values(np.asarray(margin_map(params, jax.device_put(drawn_bhw, device), canvas.cell)), size_b2))
    return found

  @staticmethod
  def _margin(score: float) -> float:
    """The value whose logistic function is a score."""
    return float(np.log(score) - np.log1p(-score)) if 0 < score < 1 else (-np.inf if score <= 0 else np.inf)


__all__ = ["BLOCK", "HogSvm", "HogSvmConfig", "block_map", "crop_blocks", "margin_map"]
