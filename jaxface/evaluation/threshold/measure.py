"""Measures the threshold at a FAR, on a pair list or on all pairs of labelled embeddings, with intervals over identities."""

import hashlib
from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import cast

import numpy as np

from jaxface.evaluation.intervals.false_accepts import Interval, ListedPairs, threshold_interval
from jaxface.evaluation.intervals.identity_units import Units, units_of
from jaxface.evaluation.intervals.rates import rate_interval
from jaxface.evaluation.measures import roc as measures
from jaxface.evaluation.pairs.list_figures import evaluate_pairs
from jaxface.evaluation.pairs.pair_score import MatrixScore, PairScore
from jaxface.evaluation.streaming.pair_intervals import all_pairs_intervals, scored_pairs_intervals
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.formats.pairs import Pairs
from jaxface.formats.threshold import COSINE, Threshold

ALL = "all pairs"


def measure_threshold(
  embeddings: Embeddings | str | Path, pairs: Pairs | str | Path | None, far: float, *, score: PairScore | None = None, skip_missing: bool = False
) -> tuple[Threshold, list[str]]:
  """The threshold with the largest TAR at a FAR of at most `far`.

  It is meant to be used as it is, so the intervals of FAR and TAR are those at this threshold. `evaluate_all_pairs` gives the interval of
  TAR at a FAR, which includes that the threshold of this FAR in the population is not known.

  Args:
    embeddings: an `Embeddings`, or a file of them (.npz, .parquet), of one model and mirror setting.
    pairs: a `Pairs`, or the file of a pair list; None uses all pairs of the embeddings, which then need labels.
    far: target FAR in (0, 1).
    score: what scores the pairs, such as a `jaxface.verifiers.Verifier`; None is the cosine. For all pairs it is a `MatrixScore`.
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
    return of_all_pairs(given, far, matrix_score(score, given, embeddings)), []
  found = evaluate_pairs(given, pairs, score=score, skip_missing=skip_missing)
  return of_pair_list(found.pairs, found.score_p, far, given, COSINE if score is None else score.name), [note for note in found.notes if "threshold" not in note]


def of_pair_list(pairs: Pairs, score_p: np.ndarray, far: float, embeddings: Embeddings, name: str = COSINE) -> Threshold:
  """The threshold on the scores of a pair list; folds are not used.

  Args:
    pairs: the list.
    score_p: [P] float64, cosine of each pair, or another score.
    far: target FAR.
    embeddings: what the scores are of.
    name: name of the score.
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
  interval = threshold_interval(nonmated, far)
  assert interval is not None
  return _threshold(
    point, far, interval, nonmated.interval(count), rate_interval(score_p[same_p] >= point.threshold, mated),
    (nonmated.pairs, int(same_p.sum())), data, embeddings, name,
  )


def of_all_pairs(embeddings: Embeddings, far: float, score: MatrixScore | None = None) -> Threshold:
  """The threshold on all pairs of labelled embeddings, exact. The interval of its TAR is at this threshold, which is to be used.

  Raises:
    ValueError: no labels; no mated or no non-mated pairs.
  """
  label_n = labels_of(embeddings)
  if score is None:
    found = all_pairs_intervals(embeddings.embedding_nd, label_n, [far])[far]
  else:
    found = scored_pairs_intervals(embeddings.embedding_nd, label_n, [far], score)[far]
  data = {
    "pairs": ALL, "images": len(label_n), "identities": int(label_n.max()) + 1,
    "sha256": _digest(part for name, label in zip(embeddings.names, label_n) for part in (name, str(label))),
  }
  mated, nonmated = pair_counts(label_n)
  name = COSINE if score is None else score.name
  return _threshold(found.point, far, found.threshold, found.far, found.tar_at_threshold, (nonmated, mated), data, embeddings, name)


def matrix_score(score: PairScore | None, given: Embeddings, where: Embeddings | str | Path) -> MatrixScore | None:
  """The score, for all pairs of embeddings; None where it is the cosine.

  Raises:
    ValueError: it compares single pairs only, or embeddings of another making.
  """
  if score is None:
    return None
  if not hasattr(score, "score_matrix"):
    raise ValueError(f"{score.name} scores single pairs only, all pairs need its score_matrix: give a pair list")
  score.check_meta(given.meta, "these embeddings" if isinstance(where, Embeddings) else str(where))
  return cast(MatrixScore, score)


def labels_of(embeddings: Embeddings) -> np.ndarray:
  """[N] int64, the identities numbered from 0.

  Raises:
    ValueError: no labels.
  """
  if embeddings.label_n is None:
    raise ValueError(
      "the embeddings have no labels, which all pairs need: embed a folder with one subfolder per person, or packed records; the text file of a .npy"
      " takes identities too"
    )
  return np.unique(embeddings.label_n, return_inverse=True)[1]


def pair_counts(label_n: np.ndarray) -> tuple[int, int]:
  """Number of mated and of non-mated pairs of one set."""
  images_i = np.unique(label_n, return_counts=True)[1]
  mated = int((images_i * (images_i - 1) // 2).sum())
  return mated, len(label_n) * (len(label_n) - 1) // 2 - mated


def _threshold(
  point: measures.Operating, target: float, interval: Interval, far_interval: Interval, tar_interval: Interval, counts: tuple[int, int],
  data: dict, embeddings: Embeddings, name: str = COSINE,
) -> Threshold:
  low, high = interval
  least, most = (-1.0, 1.0) if name == COSINE else (-inf, inf)
  meta = embeddings.meta
  if crops := meta.get("crops"):
    raise ValueError(f"the embeddings are means over {crops} crops: a model's threshold is for embeddings of the whole face (--crops one)")
  return Threshold(
    value=point.threshold, interval=(max(min(low, point.threshold), least), min(max(high, point.threshold), most)), target_far=target,
    far=point.far, far_interval=far_interval, tar=point.tar, tar_interval=tar_interval, nonmated=counts[0], mated=counts[1], data=data,
    mirror=str(meta.get("mirror", "")), model_digest=str(meta.get("model_digest", "")), score=name,
  )


def _digest(parts: Iterable[str]) -> str:
  total = hashlib.sha256()
  for part in parts:
    total.update(part.encode() + b"\0")
  return total.hexdigest()


__all__ = ["ALL", "labels_of", "matrix_score", "measure_threshold", "of_all_pairs", "of_pair_list", "pair_counts"]
