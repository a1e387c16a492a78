"""What a FAR means in use: false accepts per search and per day, and the FAR that a target per day needs."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

DAYS = (1, 7, 30, 365)


@dataclass(frozen=True)
class Traffic:
  """How a system is used.

  Attributes:
    gallery: number of entries, each of another person than the one searched for, that a search compares with.
    searches_per_day: number of searches for people who are not in the gallery.
  """

  gallery: int
  searches_per_day: float

  def __post_init__(self) -> None:
    if self.gallery < 1 or not 0 < self.searches_per_day < float("inf"):
      raise ValueError(
        f"gallery {self.gallery} and {self.searches_per_day} searches per day: both must be positive numbers"
      )

  def per_search(self, far: float) -> float:
    """Expected number of false accepts of a search: the sum over entries, whether they are independent or not."""
    return self.gallery * far

  def per_day(self, far: float) -> float:
    """Expected number of false accepts of a day."""
    return self.per_search(far) * self.searches_per_day

  def any_in_search(self, far: float) -> float:
    """Share of searches with at least one false accept, if the comparisons of a search are independent."""
    return float(-np.expm1(self.gallery * np.log1p(-far))) if far < 1 else 1.0

  def far_for(self, days: float) -> float:
    """The FAR at which one false accept is expected in a number of days; at most 1."""
    return min(1.0, 1 / (days * self.gallery * self.searches_per_day))

  def to_json(self, far: float, interval: tuple[float, float]) -> dict[str, Any]:
    """Figures at a FAR with its interval, as plain JSON values."""
    ends = (far, *interval)
    return {
      **asdict(self),
      **{f"false_accepts_{name}": of(far) for name, of in (("per_search", self.per_search), ("per_day", self.per_day))},
      "false_accepts_per_search_interval": [self.per_search(end) for end in ends[1:]],
      "false_accepts_per_day_interval": [self.per_day(end) for end in ends[1:]],
      "searches_with_false_accepts": self.any_in_search(far),
      "searches_with_false_accepts_interval": [self.any_in_search(end) for end in ends[1:]],
      "far_for_one_in_days": {str(days): self.far_for(days) for days in DAYS},
    }


__all__ = ["DAYS", "Traffic"]
