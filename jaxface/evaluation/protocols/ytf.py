"""YouTube Faces: 5,000 pairs of videos in ten folds, each video a set of frames.

The score of two videos, from the cosines of all pairs of their frames:

  ytf         the mean of these cosines
  ytf-max     the largest
  ytf-pooled  the cosine of the two mean embeddings (of frames at length one)

An embedding is a frame of the video `Person/0` if it is named `Person/0/…`.

Source: Wolf, Hassner, Maoz, "Face Recognition in Unconstrained Videos with Matched Background Similarity", 2011.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.matrix_checks import unit_rows
from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.evaluation.pairs.pair_names import images_of, without_missing
from jaxface.evaluation.protocols.base import Protocol, find_file, unit_embeddings
from jaxface.evaluation.protocols.pair_list import check_pairs, folder_of, of_scores, with_protocol
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.pairs import Pairs, read_pairs
from jaxface.losses.ranges import check_name

COUNTS = {"pairs": 5000, "mated": 2500, "nonmated": 2500, "folds": 10, "images": 3226, "people": 1447}
POOLING = ("mean", "max", "pooled")


@dataclass(frozen=True)
class Ytf(Protocol):
  """Pairs of videos.

  Attributes:
    pairs: the list; a name is that of a video.
    pooling: one of `POOLING`.
  """

  pairs: Pairs
  pooling: str

  @property
  def images(self) -> tuple[str, ...]:
    """Names of the videos."""
    return images_of(self.pairs)

  def used(self, names: Sequence[str]) -> tuple[set[str], list[str]]:
    """The frames of the videos, and the videos without a frame."""
    frames = _frames(names)
    return (
      {names[row] for video in self.images for row in frames.get(video, ())}, [video for video in self.images if video not in frames],
    )

  def evaluate(self, embeddings: Embeddings, *, skip_missing: bool = False, **options: Any) -> Evaluation:
    frames = _frames(embeddings.names)
    pairs, notes = without_missing(self.pairs, list(frames)) if skip_missing else (self.pairs, [])
    for pair, names in enumerate(zip(pairs.left, pairs.right)):
      for name in names:
        if name not in frames:
          have = ", ".join(map(repr, embeddings.names[:3]))
          raise ValueError(f"{pairs.where(pair)}: no frame is named {name + '/…'!r}; the embeddings are named like {have}")
    score_p = video_scores(embeddings, frames, pairs, self.pooling)
    return with_protocol(of_scores(pairs, score_p), self, notes=notes, pooling=self.pooling)


def video_scores(embeddings: Embeddings, frames: Mapping[str, list[int]], pairs: Pairs, pooling: str) -> np.ndarray:
  """Scores of pairs of videos.

  Args:
    embeddings: of the frames.
    frames: rows of each video.
    pairs: pairs of videos.
    pooling: one of `POOLING`.
  Returns:
    [P] float64.
  Raises:
    ValueError: an embedding that is zero or not finite.
  """
  check_name("pooling", pooling, POOLING)

  def unit(video: str) -> np.ndarray:
    return unit_embeddings(embeddings, frames[video])

  if pooling == "max":
    return np.array([(unit(a) @ unit(b).T).max() for a, b in zip(pairs.left, pairs.right)])
  mean = {video: unit(video).mean(0) for video in {*pairs.left, *pairs.right}}
  if pooling == "pooled":
    mean = {video: unit_rows(mean_d[None], names=[f"{video}, pooled"])[0] for video, mean_d in mean.items()}
  # The mean of all cosines of two sets is the product of their mean unit vectors.
  return np.array([mean[a] @ mean[b] for a, b in zip(pairs.left, pairs.right)])


def _frames(names: Sequence[str]) -> dict[str, list[int]]:
  """Rows of the frames of each video, `Person/0` of `Person/0/…`."""
  frames: dict[str, list[int]] = {}
  for row, name in enumerate(names):
    frames.setdefault("/".join(name.split("/")[:2]), []).append(row)
  return frames


def read_ytf(lists: str | Path, pooling: str = "mean") -> Ytf:
  """Reads `splits.txt`, or a folder with it.

  Args:
    lists: file or folder.
    pooling: one of `POOLING`.
  Raises:
    DamagedData: an invalid line, or other counts than the official ones.
    FileNotFoundError: no list.
  """
  check_name("pooling", pooling, POOLING)
  pairs = read_pairs(find_file(lists, ("splits.txt", "ytf_splits.txt", "Splits.txt"), "list of pairs"))
  counts, notes = check_pairs(pairs, COUNTS, person=folder_of, digest="a6b34f6af47014e1")
  return Ytf("ytf" if pooling == "mean" else f"ytf-{pooling}", counts, tuple(notes), pairs, pooling)


__all__ = ["POOLING", "Ytf", "read_ytf", "video_scores"]
