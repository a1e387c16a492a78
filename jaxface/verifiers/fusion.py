"""Fusion: one score from those of several verifiers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from jaxface.losses.ranges import check_name
from jaxface.verifiers.base import RowPairs, Rows, Verifier, identities
from jaxface.verifiers.drawn_pairs import training_pairs
from jaxface.verifiers.front import Front
from jaxface.verifiers.linear import Linear, fit_logistic, fit_svm

METHODS = ("logistic", "svm")
NORMS = ("none", "z", "t", "s")


class FusionPart(NamedTuple):
  """A verifier and the numbers of an embedding that it compares, such as those of one group of patches or of one network.

  Attributes:
    verifier: a fitted one.
    column_k: [K] int, indices into an embedding; None takes all.
  """

  verifier: Verifier
  column_k: np.ndarray | None = None

  def of(self, embedding_nd: np.ndarray) -> np.ndarray:
    """The numbers that the verifier compares."""
    return embedding_nd if self.column_k is None else embedding_nd[:, self.column_k]


class _Moments(NamedTuple):
  """Means and deviations of the scores with the cohort, [N, S] each."""

  mean_ns: np.ndarray
  deviation_ns: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Fusion(Verifier):
  """A weighted sum of the scores of several verifiers, and a bias; with logistic regression the logit of "one person".

  Attributes:
    parts: the verifiers, and what they compare.
    linear: weights [S] of their scores, and the bias.
    norm: "none", or how scores are normalised by those with a cohort first: see `fit`.
    cohort_cd: [C, D] float64, embeddings of the cohort, [0, D] for "none".
  """

  parts: tuple[FusionPart, ...]
  linear: Linear
  norm: str
  cohort_cd: np.ndarray

  kind = "fusion"
  what = "fused score"
  learns = "pairs"

  @classmethod
  def fit(
    cls, embedding_nd: Rows, target: Any = None, *, parts: Sequence[Verifier | FusionPart | str | Path] = (), method: str = "logistic",
    norm: str = "none", cohort: int = 100, penalty: float = 1e-3, pairs: int | None = None, seed: int = 0,
  ) -> Self:
    """Fits the weights of fitted verifiers.

    The verifiers' scores of images that they were fitted on are better than those of others, more so for some kinds: fit the weights on other people.

    Args:
      embedding_nd: [N, D] float, embeddings.
      target: [N] labels of identities, from which pairs are drawn, or a `RowPairs`.
      parts: the verifiers, files of verifiers, or `FusionPart`s.
      method: "logistic" regression or a linear "svm".
      norm: "none"; or subtract from each verifier's score the mean of its scores of one image of the pair with the cohort, and divide by their
        standard deviation: "z" of the left image, "t" of the right one, "s" the mean of both, which is symmetric.
      cohort: number of embeddings of the cohort. With labels they are of so many people, one each, who form no pairs; with a `RowPairs` they are
        rows in no pair, which should be of other people too.
      penalty: see `fit_logistic` and `fit_svm`.
      pairs: number of pairs to draw from labels, see `draw_pairs`.
      seed: of both draws.
    Raises:
      ValueError: no verifiers, one of another size, too few people or rows for the cohort; see `Front.fit`, `draw_pairs` and `fit_logistic`.
      ModuleNotFoundError: scikit-learn is not installed (for "svm").
    """
    check_name("method", method, METHODS)
    check_name("norm", norm, NORMS)
    front = Front.fit(embedding_nd, unit=False)
    kept = _checked_parts([_part(one) for one in parts], front.size)
    row_nd = front.apply_all(embedding_nd)
    if target is None or norm == "none":
      cohort_c, drawn = np.zeros(0, np.int64), training_pairs(target, len(row_nd), pairs=pairs, seed=seed, kind=cls.kind)
    else:
      cohort_c, drawn = _with_cohort(target, len(row_nd), cohort, pairs=pairs, seed=seed)
    made = cls(front, kept, Linear(np.ones(len(kept)), 0.0), norm, row_nd[cohort_c])
    score_ps = made.part_scores(row_nd[drawn.left_p], row_nd[drawn.right_p])
    linear = (fit_logistic if method == "logistic" else fit_svm)(score_ps, drawn.same_p, penalty=penalty)
    return cls(front, kept, linear, norm, made.cohort_cd)

  def part_scores(self, left_pd: np.ndarray, right_pd: np.ndarray) -> np.ndarray:
    """[P, S] float64, the normalised scores of each verifier for pairs [P, D]."""
    score_ps = np.stack([one.verifier.score(one.of(left_pd), one.of(right_pd)) for one in self.parts], 1)
    left, right = self._moments(left_pd, right_pd)
    return _normalised(score_ps, left, right)

  def compare(self, left_pk: np.ndarray, right_pk: np.ndarray) -> np.ndarray:
    return self.linear(self.part_scores(left_pk, right_pk)) if len(left_pk) else np.zeros(0)

  def compare_all(self, left_nk: np.ndarray, right_mk: np.ndarray) -> np.ndarray:
    if not len(left_nk) or not len(right_mk):
      return np.zeros((len(left_nk), len(right_mk)))
    left, right = self._moments(left_nk, right_mk)
    score_nm = np.full((len(left_nk), len(right_mk)), self.linear.bias)
    for index, one in enumerate(self.parts):
      part_nm = one.verifier.score_matrix(one.of(left_nk), one.of(right_mk))
      sides = [side and _Moments(side.mean_ns[:, index], side.deviation_ns[:, index]) for side in (left, right)]
      sides = [side and _Moments(*(np.expand_dims(part, 1 - axis) for part in side)) for axis, side in enumerate(sides)]
      score_nm += self.linear.weight_k[index] * _normalised(part_nm, *sides)
    return score_nm

  def _moments(self, left_nd: np.ndarray, right_md: np.ndarray) -> tuple[_Moments | None, _Moments | None]:
    """Moments of both sides, None for one that is not normalised by."""
    left = right = None
    if self.norm in ("z", "s"):
      left = self._side([one.verifier.score_matrix(one.of(left_nd), one.of(self.cohort_cd)) for one in self.parts], "left")
    if self.norm in ("t", "s"):
      right = self._side([one.verifier.score_matrix(one.of(self.cohort_cd), one.of(right_md)).T for one in self.parts], "right")
    return left, right

  def _side(self, score_snc: list[np.ndarray], side: str) -> _Moments:
    mean_ns, deviation_ns = (np.stack([getattr(score_nc, moment)(1) for score_nc in score_snc], 1) for moment in ("mean", "std"))
    for row, part in np.argwhere(deviation_ns <= 1e-9 * np.abs(mean_ns))[:1]:
      raise ValueError(f"the scores of {side} embedding {row} with the cohort by {self.parts[part].verifier.name} are all equal: they cannot normalise")
    return _Moments(mean_ns, deviation_ns)

  @property
  def name(self) -> str:
    """The names of the verifiers, and the normalisation."""
    return "fusion of " + " + ".join(one.verifier.name for one in self.parts) + (f", {self.norm}-norm" if self.norm != "none" else "")

  def settings(self) -> dict[str, Any]:
    from jaxface.verifiers.file import described

    return {"norm": self.norm, "parts": [{**described(one.verifier)[0], "columns": one.column_k is not None} for one in self.parts]}

  def arrays(self) -> dict[str, np.ndarray]:
    from jaxface.verifiers.file import described

    found = {"weight": self.linear.weight_k, "bias": np.array(self.linear.bias), "cohort": self.cohort_cd}
    for index, one in enumerate(self.parts):
      found |= {f"part{index}_{name}": value for name, value in described(one.verifier)[1].items()}
      found |= {} if one.column_k is None else {f"part{index}_columns": one.column_k}
    return found

  @classmethod
  def restored(cls, front: Front, settings: Mapping[str, Any], array: Mapping[str, np.ndarray]) -> Self:
    from jaxface.verifiers.file import rebuilt

    parts = []
    for index, about in enumerate(settings["parts"]):
      own = {name.removeprefix(f"part{index}_"): value for name, value in array.items() if name.startswith(f"part{index}_")}
      column_k = own.pop("columns").astype(np.int64) if about["columns"] else None
      parts.append(FusionPart(rebuilt(about, own), column_k))
    weight_s, bias, cohort_cd, norm = array["weight"], array["bias"], array["cohort"], settings["norm"]
    check_name("norm", norm, NORMS)
    if weight_s.shape != (len(parts),) or bias.shape != () or cohort_cd.ndim != 2 or cohort_cd.shape[1] != front.size:
      raise ValueError(f"it has {len(parts)} verifiers, weights {weight_s.shape} and a cohort {cohort_cd.shape}")
    if norm != "none" and len(cohort_cd) < 2:
      raise ValueError(f"its cohort of {len(cohort_cd)} cannot normalise scores")
    return cls(front, _checked_parts(parts, front.size), Linear(weight_s, float(bias)), norm, cohort_cd)


def _normalised(score: np.ndarray, left: _Moments | None, right: _Moments | None) -> np.ndarray:
  found = [(score - side.mean_ns) / side.deviation_ns for side in (left, right) if side is not None]
  return sum(found) / len(found) if found else score


def _part(given: Verifier | FusionPart | str | Path) -> FusionPart:
  if isinstance(given, str | Path):
    from jaxface.verifiers.file import read_verifier

    given = read_verifier(given)
  return FusionPart(given) if isinstance(given, Verifier) else given


def _checked_parts(parts: Sequence[FusionPart], size: int) -> tuple[FusionPart, ...]:
  if not parts:
    raise ValueError("no verifiers to fuse: at least one is needed")
  kept = []
  for index, (verifier, column_k) in enumerate(parts):
    if column_k is not None:
      column_k = np.asarray(column_k)
      if column_k.ndim != 1 or column_k.dtype.kind not in "iu" or not len(column_k) or column_k.min() < 0 or column_k.max() >= size:
        raise ValueError(f"verifier {index} ({verifier.name}): its columns must be indices [K] from 0 to {size - 1}")
    count = size if column_k is None else len(column_k)
    if verifier.front.size != count:
      raise ValueError(f"verifier {index} ({verifier.name}) compares {verifier.front.size} numbers, {count} were given: `FusionPart` takes columns")
    kept.append(FusionPart(verifier, column_k))
  return tuple(kept)


def _with_cohort(target: Any, count: int, cohort: int, *, pairs: int | None, seed: int) -> tuple[np.ndarray, RowPairs]:
  """Rows of the cohort, and pairs of other people, or other rows where people are not known."""
  random = np.random.default_rng(seed)
  if isinstance(target, RowPairs):
    drawn = training_pairs(target, count, pairs=pairs, seed=seed, kind=Fusion.kind)
    free = np.setdiff1d(np.arange(count), np.concatenate([drawn.left_p, drawn.right_p]))
    if not 2 <= cohort <= len(free):
      raise ValueError(f"a cohort of {cohort:,}: {len(free):,} embeddings are in no pair, it takes from 2 of them; labels allow to draw pairs of others")
    return np.sort(random.choice(free, cohort, replace=False)), drawn
  label_n = identities(target, count, Fusion.kind)
  people = int(label_n.max()) + 1
  if not 2 <= cohort <= people - 2:
    raise ValueError(f"a cohort of {cohort:,}: it takes from 2 to {people - 2:,} of these {people:,} people, since pairs need two others")
  chosen_c = random.choice(people, cohort, replace=False)
  cohort_c = np.array([random.choice(np.flatnonzero(label_n == one)) for one in np.sort(chosen_c)])
  rest = np.flatnonzero(~np.isin(label_n, chosen_c))
  drawn = training_pairs(label_n[rest], len(rest), pairs=pairs, seed=seed, kind=Fusion.kind)
  return cohort_c, RowPairs(rest[drawn.left_p], rest[drawn.right_p], drawn.same_p)


__all__ = ["METHODS", "NORMS", "Fusion", "FusionPart"]
