"""Scores of two embeddings beyond the cosine: fitted on embeddings with labels, saved as plain arrays.

  verifier = Cosine.fit(embedding_nd, components=150, whiten=True)
  verifier.score(left_pd, right_pd)                    # [P], higher is more similar
  write_verifier("verifier.npz", verifier)
  read_verifier("verifier.npz").score_matrix(probe_nd, gallery_md)

docs/verifiers.md describes the kinds.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
