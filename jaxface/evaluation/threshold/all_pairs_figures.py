"""TAR at several FARs over all pairs of labelled embeddings, with intervals and thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from jaxface.evaluation.intervals.rates import size_note
from jaxface.evaluation.pairs.pair_score import PairScore
from jaxface.evaluation.streaming.pair_intervals import (
  PairInterval,
  all_pairs_intervals,
  scored_pairs_intervals,
)
from jaxface.evaluation.threshold.measure import labels_of, matrix_score, pair_counts
from jaxface.formats.atomic import write_json
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.formats.threshold import COSINE

FARS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


@dataclass(frozen=True)
class AllPairsFigures:
  """Result of `evaluate_all_pairs`; `print` shows a table.

  Attributes:
    points: TAR, FAR and threshold with 95 % intervals, by target FAR.
    data: numbers of images, identities, mated and nonmated pairs.
    notes: caveats, a line each.
    score: name of the score.
  """

  points: Mapping[float, PairInterval]
  data: Mapping[str, int]
  notes: tuple[str, ...]
  score: str = COSINE

  @property
  def figures(self) -> Mapping[str, Any]:
    """Everything as plain JSON values. `tar_interval` is that of TAR at the target FAR, `tar_interval_at_threshold` at the threshold `value`."""
    rows = [
      {
        "target_far": target, "far": one.point.far, "far_interval": list(one.far), "tar": one.point.tar, "tar_interval": list(one.tar),
        "tar_interval_at_threshold": list(one.tar_at_threshold), "value": one.point.threshold,
        "interval": [end if isfinite(end) else None for end in one.threshold],
      }
      for target, one in self.points.items()
    ]
    return {"pairs": "all pairs", **({} if self.score == COSINE else {"score": self.score}), **self.data, "tar_at_far": rows, "notes": list(self.notes)}

  def __str__(self) -> str:
    rows = [("target FAR", "TAR", "95 %", "threshold", "95 %")]
    for target, one in self.points.items():
      rows.append((
        f"{target:g}", f"{100 * one.point.tar:.2f} %", f"{100 * one.tar[0]:.2f} to {100 * one.tar[1]:.2f}", f"{one.point.threshold:.4f}",
        f"{one.threshold[0]:.4f} to {one.threshold[1]:.4f}",
      ))
    width = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.rjust(size) for cell, size in zip(row, width)) for row in rows]
    images, identities, mated, nonmated = (f"{self.data[name]:,}" for name in ("images", "identities", "mated", "nonmated"))
    about = f"all pairs of {images} images of {identities} identities: {mated} mated, {nonmated} non-mated" + ("" if self.score == COSINE else f", scored by {self.score}")
    return "\n".join([about, *lines, "The interval of TAR includes that of the threshold. That of TAR at one threshold in use: jaxface threshold."])


def evaluate_all_pairs(
  embeddings: Embeddings | str | Path, fars: Sequence[float] | None = None, *, score: PairScore | None = None, out: str | Path | None = None
) -> AllPairsFigures:
  """TAR, FAR and threshold at target FARs over all pairs of labelled embeddings, exact, each with a 95 % interval over identities.

  All targets share the passes over the pairs. The interval of TAR at a FAR includes that the threshold of this FAR is not known; that at
  the threshold found is `tar_at_threshold`.

  Args:
    embeddings: an `Embeddings` with labels, or a file of them.
    fars: target FARs in (0, 1); None takes those of 1e-2 to 1e-6 that at least 3 false accepts correspond to.
    score: what scores the pairs, such as a `jaxface.verifiers.Verifier`; None is the cosine.
    out: JSON file for every figure.
  Returns:
    `AllPairsFigures`.
  Raises:
    ValueError: a target outside (0, 1); no labels; no mated or no non-mated pairs; an embedding that is zero or not finite.
    DamagedData: a file that cannot be read.
  """
  given = embeddings if isinstance(embeddings, Embeddings) else read_embeddings(embeddings)
  label_n = labels_of(given)
  mated, nonmated = pair_counts(label_n)
  targets = [far for far in FARS if far == FARS[0] or far * nonmated >= 3] if fars is None else list(fars)
  if not targets or not all(0 < far < 1 for far in targets):
    raise ValueError(f"target FARs {targets}: at least one, each between 0 and 1, such as 1e-4")
  other = matrix_score(score, given, embeddings)
  if other is None:
    points = all_pairs_intervals(given.embedding_nd, label_n, targets)
  else:
    points = scored_pairs_intervals(given.embedding_nd, label_n, targets, other)
  notes = [size_note(target, nonmated) for target in points]
  data = {"images": len(label_n), "identities": int(label_n.max()) + 1, "mated": mated, "nonmated": nonmated}
  found = AllPairsFigures(points, data, tuple(note for note in notes if note), COSINE if score is None else score.name)
  if out is not None:
    write_json(out, found.figures)
  return found


__all__ = ["FARS", "AllPairsFigures", "evaluate_all_pairs"]
