"""Galleries: people enrolled by the embeddings of their photos, in one file.

  people = Gallery.empty(Maker(model="mobilefacenet", digest="…", template="arcface112", mirror="sum"), size=128)
  people = people.enrol(["Ann", "Ann", "Bob"], ["a1.jpg", "a2.jpg", "b1.jpg"], embedding_nd, quality_n)
  write_gallery("people.gallery", people)
  [found] = read_gallery("people.gallery").identify(probe_qd, threshold=0.35)
  found.candidates[0].person, found.candidates[0].score, found.accepted      # accepted: None is nobody

docs/gallery.md describes the file and the rule of the decision.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
