"""Networks by name, their input conventions, and model folders.

  models.list_models("iresnet*")                      # names of networks
  for line in models.describe("iresnet50"): print(line)  # its layers, as `jaxface models` shows them
  network = models.create("iresnet50", embedding_size=512)
  saved = models.load_model("runs/mine")              # from training or an import
  models.save_model("models/copy", saved)

`register` adds a network of your own, `load_networks` loads a file of them (docs/own_network.md). `Preprocess` describes the
input of a network. docs/models.md compares every network with the figures of its paper.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
