"""Measures the threshold at a FAR, on a pair list or on all pairs of labelled embeddings, with intervals over identities."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jaxface.evaluation.intervals.identity_units import Units, units_of
from jaxface.evaluation.intervals.rates import rate_interval, wilson
from jaxface.evaluation.measures import roc as measures
from jaxface.evaluation.pairs.list_figures import evaluate_pairs
from jaxface.evaluation.streaming.all_pairs import all_pairs_tar_at_far
from jaxface.evaluation.streaming.pair_passes import PairPasses
from jaxface.evaluation.streaming.score_blocks import Layout
from jaxface.evaluation.threshold.false_accepts import AllPairs, Interval, ListedPairs, threshold_interval
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.formats.pairs import Pairs
from jaxface.formats.threshold import Threshold

ALL = "all pairs"
# Pairs with the highest scores that are held in memory (1.5 GiB).
_LIMIT = 2**26


def measure_threshold(
  embeddings: Embeddings | str | Path, pairs: Pairs | str | Path | None, far: float, *, skip_missing: bool = False
) -> tuple[Threshold, list[str]]:
  """The threshold with the largest TAR at a FAR of at most `far`.

  Args:
    embeddings: an `Embeddings`, or a file of them (.npz, .parquet), of one model and mirror setting.
    pairs: a `Pairs`, or the file of a pair list; None uses all pairs of the embeddings, which then need labels.
    far: target FAR in (0, 1).
    skip_missing: ignore pairs of images without an embedding; otherwise they raise an error. Pair lists only.
  Returns:
    (`Threshold`, caveats, a line each).
  Raises:
    ValueError: a target outside (0, 1); no labels; no mated or no non-mated pairs; an embedding that is zero or not finite, or absent.
    DamagedData: a file that cannot be read.
  """
  if not 0 < far < 1:
    raise ValueError(f"target FAR {far}: it must lie between 0 and 1, such as 1e-4")
  given = embeddings if isinstance(embeddings, Embeddings) else read_embeddings(embeddings)
  if pairs is None:
    return of_all_pairs(given, far), []
  found = evaluate_pairs(given, pairs, skip_missing=skip_missing)
  return of_pair_list(found.pairs, found.score_p, far, given), [note for note in found.notes if "threshold" not in note]


def of_pair_list(pairs: Pairs, score_p: np.ndarray, far: float, embeddings: Embeddings) -> Threshold:
  """The threshold on the scores of a pair list; folds are not used.

  Args:
    pairs: the list.
    score_p: [P] float64, cosine of each pair.
    far: target FAR.
    embeddings: what the scores are of.
  Raises:
    ValueError: no mated or no non-mated pairs.
  """
  same_p, units = np.asarray(pairs.same), units_of(pairs)
  point = measures.tar_at_far(measures.roc(score_p, same_p), far)
  nonmated = ListedPairs.of(score_p, same_p, units)
  count = int((nonmated.score_t >= point.threshold).sum())
  mated = Units(units.left_p[same_p], units.right_p[same_p], units.total)
  data = {
    "pairs": Path(pairs.file).name if pairs.file else "a pair list", "images": len({*pairs.left, *pairs.right}), "identities": units.total,
    "sha256": _digest(part for row in zip(pairs.left, pairs.right, same_p) for part in (row[0], row[1], str(int(row[2])))),
  }
  interval = threshold_interval(nonmated, far, count)
  assert interval is not None
  return _threshold(
    point, far, interval, nonmated.interval(count), rate_interval(score_p[same_p] >= point.threshold, mated),
    (nonmated.pairs, int(same_p.sum())), data, embeddings,
  )


def of_all_pairs(embeddings: Embeddings, far: float) -> Threshold:
  """The threshold on all pairs of labelled embeddings, exact.

  Raises:
    ValueError: no labels; no mated or no non-mated pairs; too many false accepts to hold.
  """
  if embeddings.label_n is None:
    raise ValueError("the embeddings have no labels, which all pairs need: embed a folder with one subfolder per person, or packed records")
  embedding_nd, (_, label_n) = embeddings.embedding_nd, np.unique(embeddings.label_n, return_inverse=True)
  passes = PairPasses.of(embedding_nd, label_n, None, None, Layout.of(None, None))
  mated, nonmated = passes.counts()
  # The interval reaches to thresholds that accept more pairs than the target allows.
  wide = min(1.0, 2 * far + 40 / max(nonmated, 1))
  while True:
    points = all_pairs_tar_at_far(embedding_nd, label_n, [far, wide])
    point, floor = points[far], points[wide].threshold
    found = AllPairs(*_tail(passes, floor if wide < 1 else -1.0), np.bincount(label_n))
    count = int((found.score_t >= point.threshold).sum())
    interval = threshold_interval(found, far, count)
    if interval is not None:
      break
    wide = min(1.0, 4 * wide)
  accepted_i, mated_i = passes.mated_accepts(point.threshold)
  data = {
    "pairs": ALL, "images": len(label_n), "identities": len(found.images_i),
    "sha256": _digest(part for name, label in zip(embeddings.names, label_n) for part in (name, str(label))),
  }
  return _threshold(
    point, far, interval, found.interval(count), mated_interval(accepted_i, mated_i), (nonmated, mated), data, embeddings
  )


def mated_interval(accepted_i: np.ndarray, mated_i: np.ndarray) -> Interval:
  """95 % interval of the TAR of all mated pairs; equal to `rate_interval` over them.

  Args:
    accepted_i: [I] int, accepted mated pairs of each identity.
    mated_i: [I] int, mated pairs of each identity.
  """
  pairs, accepted = int(mated_i.sum()), int(accepted_i.sum())
  if accepted in (0, pairs):
    trials = float(max(1, int((mated_i > 0).sum())))
    return wilson(trials * (accepted > 0), trials)
  share = accepted / pairs
  total = max(float(((accepted_i - share * mated_i) ** 2).sum()), accepted * (1 - share))
  trials = min(max(share * (1 - share) * pairs**2 / total, 1.0), float(pairs))
  return wilson(share * trials, trials)


def _tail(passes: PairPasses, floor: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Scores and identities of the non-mated pairs of at least a score."""
  score_t, left_t, right_t = passes.nonmated_above(floor, _LIMIT)
  return score_t, passes.left_label[left_t], passes.right_label[right_t]


def _threshold(
  point: measures.Operating, target: float, interval: Interval, far_interval: Interval, tar_interval: Interval, counts: tuple[int, int],
  data: dict, embeddings: Embeddings,
) -> Threshold:
  low, high = interval
  meta = embeddings.meta
  return Threshold(
    value=point.threshold, interval=(min(low, point.threshold), min(max(high, point.threshold), 1.0)), target_far=target,
    far=point.far, far_interval=far_interval, tar=point.tar, tar_interval=tar_interval, nonmated=counts[0], mated=counts[1], data=data,
    mirror=str(meta.get("mirror", "")), model_digest=str(meta.get("model_digest", "")),
  )


def _digest(parts: Iterable[str]) -> str:
  total = hashlib.sha256()
  for part in parts:
    total.update(part.encode() + b"\0")
  return total.hexdigest()


__all__ = ["ALL", "mated_interval", "measure_threshold", "of_all_pairs", "of_pair_list"]
