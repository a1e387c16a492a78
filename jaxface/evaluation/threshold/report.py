"""A measured threshold and what it means in use, as text and JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from jaxface.evaluation.intervals.rates import size_note
from jaxface.evaluation.threshold.measure import ALL
from jaxface.evaluation.threshold.traffic import DAYS, Traffic
from jaxface.formats.threshold import COSINE, Threshold

INDEPENDENT = (
  "expected numbers assume that the people searched for and those in the gallery resemble each other as the people of the data do, and"
  " that none is in the gallery; the share of searches also assumes that the comparisons of a search are independent"
)


@dataclass(frozen=True)
class ThresholdReport:
  """A threshold at a FAR; `print` shows it.

  Attributes:
    threshold: the threshold with its intervals.
    traffic: how the system is used.
    notes: caveats, a line each.
  """

  threshold: Threshold
  traffic: Traffic
  notes: tuple[str, ...]

  @property
  def figures(self) -> Mapping[str, Any]:
    """Everything as plain JSON values."""
    found = self.threshold
    return {
      **found.to_json(), **({"l2_squared": found.l2_squared} if found.score == COSINE else {}), "traffic": self.traffic.to_json(found.far, found.far_interval),
      "notes": list(self.notes),
    }

  def __str__(self) -> str:
    found, use = self.threshold, self.traffic
    low, high = found.far_interval
    ends = f"(95 %: {found.interval[0]:.4f} to {found.interval[1]:.4f})"
    lines = [
      f"threshold cosine {found.value:.4f} {ends}, L2² {found.l2_squared:.4f}" if found.score == COSINE
      else f"threshold {found.value:.4f} {ends} of the scores of {found.score}",
      f"FAR {found.far:.3g} (95 %: {low:.3g} to {high:.3g}) at the target {found.target_far:g},"
      f" {found.nonmated:,} non-mated pairs",
      f"TAR {100 * found.tar:.2f} % (95 %: {100 * found.tar_interval[0]:.2f} to {100 * found.tar_interval[1]:.2f}), {found.mated:,} mated pairs",
      f"measured on {found.data['pairs']} of {found.data['images']:,} images of {found.data['identities']:,} identities",
      f"in a gallery of {use.gallery:,}: {_rate(use.per_search, found)} false accepts per search,"
      f" {_rate(use.per_day, found)} per day of {use.searches_per_day:,g} searches;"
      f" {100 * use.any_in_search(found.far):.3g} % of searches have one or more",
      "FAR for one expected false accept in " + ", ".join(f"{days} {'day' if days == 1 else 'days'}: {use.far_for(days):.2g}" for days in DAYS),
    ]
    return "\n".join(lines)


def report_threshold(threshold: Threshold, traffic: Traffic, notes: Sequence[str] = ()) -> ThresholdReport:
  """The report of a threshold, with the caveats of its size and of expected numbers."""
  size = size_note(threshold.target_far, threshold.nonmated)
  if size and threshold.data["pairs"] != ALL and threshold.score == COSINE:
    size += " All pairs of labelled embeddings are more: --all-pairs."
  bounded = isfinite(threshold.interval[1]) and (threshold.score != COSINE or threshold.interval[1] < 1)
  ends = "its interval ends at 1." if threshold.score == COSINE else "its interval is open."
  open_end = "" if bounded else f"too few pairs score higher to bound the threshold: {ends}"
  if not threshold.far:
    open_end = f"no non-mated pair is accepted: the threshold lies above all of them, and {ends}"
  return ThresholdReport(threshold, traffic, tuple(note for note in (*notes, size, open_end, f"{INDEPENDENT}.") if note))


def _rate(of: Any, found: Threshold) -> str:
  low, high = (of(end) for end in found.far_interval)
  return f"{of(found.far):.3g} ({low:.3g} to {high:.3g})"


__all__ = ["INDEPENDENT", "ThresholdReport", "report_threshold"]
