"""jaxface: face-recognition embedding networks in JAX, from a folder of faces to a verified, exported model.

  import jaxface

  result = jaxface.train("folder", "runs/mine", overrides={"data.images": "MY_FACES"})
  model = jaxface.load("runs/mine")                                   # a trained or imported model
  embedding_nd = model.embed("MY_FACES")                              # [N, D] of unit length
  print(jaxface.verify("lfw.npz", "pairs.txt").summary())             # exact figures, from anybody's embeddings
  loss_b = jaxface.losses.triplet_loss(embedding_bd, label_b)         # pure functions

Packages load when they are first used.
"""

from typing import Any

import lazy_loader

_attached, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
  if name != "__version__":
    return _attached(name)
  from importlib.metadata import PackageNotFoundError, version

  try:
    return version("jaxface")
  except PackageNotFoundError:  # a checkout on the path of a Python that has not installed it
    return "0+unknown"
