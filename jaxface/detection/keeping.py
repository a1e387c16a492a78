"""The last step of a detector: which boxes of overlapping ones are kept, and with which score."""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from jaxface.detection.size_classes import padded_rows, row_class
from jaxface.detection.suppression import nms_mask, soft_nms_scores
from jaxface.geometry.rectangles import OVERLAPS

KINDS = ("hard", "gaussian", "linear", "none")


@dataclass(frozen=True)
class Suppression:
  """What happens to boxes that overlap a better one.

  Attributes:
    kind: "hard" drops them; "gaussian" and "linear" lower their scores (soft suppression); "none" keeps all.
    overlap: greatest overlap without effect; "gaussian" has none.
    of: area by which the overlap is divided, "union" or "smaller".
    inclusive: x1 and y1 of a box are the last pixels inside.
    sigma: width of the Gaussian.
    least: boxes whose lowered score falls below it are dropped.
  """

  kind: str = "hard"
  overlap: float = 0.5
  of: str = "union"
  inclusive: bool = False
  sigma: float = 0.5
  least: float = 0.001

  def __post_init__(self) -> None:
    if self.kind not in KINDS:
      raise ValueError(f"suppression {self.kind!r}: takes {', '.join(KINDS)}")
    if self.of not in OVERLAPS:
      raise ValueError(f"overlap of {self.of!r}: takes {', '.join(OVERLAPS)}")
    if not 0 <= self.overlap <= 1:
      raise ValueError(f"overlap is {self.overlap}, should be in 0..1")
    if not self.sigma > 0:
      raise ValueError(f"sigma is {self.sigma}, should be positive")


_mask = jax.jit(nms_mask, static_argnames=("of", "inclusive"))
_soft = jax.jit(soft_nms_scores, static_argnames=("decay", "of", "inclusive"))


def keep(
  box_n4: np.ndarray, score_n: np.ndarray, group_n: np.ndarray, rule: Suppression
) -> tuple[np.ndarray, np.ndarray]:
  """Applies a rule; compiled once per class of row counts.

  Args:
    box_n4: [N, 4] boxes.
    score_n: [N] scores.
    group_n: [N] integers; boxes of different groups do not suppress each other.
    rule: the rule.
  Returns:
    Indices of the kept boxes by falling new score, and their new scores.
  """
  count = len(score_n)
  if rule.kind == "none" or not count:
    order = np.argsort(-score_n, kind="stable")
    return order, score_n[order]
  size = row_class(count)
  rows = [padded_rows(array, size) for array in (box_n4, score_n, np.ones(count, bool))]
  shared = {"of": rule.of, "inclusive": rule.inclusive, "group_n": padded_rows(group_n.astype(np.int32), size)}
  if rule.kind == "hard":
    kept = np.flatnonzero(np.asarray(_mask(*rows, rule.overlap, **shared)))
    new_n = score_n
  else:
    soft = partial(_soft, *rows, decay=rule.kind, sigma=rule.sigma, threshold=rule.overlap, least=rule.least)
    new_n = np.asarray(soft(**shared))[:count]
    kept = np.flatnonzero(new_n > 0)
  kept = kept[np.argsort(-new_n[kept], kind="stable")]
  return kept, new_n[kept]


__all__ = ["KINDS", "Suppression", "keep"]
