"""Faceness: windows ranked by the responses of part networks, then a network that judges the best ones and corrects their boxes.

Source: Yang, Luo, Loy, Tang, "From Facial Parts Responses to Face Detection: A Deep Learning Approach", 2015. The paper ranks the proposals
of generic methods (selective search, edge boxes and others); here the proposals are all square windows of an image pyramid.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.detection.cell_pyramid import CellCanvas, cell_canvases, drawn_canvases, found_windows
from jaxface.detection.ddfd_net import HeatMapNet, net_of
from jaxface.detection.detections import Detections, split_photos
from jaxface.detection.faceness_score import WINDOW, faceness_map, regions_of
from jaxface.detection.keeping import Suppression, keep
from jaxface.detection.mtcnn import photo_sums
from jaxface.detection.mtcnn_nets import normalise
from jaxface.detection.part_nets import STRIDE, nets_of, part_maps
from jaxface.detection.part_sampling import FACE_SHARE
from jaxface.detection.pyramid import check_search
from jaxface.detection.size_classes import padded_rows, row_class
from jaxface.detection.square_crops import cut_squares
from jaxface.geometry.rectangles import decode_boxes
from jaxface.losses.detection import BOXES

# Windows of a photo that are compared with each other, the best ones; most crops in one call of the network.
MOST_WINDOWS, MOST_CROPS = 2048, 128


@dataclass(frozen=True)
class FacenessConfig:
  """Settings of the detector.

  Attributes:
    smallest: side of the smallest face in pixels; smaller ones are not found. Time grows with its inverse square.
    faceness: least faceness of a window.
    proposals: most windows of a photo that the network judges, the best ones.
    spread: of windows that overlap by more, the one with the largest faceness is a proposal.
    threshold: least score of a face.
    factor: ratio of a level of the pyramid to the one before it.
    overlap: faces that overlap a better one by more are dropped.
  """

  smallest: float = 24.0
  faceness: float = 0.2
  proposals: int = 200
  spread: float = 0.6
  threshold: float = 0.5
  factor: float = 0.5**0.5
  overlap: float = 0.3

  def __post_init__(self) -> None:
    check_search(self, "faceness", "spread", "threshold", "overlap")
    if not self.proposals >= 1:
      raise ValueError(f"proposals is {self.proposals}, should be at least 1")


@partial(jax.jit, static_argnames="net")
def judge(net: HeatMapNet, params: Any, crop_nhwc: Array) -> tuple[Array, Array]:
  """Probabilities of a face [N] and offsets of its box [N, 4] of crops in 0..255."""
  found_n6 = jnp.asarray(net.apply({"params": params}, normalise(crop_nhwc))).reshape(len(crop_nhwc), BOXES)
  return jax.nn.softmax(found_n6[:, :2])[:, 1], found_n6[:, 2:]


class Faceness:
  """The detector, as `jaxface.detection.Detector` takes it.

  Args:
    params: {"parts": parameters of the part networks, "regions": [5, 4] of the parts, "judge": parameters of the second network}; without
      the last one it makes proposals only.
    config: settings.
  Raises:
    ValueError: parameters of other networks.
  """

  name = "faceness"
  points = False

  def __init__(self, params: dict[str, Any], config: FacenessConfig | None = None):
    self.params = params
    self.config = config or FacenessConfig()
    self.nets = nets_of(params.get("parts", {}))
    self.regions = regions_of(params.get("regions", np.zeros(0)))
    self.net = net_of(params["judge"], BOXES) if "judge" in params else None

  def canvases(self, height: int, width: int) -> tuple[CellCanvas, ...]:
    """The pyramid of photos of a size class."""
    config = self.config
    return cell_canvases(height, width, window=WINDOW, cell=STRIDE, smallest=float(config.smallest) / FACE_SHARE, factor=float(config.factor))

  def partness(self, image_bhwc: np.ndarray, size_b2: np.ndarray, device: jax.Device | None = None) -> list[Array]:
    """Maps of the parts of each of `canvases`, see `part_maps`.

    Args:
      image_bhwc, size_b2, device: as for `detect_batch`.
    """
    params = jax.device_put(self.params["parts"], device)
    drawn = drawn_canvases(self.canvases(*image_bhwc.shape[1:3]), image_bhwc, size_b2)
    return [part_maps(self.nets, params, jax.device_put(drawn_bhwc, device)) for drawn_bhwc in drawn]

  def proposals(
    self, image_bhwc: np.ndarray, size_b2: np.ndarray, device: jax.Device | None = None
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The windows that may be faces, at most `config.proposals` of a photo.

    Args:
      image_bhwc, size_b2, device: as for `detect_batch`.
    Returns:
      [N] the photo of each, [N, 4] float32 squares of whole pixels, as large as a face, [N] float32 faceness, falling.
    """
    config, canvases = self.config, self.canvases(*image_bhwc.shape[1:3])
    maps = self.partness(image_bhwc, size_b2, device)
    values = (canvas.values(np.asarray(faceness_map(map_brcp, self.regions)), size_b2) for canvas, map_brcp in zip(canvases, maps))
    photo_n, box_n4, score_n = found_windows(canvases, values, config.faceness)
    best = _best_of_each(photo_n, score_n, MOST_WINDOWS)
    photo_n, box_n4, score_n = photo_n[best], box_n4[best], score_n[best]
    side_n1 = np.maximum(np.rint(FACE_SHARE * (box_n4[:, 2:3] - box_n4[:, :1])), 1)
    low_n2 = np.rint((box_n4[:, :2] + box_n4[:, 2:] - side_n1) / 2)
    box_n4 = np.concatenate([low_n2, low_n2 + side_n1], -1).astype(np.float32)
    kept = keep(box_n4, score_n, photo_n, Suppression(overlap=config.spread))[0]
    kept = kept[_best_of_each(photo_n[kept], score_n[kept], config.proposals)]
    return photo_n[kept], box_n4[kept], score_n[kept]

  def detect_batch(
    self, image_bhwc: np.ndarray, size_b2: np.ndarray, device: jax.Device | None = None
  ) -> list[Detections]:
    """Faces of a batch of photos of one size class, see `Detector`."""
    photo_n, box_n4, score_n = self.proposals(image_bhwc, size_b2, device)
    if self.net is None:
      return split_photos(photo_n, box_n4, score_n, size_b2)
    edge_n4 = box_n4.astype(np.int32)
    sums_m3 = photo_sums(jax.device_put(image_bhwc, device))
    crop_nhwc = cut_squares(sums_m3, image_bhwc.shape[1:3], edge_n4, self.net.window, photo_n)
    score_n, offset_n4 = self._judge(crop_nhwc, device)
    chosen = np.flatnonzero(score_n >= self.config.threshold)
    photo_n, score_n = photo_n[chosen], score_n[chosen]
    box_n4 = decode_boxes(box_n4[chosen], offset_n4[chosen])
    kept, score_m = keep(box_n4, score_n, photo_n, Suppression(overlap=self.config.overlap))
    return split_photos(photo_n[kept], box_n4[kept], score_m, size_b2)

  def _judge(self, crop_nhwc: np.ndarray, device: jax.Device | None) -> tuple[np.ndarray, np.ndarray]:
    assert self.net is not None
    params = jax.device_put(self.params["judge"], device)
    scores, offsets = [np.zeros(0, np.float32)], [np.zeros((0, 4), np.float32)]
    for start in range(0, len(crop_nhwc), MOST_CROPS):
      part_nhwc = crop_nhwc[start : start + MOST_CROPS]
      padded_nhwc = padded_rows(part_nhwc, row_class(len(part_nhwc), MOST_CROPS))
      score_n, offset_n4 = judge(self.net, params, jax.device_put(padded_nhwc, device))
      scores.append(np.asarray(score_n)[: len(part_nhwc)])
      offsets.append(np.asarray(offset_n4)[: len(part_nhwc)])
    return np.concatenate(scores), np.concatenate(offsets)


def _best_of_each(photo_n: np.ndarray, score_n: np.ndarray, most: int) -> np.ndarray:
  """Indices of the best windows of each photo, at most so many of one, by falling score."""
  order = np.argsort(-score_n, kind="stable")
  rank_n = np.zeros(len(order), np.int64)
  for photo in np.unique(photo_n):
    own = photo_n[order] == photo
    rank_n[own] = np.arange(own.sum())
  return order[rank_n < most]


__all__ = ["MOST_CROPS", "MOST_WINDOWS", "Faceness", "FacenessConfig", "judge"]
