"""Exports a network with its preprocessing to ONNX, checked against ONNX Runtime.

`precision` float16 and int8 write smaller forms of the graph (`jaxface.interop.onnx_precision`).

Expressions of parameters only are evaluated before writing, so that batch norms are folded into the weights of
the preceding convolutions.

The file takes `image` [batch, height, width, 3], RGB in 0..255 (uint8 by default), already aligned, of any batch
size, height and width: it crops or resizes according to the network's input convention. It outputs `embedding`
[batch, size] float32. Its metadata are under `jaxface.*`; docs/export.md lists the keys.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.config import MIRRORS
from jaxface.formats.atomic import atomic_file
from jaxface.formats.threshold import Threshold
from jaxface.interop.onnx_file import need
from jaxface.interop.onnx_fit import fit_images
from jaxface.interop.onnx_precision import check_precision, split_batches, to_float16, to_int8
from jaxface.interop.onnx_trace import Prelude, to_onnx
from jaxface.interop.traced import (
  CHANNELS,
  ParityError,
  expected_embeddings,
  in_float32,
  threshold_that_holds,
  traced_network,
  unit,
)
from jaxface.interop.weights import metadata
from jaxface.losses.ranges import check_name
from jaxface.models.preprocess import Preprocess
from jaxface.models.saved import SavedModel

# Largest difference of an element of an embedding of length one. float16 has 11 bits of mantissa; int8 is judged by cosines.
TOLERANCE = {"float32": 1e-4, "float16": 5e-3}
# Mean cosine between embeddings of the int8 graph and of the model, below which the graph is useless.
MIN_COSINE = 0.8


@dataclass(frozen=True)
class Exported:
  """The written file.

  Attributes:
    path: path of the file.
    nodes: number of operations.
    difference: largest absolute difference of a normalised embedding between ONNX Runtime and JAX, by shape of the
      images (batch, height, width); empty if not checked, and for int8.
    cosine: mean cosine between the graph's embeddings and the model's, on calibration images that set no range (int8); else None.
  """

  path: Path
  nodes: int
  difference: dict[tuple[int, int, int], float]
  cosine: float | None = None


def export_onnx(
  saved: SavedModel,
  path: Path | str,
  *,
  opset: int = 17,
  input_dtype: str = "uint8",
  normalize: bool = False,
  mirror: str = "none",
  precision: str = "float32",
  calibration: Sequence[np.ndarray] | None = None,
  check: bool = True,
) -> Exported:
  """Write a network as ONNX, atomically, after checking the file.

  Args:
    saved: the network; exported in float32 for any training dtype.
    path: path of the file.
    opset: 13 to 17.
    input_dtype: "uint8" or "float32" (in 0..255) for `image`.
    normalize: divide each embedding by its length; recorded in the metadata.
    mirror: use of the mirror image: "none", "sum" or "concat", as in `jaxface embed --mirror`; recorded in the metadata.
    precision: "float32", "float16" or "int8", of weights and products; recorded in the metadata.
    calibration: int8: batches of aligned faces [B, H, W, 3] that set the ranges of activations; every fourth, if there are that
      many, is left out of it and measures the cosine with the model.
    check: compare with JAX at several batch and image sizes.
  Raises:
    Unsupported: the network uses a primitive without a translation; names it.
    ParityError: a normalised embedding differs by more than 1e-4 (float16: 5e-3), or the mean cosine of int8 is below 0.8.
    ValueError: unsupported opset, input type, mirror or precision, or int8 without images.
    ImportError: onnx or onnxruntime is not installed; gives the command.
  """
  if check:
    need("onnxruntime")
  if input_dtype not in ("uint8", "float32"):
    raise ValueError(f"input_dtype {input_dtype!r}: takes 'uint8' or 'float32'")
  check_name("mirror", mirror, MIRRORS)
  check_precision(precision, calibration is not None)
  # None holds for the embeddings of int8, which differ.
  threshold = None if precision == "int8" else threshold_that_holds(saved, mirror)
  single = in_float32(saved)
  dtype, preprocess = np.dtype(input_dtype), single.preprocess
  model = to_onnx(
    traced_network(single, normalize, mirror),
    (*preprocess.size, CHANNELS),
    dtype,
    opset=opset,
    metadata={**_metadata(single, input_dtype, normalize, mirror, threshold), "jaxface.precision": precision},
    prelude=Prelude(
      lambda graph, image: fit_images(graph, image, preprocess, CHANNELS),
      ("height", "width", CHANNELS),
      dtype if preprocess.fit == "crop" else np.dtype(np.float32),
    ),
  )
  path = Path(path)
  if precision == "float16":
    model = to_float16(model)
  used, kept = split_batches(calibration or ())
  if precision == "int8":
    model = to_int8(model, (batch.astype(dtype) for batch in used))
  with atomic_file(path) as file:
    file.write(model.SerializeToString())
    file.flush()
    if not check:
      return Exported(path, len(model.graph.node), {})
    session = need("onnxruntime").InferenceSession(file.name, providers=["CPUExecutionProvider"])
    if precision == "int8":
      cosine = _mean_cosine(single, session, kept, dtype, mirror)
      if not cosine >= MIN_COSINE:
        raise ParityError(
          f"{path}: not written: embeddings of the int8 graph have a mean cosine of {cosine:.3f} with the model's, less than"
          f" {MIN_COSINE}: calibrate on aligned faces like those that the model was trained on"
        )
      return Exported(path, len(model.graph.node), {}, cosine)
    difference = _differences(single, session, dtype, mirror)
    worst = max(difference.values())
    if not worst <= TOLERANCE[precision]:
      raise ParityError(
        f"{path}: not written: embeddings differ from JAX's by {worst:.2g}, more than {TOLERANCE[precision]}"
      )
  return Exported(path, len(model.graph.node), difference)


def _metadata(
  saved: SavedModel, input_dtype: str, normalize: bool, mirror: str, threshold: Threshold | None
) -> dict[str, str]:
  """Metadata of the file."""
  height, width = saved.preprocess.size
  fit = {
    "crop": f"cropped to the middle {height}x{width} pixels, smaller images are rejected",
    "resize": f"cropped to the aspect ratio, resized to {height}x{width} pixels",
  }[saved.preprocess.fit]
  return {
    **metadata(saved, threshold),
    "jaxface.input": f"image: {input_dtype} [batch, height, width, {CHANNELS}], RGB in 0..255, aligned; {fit}",
    "jaxface.normalized": json.dumps(normalize),
    "jaxface.mirror": mirror,
  }


def _sizes(preprocess: Preprocess) -> list[tuple[int, int, int]]:
  """Shapes (batch, height, width) to compare at: the convention's size, a larger one, and a smaller one if allowed."""
  height, width = preprocess.size
  shapes = [(1, height, width), (3, height, width), (2, height + 16, width + 5)]
  return shapes if preprocess.fit == "crop" else [*shapes, (2, height - height // 3, width + 7)]


def _differences(saved: SavedModel, session: Any, dtype: np.dtype, mirror: str) -> dict[tuple[int, int, int], float]:
  """Largest difference of normalised embeddings, by shape of the images."""
  draw, batch, found = np.random.default_rng(0), 3, {}
  expected = expected_embeddings(saved, mirror)
  for count, height, width in _sizes(saved.preprocess):
    image_bhwc = draw.integers(0, 256, (batch, height, width, CHANNELS)).astype(dtype)
    embedding_bd = unit(session.run(None, {"image": image_bhwc[:count]})[0])
    found[count, height, width] = float(np.abs(embedding_bd - expected(image_bhwc)[:count]).max())
  return found


def _mean_cosine(saved: SavedModel, session: Any, batches: Sequence[np.ndarray], dtype: np.dtype, mirror: str) -> float:
  """Mean cosine between the graph's embeddings and the model's."""
  expected = expected_embeddings(saved, mirror)
  cosine_n = [
    (unit(session.run(None, {"image": batch.astype(dtype)})[0]) * expected(batch)).sum(-1) for batch in batches
  ]
  return float(np.concatenate(cosine_n).mean())


__all__ = ["Exported", "ParityError", "export_onnx"]
