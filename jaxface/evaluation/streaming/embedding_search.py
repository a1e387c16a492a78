"""Ranks of embeddings in a gallery of embeddings, in blocks of probes."""

import numpy as np

from jaxface.evaluation.matrix_checks import NEAR, check_labels, unit_rows
from jaxface.evaluation.measures.identification import Searches, concatenate_searches, search_gallery
from jaxface.evaluation.pairs.pair_score import cosine_of_pairs

# Cosines of one block of probes with the gallery (128 MiB).
BLOCK = 2**24


def search_embeddings(
  probe_nd: np.ndarray, probe_label_n: np.ndarray, gallery_md: np.ndarray, gallery_label_m: np.ndarray
) -> Searches:
  """`search_gallery` on the cosines of embeddings, without storing all of them.

  Cosines near that of the mate are computed separately for each pair. So equal embeddings tie, and the result does not
  depend on the order of probes and gallery or on blocks.

  Args:
    probe_nd: [N, D] float, not necessarily normalised.
    probe_label_n: [N] integers or text, identity of each probe.
    gallery_md: [M, D] float; a copy in float64 is held in memory.
    gallery_label_m: [M] of the same kind, identity of each entry.
  Returns:
    `Searches`.
  Raises:
    ValueError: shapes or labels that do not fit, or an embedding that is zero or not finite.
  """
  probe_nd, gallery_md = np.asarray(probe_nd), np.asarray(gallery_md)
  unit_md = unit_rows(gallery_md, "gallery entry")
  if probe_nd.ndim != 2 or probe_nd.shape[1] != unit_md.shape[1] or not len(probe_nd):
    raise ValueError(f"probes {probe_nd.shape} and gallery {gallery_md.shape}: both must be [rows, D] of the same D, made by one network")
  probe_label_n, gallery_label_m = check_labels(
    (probe_label_n, "probe", len(probe_nd)), (gallery_label_m, "gallery entry", len(unit_md))
  )
  unit_nd = unit_rows(probe_nd, "probe")
  rows = max(BLOCK // len(unit_md), 1)
  found = []
  for start in range(0, len(probe_nd), rows):
    here = slice(start, start + rows)
    score_bm = unit_nd[here] @ unit_md.T
    about = search_gallery(score_bm, probe_label_n[here], gallery_label_m)
    row_p, column_p = np.nonzero(np.abs(score_bm - about.score[:, None]) <= NEAR)
    both = np.concatenate([probe_nd[row_p + start], gallery_md[column_p]])
    score_bm[row_p, column_p] = cosine_of_pairs(both, np.arange(row_p.size), np.arange(row_p.size, 2 * row_p.size))
    found.append(search_gallery(score_bm, probe_label_n[here], gallery_label_m))
  return concatenate_searches(*found)


__all__ = ["search_embeddings"]
