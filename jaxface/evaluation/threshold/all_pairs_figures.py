"""TAR at several FARs over all pairs of labelled embeddings, with intervals and thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxface.evaluation.intervals.rates import size_note
from jaxface.evaluation.threshold.measure import measure_threshold
from jaxface.formats.atomic import write_json
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.formats.threshold import Threshold

FARS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


@dataclass(frozen=True)
class AllPairsFigures:
  """Result of `evaluate_all_pairs`; `print` shows a table.

  Attributes:
    points: a `Threshold` for each target FAR.
    notes: caveats, a line each.
  """

  points: tuple[Threshold, ...]
  notes: tuple[str, ...]

  @property
  def figures(self) -> Mapping[str, Any]:
    """Everything as plain JSON values."""
    first = self.points[0]
    kept = ("target_far", "far", "far_interval", "tar", "tar_interval", "value", "interval")
    return {
      "pairs": first.data["pairs"], "images": first.data["images"], "identities": first.data["identities"], "mated": first.mated,
      "nonmated": first.nonmated, "tar_at_far": [{name: point.to_json()[name] for name in kept} for point in self.points],
      "notes": list(self.notes),
    }

  def __str__(self) -> str:
    first = self.points[0]
    rows = [("target FAR", "TAR", "95 %", "threshold", "95 %")]
    for point in self.points:
      tar, cosine = point.tar_interval, point.interval
      rows.append((
        f"{point.target_far:g}", f"{100 * point.tar:.2f} %", f"{100 * tar[0]:.2f} to {100 * tar[1]:.2f}", f"{point.value:.4f}",
        f"{cosine[0]:.4f} to {cosine[1]:.4f}",
      ))
    width = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.rjust(size) for cell, size in zip(row, width)) for row in rows]
    about = f"all pairs of {first.data['images']:,} images of {first.data['identities']:,} identities: {first.mated:,} mated, {first.nonmated:,} non-mated"
    return "\n".join([about, *lines])


def evaluate_all_pairs(
  embeddings: Embeddings | str | Path, fars: Sequence[float] | None = None, *, out: str | Path | None = None
) -> AllPairsFigures:
  """TAR, FAR and threshold at target FARs over all pairs of labelled embeddings, exact, each with a 95 % interval over identities.

  Args:
    embeddings: an `Embeddings` with labels, or a file of them.
    fars: target FARs in (0, 1); None takes those of 1e-2 to 1e-6 that at least 3 false accepts correspond to.
    out: JSON file for every figure.
  Returns:
    `AllPairsFigures`.
  Raises:
    ValueError: as `measure_threshold`.
    DamagedData: a file that cannot be read.
  """
  given = embeddings if isinstance(embeddings, Embeddings) else read_embeddings(embeddings)
  first, *rest = FARS if fars is None else fars
  points = [measure_threshold(given, None, first)[0]]
  chosen = [far for far in rest if fars is not None or far * points[0].nonmated >= 3]
  points += [measure_threshold(given, None, far)[0] for far in chosen]
  notes = [size_note(point.target_far, point.nonmated) for point in points]
  found = AllPairsFigures(tuple(points), tuple(note for note in notes if note))
  if out is not None:
    write_json(out, found.figures)
  return found


__all__ = ["FARS", "AllPairsFigures", "evaluate_all_pairs"]
