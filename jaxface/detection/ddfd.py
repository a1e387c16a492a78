"""DDFD, the Deep Dense Face Detector: heat maps of one convolutional network over an image pyramid.

Source: Farfade, Saberian, Li, "Multi-view Face Detection Using Deep Convolutional Neural Networks", 2015. `ddfd_net` says where the
network is smaller than the paper's.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxface.detection.cell_pyramid import CellCanvas, cell_canvases, drawn_canvases, found_windows
from jaxface.detection.ddfd_net import STRIDE, heat_map, net_of
from jaxface.detection.detections import Detections, split_photos
from jaxface.detection.keeping import Suppression, keep
from jaxface.detection.pyramid import check_search
from jaxface.detection.suppression import nms_average

SUPPRESSIONS = ("average", "maximum")


@dataclass(frozen=True)
class DdfdConfig:
  """Settings of the detector.

  Attributes:
    smallest: side of the smallest face in pixels; smaller ones are not found. Time grows with its inverse square.
    threshold: least score of a face.
    factor: ratio of a level of the pyramid to the one before it.
    suppression: "maximum" keeps the best of overlapping windows (NMS-max); "average" gives the mean of the best windows of each
      cluster (NMS-avg, `nms_average`).
    overlap: with "maximum", windows that overlap a better one by more are dropped; with "average", those that overlap by more are in one cluster.
    share: with "average", windows of a cluster with a lower share of its highest score are left out of the mean.
  """

  smallest: float = 24.0
  threshold: float = 0.5
  factor: float = 0.5 ** (1 / 3)
  suppression: str = "maximum"
  overlap: float = 0.3
  share: float = 0.9

  def __post_init__(self) -> None:
    check_search(self, "threshold", "overlap", "share")
    if self.suppression not in SUPPRESSIONS:
      raise ValueError(f"suppression is {self.suppression!r}: takes {', '.join(SUPPRESSIONS)}")


class Ddfd:
  """The detector, as `jaxface.detection.Detector` takes it.

  Levels of the pyramid lie side by side in canvases, so that one pass of the network gives the heat maps of several scales.

  Args:
    params: {"net": parameters of the network}.
    config: settings.
  Raises:
    ValueError: parameters of another network.
  """

  name = "ddfd"
  points = False

  def __init__(self, params: dict[str, Any], config: DdfdConfig | None = None):
    self.params = params
    self.config = config or DdfdConfig()
    self.net = net_of(params.get("net", {}))

  def canvases(self, height: int, width: int) -> tuple[CellCanvas, ...]:
    """The pyramid of photos of a size class."""
    config = self.config
    return cell_canvases(height, width, window=self.net.window, cell=STRIDE, smallest=float(config.smallest), factor=float(config.factor))

  def detect_batch(
    self, image_bhwc: np.ndarray, size_b2: np.ndarray, device: jax.Device | None = None
  ) -> list[Detections]:
    """Faces of a batch of photos of one size class, see `Detector`."""
    config, maps = self.config, self.heat_maps(image_bhwc, size_b2, device)
    photo_n, box_n4, score_n = found_windows(self.canvases(*image_bhwc.shape[1:3]), maps, config.threshold)
    if config.suppression == "average":
      kept, mean_m4 = nms_average(box_n4, score_n, config.overlap, share=config.share, group_n=photo_n)
      return split_photos(photo_n[kept], mean_m4.astype(np.float32), score_n[kept], size_b2)
    kept, score_m = keep(box_n4, score_n, photo_n, Suppression(overlap=config.overlap))
    return split_photos(photo_n[kept], box_n4[kept], score_m, size_b2)

  def heat_maps(self, image_bhwc: np.ndarray, size_b2: np.ndarray, device: jax.Device | None = None) -> list[np.ndarray]:
    """Scores of all windows: for each of `canvases` [B, K] float32 in 0..1, −inf outside of the photo.

    Args:
      image_bhwc, size_b2, device: as for `detect_batch`.
    """
    params, canvases = jax.device_put(self.params["net"], device), self.canvases(*image_bhwc.shape[1:3])
    drawn = drawn_canvases(canvases, image_bhwc, size_b2)
    return [
      canvas.values(np.asarray(heat_map(self.net, params, jax.device_put(drawn_bhwc, device))), size_b2)
      for canvas, drawn_bhwc in zip(canvases, drawn)
    ]


__all__ = ["SUPPRESSIONS", "Ddfd", "DdfdConfig"]
