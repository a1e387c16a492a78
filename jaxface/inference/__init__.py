"""A trained or imported model applied to images.

  model = inference.load("runs/mine")                 # the same as jaxface.load
  embedding_bd = model(image_bhwc)                    # arrays in, arrays out; works inside jax.jit
  embedding_nd = model.embed("MY_FACES")              # a folder, packed records, paths or arrays
  inference.embed_faces(model, "MY_FACES", "mine.npz")  # with names and labels, into a file

`make_embedder` and `embed_source` are for networks of your own.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
