"""Networks by name, their input conventions, and model folders.

  models.list_models("iresnet*")                      # every network of the field by name
  for line in models.describe("iresnet50"): print(line)  # its layers, as `jaxface models` shows them
  network = models.create("iresnet50", embedding_size=512)
  saved = models.load_model("runs/mine")              # what training or an import left
  models.save_model("models/copy", saved)

`register` adds a network of your own, `load_networks` reads a file of them (docs/own_network.md); `Preprocess` says what pixels a network takes. docs/models.md lists every network
beside its paper's figures.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
