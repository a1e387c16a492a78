"""Verification measures, for embeddings from any source.

  result = evaluation.verify(embeddings, "pairs.txt")  # a `Verification`: accuracy, AUC, EER, TAR at FAR, thresholds
  print(result.summary())
  print(evaluation.evaluate("lfw.npz", "pairs.txt", skip_missing=True))   # files in, figures and notes out
  curve = evaluation.roc(score_p, same_p)              # exact: a threshold at every midpoint, ties counted once
  evaluation.tar_at_far(curve, 1e-3)

docs/evaluation.md defines every figure.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
