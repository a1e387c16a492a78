"""MTCNN: a cascade of three networks on an image pyramid, with five points.

Source: Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", 2016. The numbers that the
paper leaves open are those of its released code, and of facenet-pytorch, to which this one is equal box by box.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.detection.area import crops, integral
from jaxface.detection.detections import Detections, no_faces
from jaxface.detection.keeping import Suppression, keep
from jaxface.detection.mtcnn_nets import NETS, SIDES, STRIDE, WINDOW, Found, normalise
from jaxface.detection.pyramid import Layout, check_search, draw_canvas, layout
from jaxface.detection.size_classes import padded_rows, row_class
from jaxface.geometry.rectangles import decode_boxes, square_boxes

# Most crops in one call of a network, which bounds memory.
MOST_CROPS = {"rnet": 256, "onet": 64}
_HALF, _MOST = Suppression(overlap=0.5), Suppression(overlap=0.7)
_INSIDE = Suppression(overlap=0.7, of="smaller", inclusive=True)


@dataclass(frozen=True)
class MtcnnConfig:
  """Settings of the cascade.

  Attributes:
    smallest: side of the smallest face in pixels; smaller ones are not found. Time grows with its inverse square.
    thresholds: least scores of a face in P-, R- and O-Net.
    factor: ratio of a level of the pyramid to the one before it.
    level, photo, refined, final: suppression after P-Net in each level, after P-Net in the photo, after R-Net, and after O-Net.
    border: what a crop has outside of the photo: "zeros" fills with black, as the paper's code; "crop" cuts the box at the
      border and stretches the rest, as facenet-pytorch.
    points_in: what the points of O-Net are fractions of: "crop" of the pixels that it saw; "box" of the box before it was rounded down to
      pixels, as in the published code, whose points are half a pixel off on average and, counted from 0, near to pixel centres.
  """

  smallest: float = 20.0
  thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)
  factor: float = 0.709
  level: Suppression = _HALF
  photo: Suppression = _MOST
  refined: Suppression = _MOST
  final: Suppression = _INSIDE
  border: str = "zeros"
  points_in: str = "crop"

  def __post_init__(self) -> None:
    object.__setattr__(self, "thresholds", tuple(self.thresholds))
    check_search(self, least=WINDOW // 4)
    if len(self.thresholds) != 3 or not all(0 <= number <= 1 for number in self.thresholds):
      raise ValueError(f"thresholds are {self.thresholds}, should be three numbers in 0..1")
    if self.border not in ("crop", "zeros"):
      raise ValueError(f"border is {self.border!r}: takes crop, zeros")
    if self.points_in not in ("box", "crop"):
      raise ValueError(f"points_in is {self.points_in!r}: takes box, crop")

  @property
  def pyramid(self) -> dict[str, Any]:
    """Settings of the pyramid, for `layout`."""
    return {"window": WINDOW, "smallest": float(self.smallest), "factor": float(self.factor)}


@jax.jit
def propose(params: Any, image_bhwc: Array, size_b2: Array, level_bl2: Array, place_3hw: Array) -> tuple[Array, Array, Array]:
  """P-Net on all levels of a batch of photos of one size class.

  Args:
    params: parameters of P-Net.
    image_bhwc: [B, H, W, 3] uint8, photos in their upper left corners.
    size_b2: [B, 2] int32 height and width of each.
    level_bl2: [B, levels, 2] int32 (`Layout.photo_sizes`).
    place_3hw: `Layout.places` of the size class.
  Returns:
    [M, 3] int32 sums of the photos, for `crops`; [B, h, w] probabilities of a face, −1 outside of the levels; [B, h, w, 4] offsets.
  """
  sums_bwhc = integral(image_bhwc)
  canvas_bhwc, left_bhw = jax.vmap(draw_canvas, (0, 0, 0, None))(sums_bwhc, size_b2, level_bl2, place_3hw)
  found = NETS["pnet"].apply({"params": params}, normalise(canvas_bhwc), left_bhw[:, :-2, :-2] > 2)
  assert isinstance(found, Found)
  rows, columns = found.logit.shape[1:3]
  # A window is inside if its last pooling cell has a pixel.
  inside_bhw = left_bhw[:, ::STRIDE, ::STRIDE][:, :rows, :columns] > WINDOW - 2
  return _rows(sums_bwhc), jnp.where(inside_bhw, _probability(found.logit), -1), found.offset


def _rows(sums_bwhc: Array) -> Array:
  """Sums of photos as rows for `crops`, as many as their class."""
  sums_m3 = sums_bwhc.reshape(-1, 3)
  return jnp.pad(sums_m3, ((0, row_class(len(sums_m3)) - len(sums_m3)), (0, 0)))


@jax.jit
def photo_sums(image_bhwc: Array) -> Array:
  """[B, H, W, 3] uint8 photos of one size class to the sums [M, 3] that `cut` takes."""
  return _rows(integral(image_bhwc))


def _probability(logit: Array) -> Array:
  return jax.nn.softmax(logit)[..., 1]


@partial(jax.jit, static_argnames="side")
def cut(sums_m3: Array, size_2: Array, photo_n: Array, box_n4: Array, side: int) -> Array:
  """`crops`, compiled once per class of M, of N, and side."""
  return crops(sums_m3, size_2, photo_n, box_n4, side)


@partial(jax.jit, static_argnames="net")
def score(params: Any, crop_nhwc: Array, net: str) -> tuple[Array, Array, Array | None]:
  """R-Net or O-Net on crops in 0..255: [N] probabilities, [N, 4] offsets, [N, 5, 2] points or None."""
  found = NETS[net].apply({"params": params}, normalise(crop_nhwc))
  assert isinstance(found, Found)
  return _probability(found.logit), found.offset, found.point


class Candidates(NamedTuple):
  """Squares that a network of the cascade is to score.

  Attributes:
    sums: of the photos, the first two arguments of `cut`.
    photo_n: [N] the photo of each.
    box_n4: [N, 4] squares, in pixels counted from 1, the last one included.
  """

  sums: tuple[Array, np.ndarray]
  photo_n: np.ndarray
  box_n4: np.ndarray


def crop_edges(box_n4: np.ndarray) -> np.ndarray:
  """Edges of the crops of candidates, [N, 4] int32: x0, y0 of the first pixel from 0, x1, y1 after the last one."""
  return np.trunc(box_n4).astype(np.int32) - np.array([1, 1, 0, 0], np.int32)


class Mtcnn:
  """The detector, as `jaxface.detection.Detector` takes it.

  Args:
    params: {"pnet", "rnet", "onet"} to the parameters of each network.
    config: settings of the cascade.
  """

  name = "mtcnn"
  points = True

  def __init__(self, params: dict[str, Any], config: MtcnnConfig | None = None):
    self.params = params
    self.config = config or MtcnnConfig()

  def detect_batch(
    self, image_bhwc: np.ndarray, size_b2: np.ndarray, device: jax.Device | None = None
  ) -> list[Detections]:
    """Faces of a batch of photos of one size class.

    Args:
      image_bhwc: [B, H, W, 3] uint8 RGB, photos in their upper left corners.
      size_b2: [B, 2] height and width of each; zero for padding.
      device: where to compute; None uses the default one.
    Returns:
      `Detections` per photo.
    """
    photos = [(int(height), int(width)) for height, width in size_b2]
    candidates = self.candidates("onet", image_bhwc, size_b2, device)
    if candidates is None:
      return [no_faces(size) for size in photos]
    photo_n, box_n4, score_n, offset_n4, point_n52, pixel_n4 = self._refine(
      "onet", self._params(device), candidates.sums, size_b2, candidates.photo_n, candidates.box_n4, self.config.thresholds[2])
    assert point_n52 is not None
    if self.config.points_in == "crop":
      corner_n2, size_n2 = pixel_n4[:, :2], pixel_n4[:, 2:] - pixel_n4[:, :2]
    else:  # the published code adds the corner less 1, and its pixels count from 1
      corner_n2, size_n2 = box_n4[:, :2] - 2, box_n4[:, 2:] - box_n4[:, :2] + 1
    point_n52 = point_n52 * size_n2[:, None] + corner_n2[:, None]
    box_n4 = decode_boxes(box_n4, offset_n4, inclusive=True)
    kept, score_n = keep(box_n4, score_n, photo_n, self.config.final)
    # The cascade counts pixels from 1, the last one included: the left and upper edges of a box are one less.
    edge_n4 = box_n4 - np.array([1, 1, 0, 0], np.float32)
    edge_n4, point_n52, photo_n = edge_n4[kept], point_n52[kept].astype(np.float32), photo_n[kept]
    rows = [photo_n == number for number in range(len(photos))]
    return [Detections(edge_n4[row], score_n[row], point_n52[row], size) for row, size in zip(rows, photos)]

  def candidates(
    self, net: str, image_bhwc: np.ndarray, size_b2: np.ndarray, device: jax.Device | None = None
  ) -> Candidates | None:
    """What the networks before R-Net or O-Net leave for it; those after them need no parameters.

    Args:
      net: "rnet" or "onet".
      image_bhwc, size_b2, device: as for `detect_batch`.
    Returns:
      `Candidates`; None for photos smaller than the smallest face.
    """
    plan = layout(*image_bhwc.shape[1:3], **self.config.pyramid)
    level_bl2 = np.stack([plan.photo_sizes(int(height), int(width)) for height, width in size_b2])
    if not plan.scales or not level_bl2.any():
      return None
    params = self._params(device)
    given = jax.device_put((image_bhwc, np.asarray(size_b2, np.int32), level_bl2, plan.places), device)
    sums_m3, *maps = propose(params["pnet"], *given)
    sums = sums_m3, np.array(image_bhwc.shape[2:0:-1], np.int32) + 1
    photo_n, box_n4 = self._proposals(np.asarray(maps[0]), np.asarray(maps[1]), plan)
    if net == "onet":
      photo_n, box_n4, _, offset_n4, _, _ = self._refine("rnet", params, sums, size_b2, photo_n, box_n4, self.config.thresholds[1])
      box_n4 = square_boxes(decode_boxes(box_n4, offset_n4, inclusive=True))
    return Candidates(sums, photo_n, box_n4)

  def _params(self, device: jax.Device | None) -> dict[str, Any]:
    held: dict[Any, dict[str, Any]] = self.__dict__.setdefault("_held", {})
    if device not in held:
      held[device] = jax.device_put(self.params, device)
    return held[device]

  def _proposals(self, probability_bhw: np.ndarray, offset_bhw4: np.ndarray, plan: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Photo and square of each candidate of P-Net."""
    photo_n, row_n, column_n = np.nonzero(probability_bhw >= self.config.thresholds[0])
    score_n, offset_n4 = probability_bhw[photo_n, row_n, column_n], offset_bhw4[photo_n, row_n, column_n]
    pixel = STRIDE * row_n, STRIDE * column_n
    level_n, corner_n2 = plan.level_hw[pixel], np.stack([plan.column_hw[pixel], plan.row_hw[pixel]], -1)
    scale_n1 = np.asarray(plan.scales, np.float32)[level_n][:, None]
    low_n2 = np.floor((corner_n2 + 1).astype(np.float32) / scale_n1)
    high_n2 = np.floor((corner_n2 + WINDOW).astype(np.float32) / scale_n1)
    box_n4 = np.concatenate([low_n2, high_n2], -1)

    kept, score_n = keep(box_n4, score_n, photo_n * len(plan.scales) + level_n, self.config.level)
    kept = kept[keep(box_n4[kept], score_n, photo_n[kept], self.config.photo)[0]]
    return photo_n[kept], square_boxes(decode_boxes(box_n4[kept], offset_n4[kept]))

  def _refine(
    self, net: str, params: dict[str, Any], sums: tuple[Array, np.ndarray], size_b2: np.ndarray, photo_n: np.ndarray, box_n4: np.ndarray,
    threshold: float,
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]:
    """Candidates whose crops a network takes for faces, without those that overlap better ones.

    Photo, box, score, offsets, points, and edges of the crop in pixels.
    """
    pixel_n4 = crop_edges(box_n4)
    inner_n4 = np.clip(pixel_n4, 0, np.asarray(size_b2)[photo_n][:, [1, 0, 1, 0]].astype(np.int32))
    inside = (inner_n4[:, 2:] > inner_n4[:, :2]).all(-1)  # the others lie outside of the photo
    photo_n, box_n4 = photo_n[inside], box_n4[inside]
    pixel_n4 = (inner_n4 if self.config.border == "crop" else pixel_n4)[inside]
    results = []
    for start in range(0, len(photo_n), MOST_CROPS[net]):
      part = slice(start, start + MOST_CROPS[net])
      count = len(photo_n[part])
      size = row_class(count, MOST_CROPS[net])
      crop_nhwc = cut(*sums, padded_rows(photo_n[part].astype(np.int32), size), padded_rows(pixel_n4[part], size), SIDES[net])
      results.append([None if array is None else np.asarray(array)[:count] for array in score(params[net], crop_nhwc, net)])
    points = NETS[net].points
    if not results:
      results = [[np.zeros((0, *shape), np.float32) for shape in ((), (4,), (5, 2))[: 2 + points]]]
    score_n, offset_n4, *point = (np.concatenate(arrays) for arrays in zip(*(row[: 2 + points] for row in results)))
    chosen = np.flatnonzero(score_n > threshold)
    if net == "rnet":
      chosen = chosen[keep(box_n4[chosen], score_n[chosen], photo_n[chosen], self.config.refined)[0]]
    found = point[0][chosen] if points else None
    return photo_n[chosen], box_n4[chosen], score_n[chosen], offset_n4[chosen], found, pixel_n4[chosen]


__all__ = ["MOST_CROPS", "Candidates", "Mtcnn", "MtcnnConfig", "crop_edges", "cut", "photo_sums", "propose", "score"]
