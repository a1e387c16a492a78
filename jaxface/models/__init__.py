"""Networks by name, their input conventions, and model folders.

  models.list_models("iresnet*")                      # names of networks
  for line in models.describe("iresnet50"): print(line)  # its layers, as `jaxface models` shows them
  network = models.create("iresnet50", embedding_size=512)
  saved = models.load_model("runs/mine")              # from training or an import
  models.save_model("models/copy", saved)

`register` adds a network of your own, `load_networks` loads a file of them (docs/own_network.md). `Preprocess` describes the
input of a network. docs/models.md compares every network with the figures of its paper.
"""

from typing import Any

import lazy_loader

_attribute, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
  """A public name; for the class of a network an error that says how to build it."""
  try:
    return _attribute(name)
  except AttributeError as error:
    if not name[:1].isupper():
      raise
    from jaxface.models.registry import PAPERS, list_models

    example = name.lower() if name.lower() in {*PAPERS, *list_models()} else "iresnet50"
    raise AttributeError(
      f"module {__name__!r} has no attribute {name!r}. Networks are built by name, such as models.create(\"{example}\");"
      " models.list_models() lists them", name=name,
    ) from error
