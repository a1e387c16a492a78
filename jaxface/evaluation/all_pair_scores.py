"""Exact TAR at FAR over all pairs of a set of embeddings, without storing the scores.

All pairs of N embeddings are N (N − 1) / 2 scores, 10¹² for 1.4 million. The threshold at a false-accept rate is the non-mated score of a
rank. A sample of pairs brackets it; one pass over tiles of the matrix product counts the scores above each bracket and collects those
inside, whose sort gives the score. Where a bracket missed, or would hold too many scores, it is moved by counts at several scores, and the
pass repeated: the result never depends on the sample.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np

from jaxface.evaluation.all_pair_intervals import MOST_ACCEPTED, draw_tar
from jaxface.evaluation.figure_intervals import Interval
from jaxface.evaluation.measures import Operating
from jaxface.evaluation.pair_tiles import Passed, Tiles

_SAMPLE = 2_000_000
# Scores that a bracket may hold, and the thresholds of a pass that only counts.
_MOST, _COUNTED = 2**24, 10
_LEAST = np.float32(-np.finfo(np.float32).max)


@dataclass(frozen=True)
class AllPairs:
  """Figures over all pairs of a set.

  Attributes:
    mated: number of mated pairs.
    nonmated: number of non-mated pairs.
    operating: by target FAR: TAR, actual FAR, and the threshold, just above the highest score that may not be accepted.
    mated_score: [mated] float32, all mated scores, ascending.
    interval: by target FAR: 95 % interval of TAR over identities, see `all_pair_intervals`; empty if not asked for.
  """

  mated: int
  nonmated: int
  operating: Mapping[float, Operating]
  mated_score: np.ndarray
  interval: Mapping[float, Interval] = field(default_factory=dict)


def all_pairs(
  embedding_nd: np.ndarray, identity_n: np.ndarray, targets: Sequence[float], *, intervals: bool = False, devices: Sequence[jax.Device] | None = None,
  progress: bool = False, seed: int = 0,
) -> AllPairs:
  """TAR at FAR over all pairs, exact: the largest TAR of any threshold whose FAR is at most the target.

  Scores are float32 inner products, computed in tiles of one shape.

  Args:
    embedding_nd: [N, D] float; of unit length for cosines. It is read in blocks, and may be mapped from a file.
    identity_n: [N] int, identity of each row.
    targets: false-accept rates in [0, 1].
    intervals: also give intervals; of targets that accept at most a million pairs, and with one more pass.
    devices: that share the tiles; None for all of this host. The result does not depend on them.
    progress: draw a progress bar for each pass.
    seed: of the sample, on which the time depends, and the result does not.
  Returns:
    `AllPairs`.
  Raises:
    ValueError: shapes that do not fit, no mated or no non-mated pairs, a target out of range, an embedding that is not finite.
  """
  identity_n = np.asarray(identity_n)
  if embedding_nd.ndim != 2 or identity_n.shape != (len(embedding_nd),):
    raise ValueError(f"embeddings {embedding_nd.shape} and identities {identity_n.shape}: they must be [N, D] and [N]")
  if wrong := [target for target in targets if not 0 <= target <= 1]:
    raise ValueError(f"target FAR {wrong[0]}: it must lie in [0, 1]")
  order = np.argsort(identity_n, kind="stable")
  count_i = np.unique(identity_n, return_counts=True)[1].astype(object)  # without overflow
  mated = int((count_i * (count_i - 1) // 2).sum())
  nonmated = len(order) * (len(order) - 1) // 2 - mated
  if not mated or not nonmated:
    raise ValueError(f"{mated} mated and {nonmated} non-mated pairs: figures need at least one of each")
  tiles = Tiles(embedding_nd, order, identity_n[order], list(devices or jax.local_devices()))
  ranks = [_allowed(target, nonmated) for target in targets]
  found = _find(tiles, ranks, nonmated, seed, progress)
  operating = {}
  for target, rank, (refused, accepted) in zip(targets, ranks, found.refused):
    threshold = -math.inf if rank >= nonmated else float(np.nextafter(refused, np.float32(np.inf)))
    tar = (mated - int(np.searchsorted(found.mated, np.float32(threshold)))) / mated
    operating[target] = Operating(tar, accepted / nonmated, threshold)
  interval = {}
  few = [target for target, rank in zip(targets, ranks) if rank <= MOST_ACCEPTED] if intervals else []
  if few:
    # Lower than any threshold of a draw: twice as many scores, and a few.
    at = min(2 * max(rank for target, rank in zip(targets, ranks) if target in few) + 100, nonmated - 1)
    (low, _), = _find(tiles, [at], nonmated, seed, progress).refused
    top = tiles.passed(np.array([low]), np.array([np.inf], np.float32), pairs=True, progress=progress)
    interval = draw_tar(top, identity_n, few)
  return AllPairs(mated, nonmated, operating, found.mated, interval)


@dataclass
class _Found:
  """The highest score that is refused for each rank with how many are above it, and the mated scores."""

  refused: list[tuple[np.float32, int]]
  mated: np.ndarray


def _allowed(target: float, nonmated: int) -> int:
  """The most false accepts whose share, a correctly rounded quotient, is at most the target."""
  most = min(int(target * nonmated) + 1, nonmated)
  while most / nonmated > target:
    most -= 1
  return most


def _find(tiles: Tiles, ranks: list[int], nonmated: int, seed: int, progress: bool) -> _Found:
  sample = tiles.sample(_SAMPLE, seed)
  bounds = [_Bounds(rank, nonmated, sample) for rank in ranks]
  while True:
    while wide := [one for one in bounds if one.expected > _MOST]:
      scores = np.unique(np.concatenate([one.between(max(2, _COUNTED // len(wide))) for one in wide]))
      counted = tiles.passed(scores, scores, progress=progress)
      for one in bounds:
        one.learn(scores, counted.above)
    ends = [(np.float32(np.inf),) * 2 if one.solved else (one.low, one.high) for one in bounds]
    low_t, high_t = np.array(ends, np.float32).T
    passed = tiles.passed(low_t, high_t, progress=progress)
    results = [one.result(passed, at) for at, one in enumerate(bounds)]
    if all(result is not None for result in results):
      return _Found([result for result in results if result is not None], passed.mated)


class _Bounds:
  """A bracket of the score of a rank.

  Args:
    rank: r: the score sought is the (r + 1)-th largest.
    nonmated: number of non-mated scores.
    sample: some of them, ascending.
  Attributes:
    low: the score is at least this, as far as the sample tells.
    high: and less than this.
    expected: number of scores that the bracket is expected to hold.
  """

  def __init__(self, rank: int, nonmated: int, sample: np.ndarray):
    self.rank, self.nonmated, self.sample = rank, nonmated, sample
    self.known = {np.float32(np.inf): 0, _LEAST: nonmated}  # how many scores are at or above a score
    share = min(rank + 1, nonmated) / nonmated * len(sample)
    spread = 5 * math.sqrt(share * max(1 - share / max(len(sample), 1), 0)) + 10
    self.low, self.high = self._of_sample(share + spread), self._of_sample(share - spread)

  @property
  def solved(self) -> bool:
    """Whether one score is left, or none is sought."""
    return self.rank >= self.nonmated or np.nextafter(self.low, np.float32(np.inf)) == self.high

  @property
  def expected(self) -> float:
    """By the sample; 0 where nothing has to be collected."""
    if self.solved:
      return 0.0
    low, high = np.searchsorted(self.sample, [self.low, self.high])
    return (high - low) / max(len(self.sample), 1) * self.nonmated

  def _of_sample(self, place: float) -> np.float32:
    """The score with about `place` scores of the sample at or above it."""
    if place >= len(self.sample):
      return _LEAST
    return np.float32(np.inf) if place <= 0 else np.float32(self.sample[len(self.sample) - 1 - int(place)])

  def between(self, count: int) -> np.ndarray:
    """Some scores of the sample inside the bracket, for a pass that counts."""
    inside = self.sample[np.searchsorted(self.sample, self.low) : np.searchsorted(self.sample, self.high)]
    chosen = inside[np.linspace(0, len(inside) - 1, count).astype(int)]
    # Counts on both sides of a score solve a bracket of equal scores, however many there are.
    return np.concatenate([chosen, np.nextafter(chosen, np.float32(np.inf))])

  def learn(self, scores: np.ndarray, above: list[int]) -> None:
    """Narrows the bracket by counts of scores at or above some scores."""
    if self.rank >= self.nonmated:
      return
    self.known |= dict(zip(scores, above))
    self.low = max(score for score, count in self.known.items() if count > self.rank)
    self.high = min(score for score, count in self.known.items() if count <= self.rank)

  def result(self, passed: Passed, at: int) -> tuple[np.float32, int] | None:
    """The score of the rank and how many are above it; None where the bracket missed, which is then moved."""
    if self.solved:
      return (_LEAST, self.nonmated) if self.rank >= self.nonmated else (self.low, self.known[self.high])
    above, inside = passed.above[at], passed.inside[at]
    place = self.rank - above  # from the top of the bracket
    if 0 <= place < len(inside):
      score = inside[len(inside) - 1 - place]
      return score, above + len(inside) - int(np.searchsorted(inside, score, side="right"))
    self.learn(np.array([self.low, self.high]), [above + len(inside), above])
    return None


__all__ = ["AllPairs", "all_pairs"]
