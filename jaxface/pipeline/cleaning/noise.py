"""Probability that the label of an image is wrong, from cosines with class centres that leave the image out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxface.pipeline.cleaning.centres import CentreScores, centre_scores
from jaxface.pipeline.cleaning.normal import Normal, density

_ROUNDS, _STEPS = 4, 30
# Upper ends of groups by the number of images in a centre: a cosine with a centre of few images is lower and varies more.
_GROUPS = (1.5, 2.5, 4.5, 9.5, np.inf)
# Share of images that are hard, such as profiles and covered faces: their cosine with the right centre may be anything below the usual.
_HARD = 0.03
_NONE = 0.01  # share of images of nobody here, at most: between them and hard ones the cosines hardly tell
_FEWEST = 40  # images for the statistics of a group; with fewer, those of all


class LabelNoise(NamedTuple):
  """Of each image, what is likely.

  Attributes:
    wrong_n: [N] float64, probability that the label is wrong.
    other_n: [N] float64, probability that the image belongs to `other_class_n` instead.
    other_class_n: [N] int64, the nearest other class; −1 if there is none.
    own_n: [N] float64, cosine with the centre of the other images of its class; NaN where there is none.
    best_n: [N] float64, cosine with the centre of `other_class_n`.
  """

  wrong_n: np.ndarray
  other_n: np.ndarray
  other_class_n: np.ndarray
  own_n: np.ndarray
  best_n: np.ndarray


def label_noise(unit_knd: Sequence[np.ndarray] | np.ndarray, label_n: np.ndarray, fold_n: np.ndarray | None = None) -> LabelNoise:
  """Finds wrong labels by class centres from which each image is left out.

  Three cases are weighed for each image: it belongs to its class; it belongs to the nearest other class; it belongs to none. The cosine
  with the right centre is normal with the mean and variance of the images that agree with their class, but for a few hard images, that with a wrong one normal as
  measured with random other classes, and the largest over all wrong ones as measured on the images that agree; each by the number of
  images in the centre. Shares and moments are estimated by expectation maximisation. Images that are likely wrong then count less in
  the centres, and all is repeated.

  With several networks, each of which has not seen the images of its fold, the images of a fold are judged by its own network.

  Args:
    unit_knd: K arrays [N, D], unit embeddings of all images by each network; or one array.
    label_n: [N] int, class of each image, 0 to C − 1.
    fold_n: [N] int, number of the network that judges each image; None for the first.
  Returns:
    `LabelNoise`.
  Raises:
    ValueError: fewer than two classes; no class with two images; shapes that do not fit.
  """
  units = [np.asarray(one) for one in ([unit_knd] if isinstance(unit_knd, np.ndarray) else unit_knd)]
  label_n = np.asarray(label_n, np.int64)
  fold_n = np.zeros(len(label_n), np.int64) if fold_n is None else np.asarray(fold_n, np.int64)
  if any(len(one) != len(label_n) for one in units) or fold_n.shape != label_n.shape:
    raise ValueError(f"embeddings {[one.shape for one in units]} and folds {fold_n.shape} for {len(label_n)} labels")
  if len(label_n) and not 0 <= fold_n.min() <= fold_n.max() < len(units):
    raise ValueError(f"folds {fold_n.min()} to {fold_n.max()} with {len(units)} files of embeddings: they are numbered from 0")
  count_c = np.bincount(label_n)
  if (count_c > 0).sum() < 2:
    raise ValueError("all images have one label: wrong ones are found by comparison with other people; add other people's images")
  if count_c.max() < 2:
    raise ValueError("every person has only one image: nothing says whether its label is right")
  wrong_n = np.zeros(len(label_n))
  for _ in range(_ROUNDS):
    scores = [centre_scores(one, label_n, 1 - wrong_n) for one in units]
    mine = CentreScores(*(np.choose(fold_n, list(column)) for column in zip(*scores)))
    null = [_random_cosines(one, label_n, 1 - wrong_n) for one in units]
    null_n = np.choose(fold_n, null)
    trust_n = _trust(label_n, wrong_n)
    parts = [_posterior(mine, null_n, trust_n, label_n, np.flatnonzero(fold_n == fold)) for fold in range(len(units))]
    own_n, other_n = (sum(column) for column in zip(*parts))
    wrong_n = np.clip(1 - np.asarray(own_n), 0, 1)
  return LabelNoise(wrong_n, np.asarray(other_n), mine.best_class_n, mine.own_n, mine.best_n)


def _trust(label_n: np.ndarray, wrong_n: np.ndarray) -> np.ndarray:
  """[N] probability that the centre of an image's class, without the image, shows the right person: any of the others is right."""
  log_n = np.log(np.maximum(wrong_n, 1e-12))
  log_c = np.bincount(label_n, log_n)
  alone_n = np.bincount(label_n)[label_n] == 1
  return np.where(alone_n, 0.0, 1 - np.exp(np.minimum(log_c[label_n] - log_n, 0.0)))


def _random_cosines(unit_nd: np.ndarray, label_n: np.ndarray, weight_n: np.ndarray) -> np.ndarray:
  """[N] cosine of each image with the centre of the class of another image, drawn at random but always the same way."""
  sum_cd = np.zeros((int(label_n.max()) + 1, unit_nd.shape[1]))
  np.add.at(sum_cd, label_n, unit_nd * weight_n[:, None])
  drawn_n = label_n[np.random.default_rng(0).permutation(len(label_n))]
  length_n = np.linalg.norm(sum_cd, axis=1)[drawn_n]
  usable_n = (drawn_n != label_n) & (length_n > 1e-9)
  return np.where(usable_n, (unit_nd * sum_cd[drawn_n]).sum(1) / np.maximum(length_n, 1e-9), np.nan)


def _posterior(scores: CentreScores, null_n: np.ndarray, trust_n: np.ndarray, label_n: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """[N] probabilities of the own and of the nearest other class, for some rows; zero elsewhere."""
  own_m, best_m = scores.own_n[rows], scores.best_n[rows]
  known_m = np.isfinite(own_m)
  null_m = null_n[rows][np.isfinite(null_n[rows])]
  # Of one person: the better half, robustly; wrong labels are a minority.
  group_m = np.searchsorted(_GROUPS, np.bincount(label_n)[label_n[rows]] - 1)
  wrong = Normal.of(null_m)
  all_right = Normal.robust(own_m[known_m], above=wrong.mean + 2 * wrong.spread)
  right = []
  for group in range(len(_GROUPS)):
    some_m = own_m[known_m & (group_m == group)]
    right.append(Normal.robust(some_m, above=wrong.mean + 2 * wrong.spread) if len(some_m) >= _FEWEST else all_right)
  largest = Normal.of_most(best_m[np.isfinite(best_m)]) if np.isfinite(best_m).any() else wrong
  mean_m, spread_m = (np.array([getattr(one, what) for one in right])[group_m] for what in ("mean", "spread"))
  half_m = np.maximum(mean_m - wrong.mean, 0.05) / 2
  in_own_m = (1 - _HARD) * density(own_m, mean_m, spread_m) + _HARD * density(own_m, wrong.mean + half_m, half_m)
  out_own_m = wrong.density(own_m)
  sizes = np.searchsorted(_GROUPS, np.bincount(label_n)[np.maximum(scores.best_class_n[rows], 0)])
  in_best_m = density(best_m, *(np.array([getattr(one, what) for one in right])[np.minimum(sizes, len(_GROUPS) - 1)] for what in ("mean", "spread")))
  out_best_m = largest.density(best_m)
  none_m = ~np.isfinite(best_m)
  in_best_m, out_best_m = np.where(none_m, 0.0, in_best_m), np.where(none_m, 1.0, out_best_m)
  trusted_m = np.where(known_m, trust_n[rows], 0.0)
  first_m = np.where(known_m, trusted_m * in_own_m + (1 - trusted_m) * out_own_m, 1.0)
  second_m = np.where(known_m, out_own_m, 1.0)
  share_3 = np.array([0.97, 0.02, _NONE])
  for _ in range(_STEPS):
    case_m3 = np.stack([first_m * (0.98 * out_best_m + 0.02 * in_best_m), second_m * in_best_m, second_m * out_best_m], axis=1) * share_3
    case_m3 /= np.maximum(case_m3.sum(1, keepdims=True), 1e-300)
    share_3 = np.maximum(case_m3[known_m].mean(0), 1e-4)
    share_3[2] = min(share_3[2], _NONE)
    share_3 /= share_3.sum()
  own_n, other_n = np.zeros(len(label_n)), np.zeros(len(label_n))
  # An only image has nothing to disagree with: that another name is the same person is for `find_merges`.
  own_n[rows], other_n[rows] = np.where(known_m, case_m3[:, 0], 1.0), np.where(known_m, case_m3[:, 1], 0.0)
  return own_n, other_n


__all__ = ["LabelNoise", "label_noise"]
