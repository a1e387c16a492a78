"""Cosines of images with the centre of their own class, from which they are left out, and with the nearest centres of other classes."""

from typing import NamedTuple

import numpy as np

from jaxface.evaluation.streaming.nearest import nearest_embeddings


class CentreScores(NamedTuple):
  """Cosines of each image with class centres.

  Attributes:
    own_n: [N] float64, with the centre of the other images of its class; NaN where there is none.
    others_n: [N] float64, effective number of images in that centre: the sum of their weights.
    best_n: [N] float64, largest cosine with the centre of another class; NaN with one class.
    best_class_n: [N] int64, that class; −1 with one class.
  """

  own_n: np.ndarray
  others_n: np.ndarray
  best_n: np.ndarray
  best_class_n: np.ndarray


def centre_scores(unit_nd: np.ndarray, label_n: np.ndarray, weight_n: np.ndarray | None = None) -> CentreScores:
  """Leave-one-out cosines with class centres, by exact search over all centres.

  The centre of a class is the mean direction of its unit embeddings, weighted. An image is never part of the centre of its own class.

  Args:
    unit_nd: [N, D] float, rows of length one.
    label_n: [N] int, class of each, 0 to C − 1.
    weight_n: [N] float in [0, 1], how much each image counts in the centre of its class; None for 1.
  Returns:
    `CentreScores`.
  """
  unit_nd = np.asarray(unit_nd, np.float64)
  weight_n = np.ones(len(label_n)) if weight_n is None else np.asarray(weight_n, np.float64)
  classes = int(label_n.max()) + 1
  sum_cd, total_c = np.zeros((classes, unit_nd.shape[1])), np.zeros(classes)
  np.add.at(sum_cd, label_n, unit_nd * weight_n[:, None])
  np.add.at(total_c, label_n, weight_n)
  rest_nd = sum_cd[label_n] - unit_nd * weight_n[:, None]
  length_n, others_n = np.linalg.norm(rest_nd, axis=1), total_c[label_n] - weight_n
  here_n = (others_n > 1e-9) & (length_n > 1e-9)
  own_n = np.full(len(label_n), np.nan)
  own_n[here_n] = np.clip((unit_nd[here_n] * rest_nd[here_n]).sum(1) / length_n[here_n], -1, 1)
  whole_c = np.linalg.norm(sum_cd, axis=1)
  known_k = np.flatnonzero(whole_c > 1e-9)
  best_n, best_class_n = np.full(len(label_n), np.nan), np.full(len(label_n), -1, np.int64)
  if len(known_k) > 1:
    found = nearest_embeddings(unit_nd.astype(np.float32), (sum_cd[known_k] / whole_c[known_k, None]).astype(np.float32), 2)
    class_n2 = known_k[found.row]
    place_n = (class_n2[:, 0] == label_n).astype(int)  # the second where the first is the own class
    at_n = np.arange(len(label_n))
    best_n, best_class_n = found.score[at_n, place_n].astype(np.float64), class_n2[at_n, place_n]
  return CentreScores(own_n, np.maximum(others_n, 0.0), best_n, best_class_n)


__all__ = ["CentreScores", "centre_scores"]
