"""Two people under one name, and one person under two names, by components over mutual k-nearest neighbours."""

from typing import NamedTuple

import numpy as np

from jaxface.evaluation.measures.graph import components
from jaxface.evaluation.streaming.nearest import nearest_embeddings
from jaxface.pipeline.cleaning.normal import Normal

# A component with fewer images is a matter of single wrong labels.
FEWEST = 2
_PRIOR_SPLIT, _PRIOR_MERGE = 0.02, 0.02


class Split(NamedTuple):
  """Images of one name that probably show another person than most of its images: rows, and the probability."""

  label: int
  rows: np.ndarray
  probability: float


class Merge(NamedTuple):
  """Two names that probably are one person, with the probability and the cosine of their centres."""

  first: int
  second: int
  probability: float
  cosine: float


def mutual_neighbours(unit_nd: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
  """Pairs of rows that are among each other's nearest.

  Args:
    unit_nd: [N, D] float, of length one.
    count: k.
  Returns:
    pairs [P, 2] int64, the lower row first, ordered; and their cosines [P].
  """
  total = len(unit_nd)
  if total < 2:
    return np.zeros((0, 2), np.int64), np.zeros(0)
  found = nearest_embeddings(unit_nd, unit_nd, min(count + 1, total))
  row_p = np.repeat(np.arange(total), found.row.shape[1])
  other_p, score_p = found.row.ravel(), found.score.ravel()
  other = row_p != other_p
  row_p, other_p, score_p = row_p[other], other_p[other], score_p[other]
  key_p = row_p * total + other_p
  both = (row_p < other_p) & np.isin(other_p * total + row_p, key_p)
  order = np.argsort(key_p[both], kind="stable")
  return np.stack([row_p[both], other_p[both]], axis=1)[order], score_p[both][order]


def pair_normals(unit_nd: np.ndarray, label_n: np.ndarray) -> tuple[Normal, Normal]:
  """Distributions of the cosine of two images of one person, and of two people, from neighbouring and random rows of a set with few errors."""
  order_n = np.argsort(label_n, kind="stable")
  same = label_n[order_n[1:]] == label_n[order_n[:-1]]
  mated = (unit_nd[order_n[1:]][same] * unit_nd[order_n[:-1]][same]).sum(1)
  shuffled = np.random.default_rng(0).permutation(len(label_n))
  different = label_n != label_n[shuffled]
  wrong = Normal.of((unit_nd[different] * unit_nd[shuffled][different]).sum(1))
  return Normal.robust(mated, above=wrong.mean + 2 * wrong.spread), wrong


def find_splits(unit_nd: np.ndarray, label_n: np.ndarray, *, neighbours: int = 5) -> list[Split]:
  """Names under which several people are.

  The images of a name are joined where they are mutual k-nearest neighbours with a cosine that is likelier of one person than of two.
  Components of two images or more, other than the largest, are compared with the largest by the cosine of their centres.

  Args:
    unit_nd: [N, D] float, unit embeddings.
    label_n: [N] int, name of each, 0 to C − 1.
    neighbours: k.
  Returns:
    `Split`, the most probable first.
  """
  same, wrong = pair_normals(unit_nd, label_n)
  bound, one = _crossing(same, wrong), _half_normal(unit_nd, label_n, same, wrong)
  found = []
  for label in np.flatnonzero(np.bincount(label_n) >= 2 * FEWEST):
    rows = np.flatnonzero(label_n == label)
    pair_p2, score_p = mutual_neighbours(unit_nd[rows], neighbours)
    joined = pair_p2[score_p >= bound]
    part_m = components(joined[:, 0], joined[:, 1], len(rows))
    sizes = np.bincount(part_m)
    main = rows[part_m == sizes.argmax()]
    for part in np.flatnonzero(sizes >= FEWEST):
      if part == sizes.argmax():
        continue
      cosine = _centre_cosine(unit_nd, main, rows[part_m == part])
      probability = _posterior(wrong.density(np.array([cosine]))[0], one.density(np.array([cosine]))[0], _PRIOR_SPLIT)
      found.append(Split(int(label), rows[part_m == part], probability))
  return sorted(found, key=lambda one: (-one.probability, one.label, int(one.rows[0])))


def find_merges(unit_nd: np.ndarray, label_n: np.ndarray, *, neighbours: int = 5) -> list[Merge]:
  """Names that are one person.

  Two names are compared where an image of the one and an image of the other are mutual k-nearest neighbours among all images. The cosine of
  their centres is weighed as one between halves of a person, or as the largest of a person with all others.

  Args:
    unit_nd: [N, D] float, unit embeddings.
    label_n: [N] int, name of each, 0 to C − 1.
    neighbours: k.
  Returns:
    `Merge`, the most probable first.
  """
  pair_p2, _ = mutual_neighbours(unit_nd, neighbours)
  name_p2 = np.sort(label_n[pair_p2], axis=1)
  candidates = np.unique(name_p2[name_p2[:, 0] != name_p2[:, 1]], axis=0)
  same, wrong = pair_normals(unit_nd, label_n)
  classes = int(label_n.max()) + 1
  centre_cd = np.zeros((classes, unit_nd.shape[1]))
  np.add.at(centre_cd, label_n, unit_nd)
  centre_cd /= np.maximum(np.linalg.norm(centre_cd, axis=1, keepdims=True), 1e-9)
  present = np.unique(label_n)
  nearest = nearest_embeddings(centre_cd[present], centre_cd[present], min(2, len(present)))
  largest = Normal.of_most(nearest.score[:, -1])
  few = _half_normal(unit_nd, label_n, same, wrong)
  count_c = np.bincount(label_n, minlength=classes)
  found = []
  for first, second in candidates.tolist():
    cosine = float(centre_cd[first] @ centre_cd[second])
    one = same if min(count_c[first], count_c[second]) == 1 else few
    probability = _posterior(one.density(np.array([cosine]))[0], largest.density(np.array([cosine]))[0], _PRIOR_MERGE)
    if cosine < largest.mean:
      probability = 0.0
    found.append(Merge(first, second, probability, cosine))
  return sorted(found, key=lambda one: (-one.probability, -one.cosine, one.first, one.second))


def _crossing(same: Normal, wrong: Normal) -> float:
  """The cosine between both means at which their densities are equal."""
  grid = np.linspace(wrong.mean, max(same.mean, wrong.mean + 1e-3), 200)
  return float(grid[np.argmax(same.density(grid) >= wrong.density(grid))])


def _half_normal(unit_nd: np.ndarray, label_n: np.ndarray, same: Normal, wrong: Normal) -> Normal:
  """Distribution of the cosine of the centres of two random halves of every name with four images or more; `same` without such a name."""
  order_n = np.random.default_rng(0).permutation(len(label_n))
  order_n = order_n[np.argsort(label_n[order_n], kind="stable")]
  start_c = np.searchsorted(label_n[order_n], np.arange(int(label_n.max()) + 2))
  many = np.flatnonzero(np.diff(start_c) >= 2 * FEWEST)
  cut = [order_n[start_c[label] : start_c[label + 1]] for label in many]
  halves = np.array([_centre_cosine(unit_nd, rows[: len(rows) // 2], rows[len(rows) // 2 :]) for rows in cut])
  return Normal.robust(halves, above=wrong.mean + 2 * wrong.spread) if len(halves) else same


def _centre_cosine(unit_nd: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
  left, right = unit_nd[first].mean(0), unit_nd[second].mean(0)
  return float(left @ right / max(np.linalg.norm(left) * np.linalg.norm(right), 1e-9))


def _posterior(true: float, false: float, prior: float) -> float:
  return prior * true / max(prior * true + (1 - prior) * false, 1e-300)


__all__ = ["FEWEST", "Merge", "Split", "find_merges", "find_splits", "mutual_neighbours", "pair_normals"]
