"""Templates: sets of images and video frames of one person, pooled to one embedding, and their scores."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from jaxface.evaluation.matrix_checks import unit_rows

BLOCK = 256


def pool_templates(
  embedding_nd: np.ndarray, row_f: np.ndarray, template_f: np.ndarray, media_f: np.ndarray, names: Sequence[str],
) -> tuple[np.ndarray, np.ndarray]:
  """One embedding of length one for each template: the sum over its media of the mean over the faces of a medium.

  A video with many frames thus counts as much as one photo. Faces are pooled as they are given: the length of an embedding is its weight.

  Args:
    embedding_nd: [N, D] float.
    row_f: [F] int, row of each face; -1 for faces to ignore.
    template_f: [F] int, template of each.
    media_f: [F] int, medium (photo or video) of each.
    names: N names, for messages.
  Returns:
    ([T] templates in rising order, [T, D] float64); templates without a face are absent.
  Raises:
    ValueError: an embedding that is zero or not finite, or faces that cancel out.
  Source: Maze et al., "IARPA Janus Benchmark – C", 2018; InsightFace, `recognition/_evaluation_/ijb`.
  """
  order = np.lexsort((media_f, template_f))
  order = order[row_f[order] >= 0]
  row_f, template_f, media_f = row_f[order], template_f[order], media_f[order]
  template_t, start_t = np.unique(template_f, return_index=True)
  pooled_td = np.empty((len(template_t), embedding_nd.shape[1]))
  for at, (start, stop) in enumerate(zip(start_t, np.append(start_t[1:], len(row_f)))):
    faces = row_f[start:stop]
    face_fd = np.asarray(embedding_nd[faces], np.float64)
    usable = np.isfinite(face_fd).all(1) & face_fd.any(1)
    if not usable.all():
      unit_rows(face_fd, names=[names[row] for row in faces])
    first = np.flatnonzero(np.append(True, np.diff(media_f[start:stop]) != 0))
    count = np.diff(np.append(first, stop - start))
    pooled_td[at] = (np.add.reduceat(face_fd, first, axis=0) / count[:, None]).sum(0)
  return template_t, unit_rows(pooled_td, names=[f"template {template}, pooled" for template in template_t])


def template_scores(unit_td: np.ndarray, left_p: np.ndarray, right_p: np.ndarray) -> np.ndarray:
  """Cosines of many pairs of few templates, by blocks of a matrix product.

  Args:
    unit_td: [T, D] float64, of length one.
    left_p: [P] int, rows.
    right_p: [P] int, rows.
  Returns:
    [P] float64.
  """
  score_p = np.empty(len(left_p))
  order = np.argsort(left_p, kind="stable")
  edge = np.searchsorted(left_p[order], np.arange(0, len(unit_td) + BLOCK, BLOCK))
  for number, (start, stop) in enumerate(pairwise(edge)):
    if start == stop:
      continue
    pairs = order[start:stop]
    used = np.zeros(len(unit_td), np.bool_)
    used[right_p[pairs]] = True
    column = np.cumsum(used) - 1
    block = unit_td[number * BLOCK : (number + 1) * BLOCK] @ unit_td[used].T
    score_p[pairs] = block[left_p[pairs] - number * BLOCK, column[right_p[pairs]]]
  return np.clip(score_p, -1.0, 1.0)


__all__ = ["pool_templates", "template_scores"]
