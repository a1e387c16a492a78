"""Average precision of detectors: matching of boxes to labelled faces, precision and recall."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxface.geometry.rectangles import check_boxes, overlaps

# What a detected box counts as.
FALSE, TRUE, IGNORED = 0, 1, -1


@dataclass(frozen=True, eq=False)
class Precision:
  """Precision and recall at each score.

  Attributes:
    score_k: distinct scores, falling.
    precision_k: of the boxes with at least this score, those that are faces; in 0..1.
    recall_k: of the counted faces, those that are found; in 0..1.
    faces: number of counted faces.
    boxes: number of boxes that are not ignored.
  """

  score_k: np.ndarray
  precision_k: np.ndarray
  recall_k: np.ndarray
  faces: int
  boxes: int

  @property
  def recall(self) -> float:
    """Recall of all boxes together; 0 if there are none."""
    return float(self.recall_k[-1]) if len(self.recall_k) else 0.0

  @property
  def average(self) -> float:
    """Average precision: the area under the curve of the best precision at each recall or a greater one.

    NaN without counted faces.
    Source: Everingham et al., "The PASCAL Visual Object Classes Challenge", 2010 (all points), as WIDER FACE's evaluation.
    """
    if not self.faces:
      return float("nan")
    best_k = np.maximum.accumulate(self.precision_k[::-1])[::-1]
    return float(np.sum(np.diff(self.recall_k, prepend=0) * best_k))


def match_boxes(
  box_n4: np.ndarray, score_n: np.ndarray, truth_m4: np.ndarray, counted_m: np.ndarray | None = None, *, least: float = 0.5,
  inclusive: bool = False,
) -> np.ndarray:
  """What each detected box of one photo counts as, by WIDER FACE's rule.

  By falling score, each box belongs to the face that it overlaps most. If that overlap is at least `least`, the box is ignored if
  the face does not count, true if the face was not found yet, and false otherwise. A box with less overlap is false.

  Args:
    box_n4: [N, 4] detected boxes.
    score_n: [N] their scores; of equal ones, the first comes first.
    truth_m4: [M, 4] labelled faces.
    counted_m: [M] bool, faces that count; None for all.
    least: least intersection over union.
    inclusive: boxes end with their last pixel and are one pixel larger, as in WIDER FACE's evaluation code.
  Returns:
    [N] int: 1 true, 0 false, −1 ignored.
  Raises:
    ValueError: lengths differ, or a number is NaN; says which.
  """
  box_n4, truth_m4, score_n = np.asarray(check_boxes("box_n4", box_n4)), np.asarray(check_boxes("truth_m4", truth_m4)), np.asarray(score_n)
  counted_m = np.ones(len(truth_m4), bool) if counted_m is None else np.asarray(counted_m, bool)
  if len(box_n4) != len(score_n) or len(truth_m4) != len(counted_m):
    raise ValueError(f"{len(box_n4)} boxes with {len(score_n)} scores, {len(truth_m4)} faces with {len(counted_m)} marks: one of each is expected")
  for name, array in (("box_n4", box_n4), ("score_n", score_n), ("truth_m4", truth_m4)):
    if np.isnan(array).any():
      raise ValueError(f"{name} has NaN in row {int(np.argwhere(np.isnan(array))[0][0])}")
  kind_n = np.zeros(len(box_n4), np.int64)
  if not len(truth_m4):
    return kind_n
  overlap_nm = overlaps(box_n4.astype(np.float64), truth_m4.astype(np.float64), inclusive=inclusive)
  found = set()
  for row in np.argsort(-score_n, kind="stable"):
    face = int(overlap_nm[row].argmax())
    if overlap_nm[row, face] < least:
      continue
    if not counted_m[face]:
      kind_n[row] = IGNORED
    elif face not in found:
      found.add(face)
      kind_n[row] = TRUE
  return kind_n


def precision_recall(scores: Sequence[np.ndarray], kinds: Sequence[np.ndarray], faces: int) -> Precision:
  """Precision and recall over all photos.

  Args:
    scores: [N] scores of each photo.
    kinds: [N] results of `match_boxes` of each photo.
    faces: number of counted faces in all photos.
  Raises:
    ValueError: lengths differ, or more faces were found than there are.
  """
  score_n = np.concatenate([np.zeros(0), *scores])
  kind_n = np.concatenate([np.zeros(0, np.int64), *kinds])
  if len(score_n) != len(kind_n):
    raise ValueError(f"{len(score_n)} scores and {len(kind_n)} kinds: expected one of each per box")
  if (kind_n == TRUE).sum() > faces:
    raise ValueError(f"{(kind_n == TRUE).sum()} faces were found, but there are {faces}")
  some = kind_n != IGNORED
  score_n, true_n = score_n[some], kind_n[some] == TRUE
  order = np.argsort(-score_n, kind="stable")
  score_n, true_n = score_n[order], np.cumsum(true_n[order])
  # Boxes of equal score have no order: the curve has a point after the last one of each score.
  last = np.flatnonzero(np.diff(score_n, append=-np.inf) != 0)
  recall_k = true_n[last] / max(faces, 1)
  return Precision(score_n[last], true_n[last] / (last + 1), recall_k, int(faces), len(score_n))


def point_errors(point_n52: np.ndarray, truth_n52: np.ndarray) -> np.ndarray:
  """Mean distance of the points of each face from the labelled ones, in units of the labelled distance of the eyes.

  Args:
    point_n52: [N, 5, 2] points; eyes first.
    truth_n52: [N, 5, 2] labelled points.
  Returns:
    [N] errors.
  Raises:
    ValueError: shapes differ, or two eyes at one place.
  """
  if point_n52.shape != truth_n52.shape or truth_n52.ndim != 3:
    raise ValueError(f"points of shape {point_n52.shape} and labels of {truth_n52.shape}: expected [N, points, 2] twice")
  eyes_n = np.linalg.norm(truth_n52[:, 0] - truth_n52[:, 1], axis=-1)
  if (eyes_n == 0).any():
    raise ValueError(f"face {int(eyes_n.argmin())}: both eyes are labelled at one place")
  return np.linalg.norm(point_n52 - truth_n52, axis=-1).mean(-1) / eyes_n


__all__ = ["FALSE", "IGNORED", "TRUE", "Precision", "match_boxes", "point_errors", "precision_recall"]
