"""What every import of weights needs, whatever the file."""

import hashlib
from pathlib import Path
from typing import Any

from jaxface.models.preprocess import Preprocess, changed, get_preprocess
from jaxface.models.registry import create


class WrongWeights(ValueError):
  """The file is not of this network; the message names where it differs, what was expected and what was found."""


def find_convention(model: str, options: dict[str, Any], preprocess: str, size: int | tuple[int, int]) -> Preprocess:
  """The input convention of imported weights.

  Args:
    model: name of the network.
    options: of it.
    preprocess: name of the convention; "" takes the network's own.
    size: of the images that the weights were made for; 0 where the file does not say, which takes the convention's.
  """
  if preprocess:
    return get_preprocess(preprocess, size=size)
  return changed(create(model, **options).convention, size=size)


def source(path: Path) -> dict[str, Any]:
  """Which file it was, for a model's `meta`."""
  return {"source": {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}


__all__ = ["WrongWeights", "find_convention", "source"]
