"""Alignment templates, and the patches that DeepID's networks look at.

  geometry.template("arcface112").points               # where eyes, nose and mouth corners lie, in pixels
  geometry.deepid_patches(geometry.template("arcface112"))
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
