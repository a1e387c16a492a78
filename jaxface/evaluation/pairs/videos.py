"""Scores of pairs of videos, each a set of frames with an embedding.

  mean    the mean score of all pairs of their frames
  max     the largest
  pooled  the score of the two mean embeddings
  random  the mean score of random pairs of frames: DeepFace's rule, 50 pairs
  top     the score of the mean embeddings of the best frames: VGG-Face's rule, 100 frames by the confidence of their landmarks

Sources: Taigman et al., "DeepFace", 2014, §5.4; Parkhi et al., "Deep Face Recognition", 2015, §5.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np

from jaxface.evaluation.matrix_checks import unit_rows
from jaxface.evaluation.pairs.pair_names import finder
from jaxface.evaluation.slices.attributes import read_attributes
from jaxface.losses.ranges import check_name

POOLING = ("mean", "max", "pooled", "random", "top")
COUNTS = MappingProxyType({"random": 50, "top": 100})

# [P, D] and [P, D] float64 to [P] scores, such as `Verifier.score`.
Score = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class FrameRule:
  """Which frames count.

  Attributes:
    count: number of pairs ("random") or frames ("top"); 0 takes those of the papers, 50 and 100.
    seed: of the random pairs; each pair of videos has its own, so that it does not depend on the list.
    quality: a number for each frame by name, higher is better ("top"); empty takes the length of the embedding. Names match
      those of the frames with or without an image suffix.
  """

  count: int = 0
  seed: int = 0
  quality: Mapping[str, float] = field(default_factory=dict)

  @classmethod
  def read(cls, table: str | Path | None = None, column: str = "quality", *, count: int = 0, seed: int = 0) -> "FrameRule":
    """A rule with the qualities of a table, such as `faces.csv` of `jaxface align`.

    Args:
      table: .csv, .tsv or .parquet with the names in its first column; None gives no qualities.
      column: the column of the qualities.
      count: see `FrameRule`.
      seed: see `FrameRule`.
    Raises:
      ValueError: no such column, or one of text.
      DamagedData: a table that cannot be read.
    """
    if table is None:
      return cls(count, seed)
    found = read_attributes(table)
    check_name(f"column of {table}", column, tuple(found.columns))
    if found.columns[column].dtype.kind != "f":
      raise ValueError(f"{table}: column {column!r} has text, not numbers")
    return cls(count, seed, dict(zip(found.names, found.columns[column].tolist())))

  def __post_init__(self) -> None:
    if self.count < 0 or self.seed < 0:
      raise ValueError(f"count {self.count} and seed {self.seed} of frames must not be negative")


@dataclass(frozen=True)
class Videos:
  """Frames by video.

  Attributes:
    rows: by video, the rows of its frames in `embedding_nd`, in the order of their names.
    names: N names of frames.
    embedding_nd: [N, D] float, as they are.
  """

  rows: Mapping[str, Sequence[int]]
  names: Sequence[str]
  embedding_nd: np.ndarray

  def frames(self, video: str, *, unit: bool) -> np.ndarray:
    """[F, D] float64, the frames of a video, at length one if `unit`.

    Raises:
      ValueError: an embedding that is zero or not finite; names it.
    """
    rows = list(self.rows[video])
    unit_fd = unit_rows(self.embedding_nd[rows], names=[self.names[row] for row in rows])
    return unit_fd if unit else np.asarray(self.embedding_nd[rows], np.float64)


def frames_of(names: Iterable[str]) -> dict[str, list[int]]:
  """Rows of the frames of each video, `Person/0` of `Person/0/…`, in the order of their names."""
  frames: dict[str, list[int]] = {}
  for name, row in sorted((name, row) for row, name in enumerate(names)):
    frames.setdefault("/".join(name.split("/")[:2]), []).append(row)
  return frames


def video_scores(
  videos: Videos, left: Sequence[str], right: Sequence[str], pooling: str = "mean", *, rule: FrameRule | None = None,
  score: Score | None = None,
) -> np.ndarray:
  """Scores of pairs of videos.

  Args:
    videos: the frames.
    left: P names of videos.
    right: P names of videos.
    pooling: one of `POOLING`.
    rule: count, seed and quality for "random" and "top"; None takes those of the papers.
    score: scores rows of embeddings as they are, for example `verifier.score`; None is the cosine, for which every frame has
      length one before the mean of embeddings is taken.
  Returns:
    [P] float64.
  Raises:
    KeyError: a video without frames.
    ValueError: an unknown pooling; an embedding that is zero or not finite; a frame of a video without a quality.
  """
  check_name("pooling", pooling, POOLING)
  rule = FrameRule() if rule is None else rule
  frames = {video: videos.frames(video, unit=score is None) for video in dict.fromkeys([*left, *right])}
  if pooling == "top":
    find = finder(rule.quality)
    frames = {video: frames_fd[_best(videos, video, rule, find)] for video, frames_fd in frames.items()}
  if pooling in ("pooled", "top"):
    mean = {video: frames_fd.mean(0) for video, frames_fd in frames.items()}
    if score is None:
      mean = {video: unit_rows(mean_d[None], names=[f"{video}, pooled"])[0] for video, mean_d in mean.items()}
    return (score or _inner)(np.stack([mean[video] for video in left]), np.stack([mean[video] for video in right]))
  if pooling == "mean" and score is None:
    # The mean of all cosines of two sets is the product of their mean unit vectors.
    mean = {video: frames_fd.mean(0) for video, frames_fd in frames.items()}
    return np.array([mean[a] @ mean[b] for a, b in zip(left, right)])
  chosen = partial(random_frame_pairs, count=rule.count or COUNTS["random"], seed=rule.seed) if pooling == "random" else _all_pairs
  found = []
  for a, b in zip(left, right):
    row_p, column_p = chosen(a, b, len(frames[a]), len(frames[b]))
    score_p = (score or _inner)(frames[a][row_p], frames[b][column_p])
    found.append(score_p.max() if pooling == "max" else score_p.mean())
  return np.array(found, np.float64)


def random_frame_pairs(left: str, right: str, left_count: int, right_count: int, *, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Random pairs of frames, drawn with replacement, the same for two videos wherever their pair stands.

  Args:
    left: name of a video.
    right: name of a video.
    left_count: number of its frames.
    right_count: number of its frames.
    count: number of pairs.
    seed: seed.
  Returns:
    ([P] int, [P] int), numbers of frames.
  """
  rng = np.random.default_rng([seed, zlib.crc32(left.encode()), zlib.crc32(right.encode())])
  return rng.integers(left_count, size=count), rng.integers(right_count, size=count)


def _all_pairs(left: str, right: str, left_count: int, right_count: int) -> tuple[np.ndarray, np.ndarray]:
  row_p, column_p = np.divmod(np.arange(left_count * right_count), right_count)
  return row_p, column_p


def _best(videos: Videos, video: str, rule: FrameRule, find: Callable[[str], str]) -> np.ndarray:
  """Numbers of the best frames of a video; of equal ones the first by name."""
  rows = list(videos.rows[video])
  if not rule.quality:
    quality_f = np.linalg.norm(np.asarray(videos.embedding_nd[rows], np.float64), axis=1)
    # Lengths of one differ by rounding only, which is no order.
    quality_f = np.round(quality_f, 5)
  else:
    names = [videos.names[row] for row in rows]
    absent = [name for name in names if find(name) not in rule.quality]
    if absent:
      raise ValueError(f"frame {absent[0]!r} has no quality ({len(absent):,} of {len(names):,} frames of video {video!r} have none)")
    quality_f = np.array([rule.quality[find(name)] for name in names], np.float64)
    if not np.isfinite(quality_f).all():
      raise ValueError(f"frame {names[int(np.flatnonzero(~np.isfinite(quality_f))[0])]!r} has a quality that is not finite")
  return np.argsort(-quality_f, kind="stable")[: rule.count or COUNTS["top"]]


def _inner(left_pd: np.ndarray, right_pd: np.ndarray) -> np.ndarray:
  return (left_pd * right_pd).sum(1)


__all__ = ["COUNTS", "POOLING", "FrameRule", "Score", "Videos", "frames_of", "random_frame_pairs", "video_scores"]
