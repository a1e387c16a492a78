"""Measures of verification, identification, retrieval and clustering, for embeddings from any source.

  result = evaluation.verify(embeddings, "pairs.txt")  # a `Verification`: accuracy, AUC, EER, TAR at FAR, thresholds
  print(result.summary())
  print(evaluation.evaluate("lfw.npz", "pairs.txt", skip_missing=True))   # files in, figures and notes out
  curve = evaluation.roc(score_p, same_p)              # exact: a threshold at every midpoint, ties counted once
  evaluation.tar_at_far(curve, 1e-3)
  searches = evaluation.search_gallery(score_nm, probe_label_n, gallery_label_m)   # rank and score of each probe
  evaluation.cmc(searches.rank, 20), evaluation.tpir_at_fpir(evaluation.open_set(searches, rank=1), 1e-2)
  evaluation.pairwise_f(label_n, evaluation.cluster(embedding_nd, 0.4)).f

docs/evaluation.md defines every figure.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
