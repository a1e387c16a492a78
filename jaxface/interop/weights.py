"""Common parts of importing and exporting weights."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxface import __version__
from jaxface.formats import provenance
from jaxface.formats.errors import DamagedData
from jaxface.formats.manifest import UNKNOWN_TEMPLATE
from jaxface.formats.provenance import Ancestor
from jaxface.formats.threshold import Threshold
from jaxface.models.card import lineage_of
from jaxface.models.preprocess import COLOURS, Preprocess, changed, get_preprocess
from jaxface.models.registry import create
from jaxface.models.saved import SavedModel

# PyTorch, ONNX and MXNet; TensorFlow; ports of Caffe's and MATLAB's networks. Shapes do not determine the order.
FLATTENS = ("chw", "hwc", "whc")


class WrongWeights(ValueError):
  """The file does not match the network; the message gives the place, the expected and the found value."""


class Ambiguous(WrongWeights):
  """Several networks fit the file, which does not determine one; `choices` are their options."""

  def __init__(self, message: str, choices: list[dict[str, Any]]):
    super().__init__(message)
    self.choices = choices


def nameless(path: Path) -> ValueError:
  """The error for a file that does not record its network, if none is given."""
  return ValueError(f"{path} does not record its network: give it with --model")


def find_convention(
  model: str, options: dict[str, Any], preprocess: str, size: int | tuple[int, int], colour: str = ""
) -> Preprocess:
  """The input convention of imported weights.

  Args:
    model: name of the network.
    options: its options.
    preprocess: name of the convention; "" uses the network's own.
    size: image size that the weights were made for; 0 if unknown, which uses the convention's.
    colour: order of the channels; "" uses the convention's.
  Returns:
    The convention, with an unknown alignment template, which external files do not record.
  """
  own = get_preprocess(preprocess) if preprocess else create(model, **options).convention
  return recoloured(changed(own, size=size, template=UNKNOWN_TEMPLATE), colour)


def recoloured(preprocess: Preprocess, colour: str) -> Preprocess:
  """The same convention with channels in another order; "" keeps it.

  Raises:
    ValueError: the channels are not the same ones in another order.
  """
  if colour in ("", preprocess.colour):
    return preprocess
  if COLOURS[colour] != preprocess.channels:
    raise ValueError(f"preprocess {preprocess.name!r} is for {preprocess.colour} images, not for {colour} ones")
  return replace(preprocess, colour=colour, mean=preprocess.mean[::-1], std=preprocess.std[::-1])


def source(path: Path) -> dict[str, Any]:
  """The source file, for a model's `meta`."""
  found = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
  return {"source": found, "lineage": provenance.to_json([Ancestor("weights", path.name)])}


def metadata(saved: SavedModel, threshold: Threshold | None = None) -> dict[str, str]:
  """Metadata of the network, and of the threshold if there is one, for an exported file."""
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
    **({"jaxface.threshold": json.dumps(threshold.to_json())} if threshold else {}),
  }


def lineage_in(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
  """The lineage in a file of ours, for a model's `meta`; empty if it has none.

  Raises:
    DamagedData: it is damaged.
  """
  if "jaxface.lineage" not in metadata:
    return {}
  try:
    return {"lineage": provenance.to_json(provenance.from_json(json.loads(metadata["jaxface.lineage"])))}
  except (ValueError, RecursionError) as error:
    raise DamagedData(f"its lineage metadata are damaged: {error}", file=path) from error


def described(metadata: Mapping[str, str], path: Path) -> tuple[str, dict[str, Any], Preprocess] | None:
  """The network, its options and its input convention from a file's metadata; None if it has none.

  Raises:
    DamagedData: they are incomplete or invalid.
  """
  if "jaxface.model" not in metadata:
    return None
  try:
    options = json.loads(metadata["jaxface.options"])
    if not isinstance(options, dict):
      raise ValueError(f"options are {options!r:.100}")
    return metadata["jaxface.model"], options, Preprocess.from_json(json.loads(metadata["jaxface.preprocess"]))
  except (KeyError, ValueError, RecursionError) as error:
    raise DamagedData(f"its network metadata are damaged: {error!r}", file=path) from error


def conv_kernel(weight: np.ndarray) -> np.ndarray:
  """Converts a convolution's weight [O, I, h, w], as in other libraries, to our kernel [h, w, I, O]."""
  return weight.transpose(2, 3, 1, 0)


def dense_kernel(weight: np.ndarray, image_shape: tuple[int, ...], flatten: str = "chw") -> np.ndarray:
  """Converts a matrix on a flattened feature map to our kernel [HWC, O].

  Args:
    weight: [O, HWC], its columns in the order of `flatten`.
    image_shape: shape of the feature map, (H, W, C).
    flatten: one of `FLATTENS`: order of the flattened axes, the last one fastest.
  """
  sizes = dict(zip("hwc", image_shape))
  array = weight.reshape(-1, *(sizes[axis] for axis in flatten))
  return array.transpose(*(1 + flatten.index(axis) for axis in "hwc"), 0).reshape(weight.shape[::-1])


__all__ = ["FLATTENS", "Ambiguous", "WrongWeights", "conv_kernel", "dense_kernel", "described", "find_convention", "lineage_in", "metadata", "nameless", "recoloured", "source"]
