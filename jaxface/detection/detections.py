"""What a detector finds in one photo."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Detections:
  """Faces of one photo, by falling score.

  Attributes:
    box_n4: [N, 4] float32: x0, y0, x1, y1 in pixels of the photo; (0, 0) is the corner of the first pixel, and boxes may reach
      beyond the photo.
    score_n: [N] float32 in 0..1.
    point_n52: [N, 5, 2] float32: x, y of left eye, right eye, nose, left and right mouth corner as seen in the photo; (0, 0) is the
      centre of the first pixel. None for detectors without points.
    size: height and width of the photo in pixels.
  """

  box_n4: np.ndarray
  score_n: np.ndarray
  point_n52: np.ndarray | None
  size: tuple[int, int]

  def __len__(self) -> int:
    return len(self.score_n)

  def scaled(self, factor: float, size: tuple[int, int]) -> "Detections":
    """The same faces in a photo of another size: all coordinates times `factor`."""
    points = None if self.point_n52 is None else self.point_n52 * np.float32(factor)
    return Detections(self.box_n4 * np.float32(factor), self.score_n, points, size)

  def to_json(self) -> dict[str, Any]:
    """Plain values: size, and per face its box, score and points, rounded to hundredths of a pixel."""
    faces = []
    for row in range(len(self)):
      face: dict[str, Any] = {"box": _rounded(self.box_n4[row], 2), "score": round(float(self.score_n[row]), 6)}
      if self.point_n52 is not None:
        face["points"] = _rounded(self.point_n52[row], 2)
      faces.append(face)
    return {"height": self.size[0], "width": self.size[1], "faces": faces}


def _rounded(array: np.ndarray, digits: int) -> Any:
  return np.round(array.astype(np.float64), digits).tolist()


def no_faces(size: tuple[int, int], points: bool = True) -> Detections:
  """The result for a photo without faces."""
  return Detections(
    np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32) if points else None, size
  )


def split_photos(photo_n: np.ndarray, box_n4: np.ndarray, score_n: np.ndarray, size_b2: np.ndarray) -> list[Detections]:
  """The faces of a batch by photo, without points.

  Args:
    photo_n: [N] int, the photo of each face.
    box_n4: [N, 4] float32 boxes.
    score_n: [N] float32 scores, falling.
    size_b2: [B, 2] height and width of each photo.
  """
  rows = [photo_n == number for number in range(len(size_b2))]
  return [Detections(box_n4[row], score_n[row], None, (int(height), int(width))) for row, (height, width) in zip(rows, size_b2)]


__all__ = ["Detections", "no_faces", "split_photos"]
