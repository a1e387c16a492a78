"""Squares of photos for the training of MTCNN, and what they are: face, part of a face, no face, face with points.

Source: Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", 2016, section III.C. The
numbers of squares and their spread about a face are those of its public reimplementations.
"""

from dataclasses import dataclass, field

import numpy as np

from jaxface.detection.mtcnn_nets import WINDOW
from jaxface.geometry.rectangles import encode_boxes, iou
from jaxface.losses.detection import NEGATIVE, PART, POINTS, POSITIVE, TARGETS

# Overlaps with a face below which a square is no face, and from which it is a part or a face.
NO_FACE, A_PART, A_FACE = 0.3, 0.4, 0.65
LEFT_OUT = -1


@dataclass(frozen=True, eq=False)
class TrainingPhoto:
  """A photo with its faces.

  Attributes:
    file: its path.
    box_n4: [N, 4] float64 faces, x0, y0, x1, y1 in pixels; (0, 0) is the corner of the first pixel.
    point_n52: [N, 5, 2] float64 points in the same coordinates; NaN for faces without points.
  """

  file: str
  box_n4: np.ndarray
  point_n52: np.ndarray

  def large_faces(self, least: float) -> np.ndarray:
    """Indices of the faces whose shorter side has at least so many pixels."""
    return np.flatnonzero((self.box_n4[:, 2:] - self.box_n4[:, :2]).min(-1, initial=np.inf) >= least)


@dataclass(frozen=True)
class Sampling:
  """How many squares are taken from a photo.

  Attributes:
    smallest: faces with a shorter side, in pixels, give no squares of their own.
    around: squares about each face.
    near: squares that touch each face, mostly without being one.
    anywhere: squares anywhere in a photo.
    with_points: squares about each face with points, for the points.
    mined: most candidates of a photo without a face that the stages before could not reject; faces and parts are all taken.
  """

  smallest: float = 16.0
  around: int = 30
  near: int = 5
  anywhere: int = 50
  with_points: int = 15
  mined: int = 100

  def __post_init__(self) -> None:
    for name in ("around", "near", "anywhere", "with_points", "mined"):
      if not (isinstance(getattr(self, name), int) and getattr(self, name) >= 0):
        raise ValueError(f"sampling.{name} is {getattr(self, name)!r}: needs a whole number, at least 0")
    if not self.smallest >= 1:
      raise ValueError(f"sampling.smallest is {self.smallest}: needs a side in pixels, at least 1")


@dataclass(frozen=True, eq=False)
class Squares:
  """Labelled squares of one photo.

  Attributes:
    edge_n4: [N, 4] int32 edges in pixels.
    target_nt: [N, 15] float32: kind, offsets, points; see `jaxface.losses.detection`.
  """

  edge_n4: np.ndarray
  target_nt: np.ndarray = field(repr=False)


def draw_squares(
  photo: TrainingPhoto, size: tuple[int, int], net: str, counts: Sampling, draw: np.random.Generator
) -> Squares:
  """Random labelled squares of a photo.

  Args:
    photo: the photo.
    size: its height and width in pixels.
    net: "pnet", "rnet" or "onet".
    counts: how many squares.
    draw: where random numbers come from.
  Returns:
    The squares; those of P-Net lie inside of the photo, as its windows do.
  """
  edges, targets = [], []
  large_n = photo.large_faces(counts.smallest)
  free = [squares_anywhere(size, counts.anywhere, draw)]
  free += [squares_about(photo.box_n4[face], counts.near, draw, shift=1.0, least=0.4) for face in large_n]
  close = [squares_about(photo.box_n4[face], counts.around, draw) for face in large_n]
  pointed = [face for face in large_n if not np.isnan(photo.point_n52[face]).any()]
  points = [squares_about(photo.box_n4[face], counts.with_points, draw) for face in pointed]
  for boxes, kinds in ((free, (NEGATIVE,)), (close, (POSITIVE, PART)), (points, (POINTS,))):
    edge_n4 = np.concatenate([np.zeros((0, 4), np.int32), *boxes])
    if net == "pnet":
      edge_n4 = edge_n4[squares_inside(edge_n4, size)]
    target_nt = label_squares(edge_n4, photo, net, points=POINTS in kinds)
    chosen = np.isin(target_nt[:, 0], kinds)
    edges.append(edge_n4[chosen])
    targets.append(target_nt[chosen])
  return Squares(np.concatenate(edges), np.concatenate(targets))


def mined_squares(
  edge_n4: np.ndarray, photo: TrainingPhoto, net: str, counts: Sampling, draw: np.random.Generator
) -> Squares:
  """Labelled candidates of the stages before, with at most `counts.mined` that are no face.

  Args:
    edge_n4: [N, 4] int32 squares that those stages took for faces.
    photo: the photo.
    net: "rnet" or "onet".
    counts: how many squares.
    draw: where random numbers come from.
  """
  target_nt = label_squares(edge_n4, photo, net)
  kind_n = target_nt[:, 0]
  wrong = np.flatnonzero(kind_n == NEGATIVE)
  wrong = draw.choice(wrong, min(len(wrong), counts.mined), replace=False)
  chosen = np.sort(np.concatenate([np.flatnonzero((kind_n == POSITIVE) | (kind_n == PART)), wrong]))
  return Squares(edge_n4[chosen], target_nt[chosen])


def label_squares(edge_n4: np.ndarray, photo: TrainingPhoto, net: str, *, points: bool = False) -> np.ndarray:
  """What squares of a photo are, and the targets of a network for them.

  Args:
    edge_n4: [N, 4] int32 edges.
    photo: the photo.
    net: "pnet", "rnet" or "onet".
    points: squares that are faces are of the kind POINTS.
  Returns:
    [N, 15] float32 targets; the kind is −1 for squares that are none: overlap between 0.3 and 0.4 with a face.
  """
  target_nt = np.zeros((len(edge_n4), TARGETS), np.float32)
  if not len(photo.box_n4) or not len(edge_n4):
    target_nt[:, 0] = NEGATIVE
    return target_nt
  overlap_nm = iou(edge_n4.astype(np.float64), photo.box_n4)
  best_n = overlap_nm.argmax(-1)
  overlap_n = overlap_nm.max(-1)
  kind_n = np.select([overlap_n < NO_FACE, overlap_n >= A_FACE, overlap_n >= A_PART], [NEGATIVE, POINTS if points else POSITIVE, PART], LEFT_OUT)
  target_nt[:, 0] = kind_n
  face = kind_n > NEGATIVE
  target_nt[face, 1:5] = offsets(edge_n4[face].astype(np.float64), photo.box_n4[best_n[face]], net)
  if points:
    low_n2, side_n2 = edge_n4[face, :2], edge_n4[face, 2:] - edge_n4[face, :2]
    point_n52 = (photo.point_n52[best_n[face]] - low_n2[:, None]) / side_n2[:, None]
    target_nt[face, 5:] = point_n52.reshape(-1, TARGETS - 5)
    lost = np.isnan(target_nt[:, 5:]).any(-1)  # the square is nearer to a face without points
    target_nt[lost] = 0
    target_nt[lost, 0] = LEFT_OUT
  return target_nt


def offsets(edge_n4: np.ndarray, face_n4: np.ndarray, net: str) -> np.ndarray:
  """The offsets by which the cascade moves squares to faces.

  R-Net and O-Net count them in sides of the square. P-Net's windows begin one of their 12 pixels late when the cascade decodes them, and
  are 11 wide, as in the released code.

  Args:
    edge_n4: [N, 4] edges of squares.
    face_n4: [N, 4] edges of faces.
    net: "pnet", "rnet" or "onet".
  Returns:
    [N, 4].
  """
  if net != "pnet":
    return encode_boxes(edge_n4, face_n4)
  # Counted from 1, the last pixel included, as `Mtcnn` decodes.
  first = np.array([1, 1, 0, 0])
  pixel_n1 = (edge_n4[:, 2:3] - edge_n4[:, :1]) / WINDOW
  return encode_boxes(edge_n4 + first * pixel_n1, face_n4 + first)


def squares_inside(edge_n4: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """[N] bool: squares [N, 4] that lie inside of a photo of a height and width."""
  return np.logical_and((edge_n4[:, :2] >= 0).all(-1), (edge_n4[:, 2:] <= size[::-1]).all(-1))


def squares_anywhere(size: tuple[int, int], count: int, draw: np.random.Generator, *, least: float = WINDOW) -> np.ndarray:
  """[count, 4] int32 squares inside of a photo, their sides between `least` pixels and the shorter side of the photo, small ones more often."""
  shorter = min(size)
  if shorter <= least:
    return np.zeros((0, 4), np.int32)
  side_n = np.exp(draw.uniform(np.log(least), np.log(shorter), count)).astype(np.int32)
  x_n, y_n = ((draw.random(count) * (length - side_n + 1)).astype(np.int32) for length in size[::-1])
  return np.stack([x_n, y_n, x_n + side_n, y_n + side_n], -1)


def squares_about(box_4: np.ndarray, count: int, draw: np.random.Generator, *, shift: float = 0.2, least: float = 0.8) -> np.ndarray:
  """[count, 4] int32 squares about a face: sides from `least` of its shorter to 1.25 of its longer side, moved by up to a share of its size."""
  size_2 = box_4[2:] - box_4[:2]
  side_n1 = np.round(draw.uniform(least * size_2.min(), 1.25 * size_2.max(), (count, 1)))
  middle_n2 = (box_4[:2] + box_4[2:]) / 2 + draw.uniform(-shift, shift, (count, 2)) * size_2
  low_n2 = np.round(middle_n2 - side_n1 / 2)
  return np.concatenate([low_n2, low_n2 + np.maximum(side_n1, 1)], -1).astype(np.int32)


__all__ = [
  "A_FACE", "A_PART", "LEFT_OUT", "NO_FACE", "Sampling", "Squares", "TrainingPhoto", "draw_squares", "label_squares", "mined_squares",
  "offsets", "squares_about", "squares_anywhere", "squares_inside",
]
