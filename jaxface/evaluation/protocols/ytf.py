"""YouTube Faces: 5,000 pairs of videos in ten folds, each video a set of frames.

The score of two videos, from the cosines of pairs of their frames:

  ytf         the mean over all pairs
  ytf-max     the largest
  ytf-pooled  the cosine of the two mean embeddings (of frames at length one)
  ytf-random  the mean over 50 random pairs, as DeepFace does
  ytf-top     as ytf-pooled, of the 100 best frames, as VGG-Face does

An embedding is a frame of the video `Person/0` if it is named `Person/0/…`.

Source: Wolf, Hassner, Maoz, "Face Recognition in Unconstrained Videos with Matched Background Similarity", 2011.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.evaluation.pairs.pair_names import images_of, without_missing
from jaxface.evaluation.pairs.pair_score import COSINE, PairScore
from jaxface.evaluation.pairs.videos import COUNTS as COUNTS_OF_FRAMES
from jaxface.evaluation.pairs.videos import POOLING, FrameRule, Videos, frames_of, video_scores
from jaxface.evaluation.protocols.base import Protocol, find_file
from jaxface.evaluation.protocols.pair_list import check_pairs, folder_of, of_scores, with_protocol
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.pairs import Pairs, read_pairs
from jaxface.losses.ranges import check_name

COUNTS = {"pairs": 5000, "mated": 2500, "nonmated": 2500, "folds": 10, "images": 3226, "people": 1447}


@dataclass(frozen=True)
class Ytf(Protocol):
  """Pairs of videos.

  Attributes:
    pairs: the list; a name is that of a video.
    pooling: one of `POOLING`.
    rule: which frames count, for "random" and "top".
  """

  pairs: Pairs
  pooling: str
  rule: FrameRule = field(default_factory=FrameRule)

  @property
  def images(self) -> tuple[str, ...]:
    """Names of the videos."""
    return images_of(self.pairs)

  def used(self, names: Sequence[str]) -> tuple[set[str], list[str]]:
    """The frames of the videos, and the videos without a frame."""
    frames = frames_of(names)
    return (
      {names[row] for video in self.images for row in frames.get(video, ())}, [video for video in self.images if video not in frames],
    )

  def evaluate(self, embeddings: Embeddings, *, skip_missing: bool = False, score: PairScore | None = None, **options: Any) -> Evaluation:
    """Verification figures.

    Args:
      embeddings: of the frames.
      skip_missing: see `Protocol.evaluate`.
      score: what scores two frames, such as a `jaxface.verifiers.Verifier`; None is the cosine.
    Returns:
      `Evaluation`.
    Raises:
      ValueError: a video without frames, a score of other embeddings, or see `video_scores`.
    """
    if score is not None:
      score.check_meta(embeddings.meta, "the embeddings")
    frames = frames_of(embeddings.names)
    pairs, notes = without_missing(self.pairs, list(frames)) if skip_missing else (self.pairs, [])
    for pair, names in enumerate(zip(pairs.left, pairs.right)):
      for name in names:
        if name not in frames:
          have = ", ".join(map(repr, embeddings.names[:3]))
          raise ValueError(f"{pairs.where(pair)}: no frame is named {name + '/…'!r}; the embeddings are named like {have}")
    videos = Videos(frames, embeddings.names, embeddings.embedding_nd)
    score_p = video_scores(videos, pairs.left, pairs.right, self.pooling, rule=self.rule, score=None if score is None else score.score)
    about = {}
    if self.pooling in COUNTS_OF_FRAMES:
      about["frames"] = self.rule.count or COUNTS_OF_FRAMES[self.pooling]
    if self.pooling == "random":
      about["frame_seed"] = self.rule.seed
    if self.pooling == "top" and not self.rule.quality:
      notes = [*notes, "frames are ranked by the length of their embedding, those of equal length by name: no frame scores are given."]
    return with_protocol(of_scores(pairs, score_p, score.name if score else COSINE), self, notes=notes, pooling=self.pooling, **about)


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


__all__ = ["Ytf", "read_ytf"]
