"""jaxface: face-recognition embedding networks in JAX, from a folder of faces to a verified, exported model.

  import jaxface

  result = jaxface.train("folder", "runs/mine", overrides={"data.images": "MY_FACES"})
  model = jaxface.load("runs/mine")                                   # a trained or imported model
  embedding_nd = model.embed("MY_FACES")                              # [N, D] of unit length
  print(jaxface.verify("lfw.npz", "pairs.txt").summary())             # exact figures, from anybody's embeddings
  loss_b = jaxface.losses.triplet_loss(embedding_bd, label_b)         # pure functions

Packages load when they are first used.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
