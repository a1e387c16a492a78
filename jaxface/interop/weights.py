"""What weights in and out have in common, whatever the file."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxface import __version__
from jaxface.formats import provenance
from jaxface.formats.errors import DamagedData
from jaxface.formats.manifest import UNKNOWN_TEMPLATE
from jaxface.formats.provenance import Ancestor
from jaxface.models.card import lineage_of
from jaxface.models.preprocess import Preprocess, changed, get_preprocess
from jaxface.models.registry import create
from jaxface.models.saved import SavedModel


class WrongWeights(ValueError):
  """The file is not of this network; the message names where it differs, what was expected and what was found."""


def find_convention(model: str, options: dict[str, Any], preprocess: str, size: int | tuple[int, int]) -> Preprocess:
  """The input convention of imported weights.

  Args:
    model: name of the network.
    options: of it.
    preprocess: name of the convention; "" takes the network's own.
    size: of the images that the weights were made for; 0 where the file does not say, which takes the convention's.
  Returns:
    The convention, of an unknown alignment template: no file of others says how the faces were aligned.
  """
  if preprocess:
    return get_preprocess(preprocess, size=size, template=UNKNOWN_TEMPLATE)
  return changed(create(model, **options).convention, size=size, template=UNKNOWN_TEMPLATE)


def source(path: Path) -> dict[str, Any]:
  """Which file it was, for a model's `meta`."""
  found = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
  return {"source": found, "lineage": provenance.to_json([Ancestor("weights", path.name)])}


def metadata(saved: SavedModel) -> dict[str, str]:
  """What an exported file says about the network in it."""
  lineage = lineage_of(saved.meta)
  return {
    "jaxface.version": __version__,
    "jaxface.model": saved.name,
    "jaxface.options": json.dumps(saved.options),
    "jaxface.preprocess": json.dumps(saved.preprocess.to_json()),
    "jaxface.template": saved.preprocess.template,
    "jaxface.size": json.dumps(saved.preprocess.size),
    "jaxface.licence": provenance.summary(lineage, "licence"),
    "jaxface.origin": provenance.summary(lineage, "origin"),
    "jaxface.lineage": json.dumps(provenance.to_json(lineage)),
    "jaxface.source": json.dumps(saved.meta.get("source", {})),
  }


def lineage_in(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
  """The lineage that a file of ours says, for a model's `meta`; empty where it says none.

  Raises:
    DamagedData: it is damaged.
  """
  if "jaxface.lineage" not in metadata:
    return {}
  try:
    return {"lineage": provenance.to_json(provenance.from_json(json.loads(metadata["jaxface.lineage"])))}
  except (ValueError, RecursionError) as error:
    raise DamagedData(f"what it says of its origin is damaged: {error}", file=path) from error


def described(metadata: Mapping[str, str], path: Path) -> tuple[str, dict[str, Any], Preprocess] | None:
  """The network, its options and its input convention, where a file that `metadata` describes says them.

  Raises:
    DamagedData: it says only some of them, or what cannot be.
  """
  if "jaxface.model" not in metadata:
    return None
  try:
    options = json.loads(metadata["jaxface.options"])
    if not isinstance(options, dict):
      raise ValueError(f"options are {options!r:.100}")
    return metadata["jaxface.model"], options, Preprocess.from_json(json.loads(metadata["jaxface.preprocess"]))
  except (KeyError, ValueError, RecursionError) as error:
    raise DamagedData(f"what it says of its network is damaged: {error!r}", file=path) from error


def conv_kernel(weight: np.ndarray) -> np.ndarray:
  """A convolution's weight [O, I, h, w], as other libraries have it, to our kernel [h, w, I, O]."""
  return weight.transpose(2, 3, 1, 0)


def dense_kernel(weight: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
  """A matrix [O, CHW] on a feature map flattened as C, H, W to our kernel [HWC, O]; `image_shape` is ours, (H, W, C)."""
  height, width, channels = image_shape
  return weight.reshape(-1, channels, height, width).transpose(2, 3, 1, 0).reshape(weight.shape[::-1])


__all__ = ["WrongWeights", "conv_kernel", "dense_kernel", "described", "find_convention", "lineage_in", "metadata", "source"]
