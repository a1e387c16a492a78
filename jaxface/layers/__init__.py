"""Layers that Flax lacks, and faster versions of some that it has.

  layers.Conv(64, (3, 3))(x)                           # oneDNN on a CPU where it is built, XLA elsewhere
  layers.ConvNorm(64, (3, 3), activation="prelu")(x, train)
  layers.LocallyConnected(16, (9, 9))(x)               # DeepFace's untied convolutions
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
