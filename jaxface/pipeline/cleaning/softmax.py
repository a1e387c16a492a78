"""Probability of each image's own person by a softmax over all people, in blocks of constant memory."""

import numpy as np

from jaxface.pipeline.cleaning.centres import centre_scores

_ROWS = 2048


def own_softmax(unit_nd: np.ndarray, label_n: np.ndarray, *, scale: float = 30.0, rows: int = _ROWS) -> np.ndarray:
  """Softmax of scaled cosines with the centres of all people, at the own person, whose centre leaves the image out.

  Args:
    unit_nd: [N, D] float, unit embeddings.
    label_n: [N] int, person of each, 0 to C − 1.
    scale: of the cosines, as of a cosine classifier.
    rows: images at a time; memory is rows × C.
  Returns:
    [N] float64; 0 for a person's only image.
  """
  unit_nd = np.asarray(unit_nd, np.float64)
  own_n = centre_scores(unit_nd, label_n).own_n
  centre_cd = np.zeros((int(label_n.max()) + 1, unit_nd.shape[1]))
  np.add.at(centre_cd, label_n, unit_nd)
  centre_cd /= np.maximum(np.linalg.norm(centre_cd, axis=1, keepdims=True), 1e-12)
  found_n = np.zeros(len(label_n))
  for start in range(0, len(label_n), rows):
    some = slice(start, start + rows)
    logit_rc = scale * (unit_nd[some] @ centre_cd.T)
    own_r = scale * own_n[some]
    logit_rc[np.arange(len(logit_rc)), label_n[some]] = np.where(np.isfinite(own_r), own_r, -np.inf)
    top_r = logit_rc.max(1)
    found_n[some] = np.exp(np.where(np.isfinite(own_r), own_r, -np.inf) - top_r) / np.exp(logit_rc - top_r[:, None]).sum(1)
  return found_n


__all__ = ["own_softmax"]
