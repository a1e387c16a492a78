"""Alignment templates, and the image patches of DeepID's networks.

  geometry.template("arcface112").points               # eyes, nose and mouth corners, in pixels
  geometry.deepid_patches(geometry.template("arcface112"))
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
