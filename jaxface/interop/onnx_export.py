"""Exports a network with its preprocessing to ONNX, checked against ONNX Runtime.

Expressions of parameters only are evaluated before writing, so that batch norms are folded into the weights of
the preceding convolutions.

The file takes `image` [batch, height, width, 3], RGB in 0..255 (uint8 by default), already aligned, of any batch
size, height and width: it crops or resizes according to the network's input convention. It outputs `embedding`
[batch, size] float32. Its metadata are under `jaxface.*`; docs/export.md lists the keys.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxface.evaluation.config import MIRRORS
from jaxface.formats.atomic import atomic_file
from jaxface.formats.threshold import Threshold
from jaxface.inference.embed import with_mirror
from jaxface.interop.onnx_file import need
from jaxface.interop.onnx_fit import fit_images
from jaxface.interop.onnx_trace import Prelude, to_onnx
from jaxface.interop.weights import metadata
from jaxface.layers.convolution import Conv
from jaxface.layers.local import LocallyConnected, locally_connected
from jaxface.losses.ranges import check_name
from jaxface.models.preprocess import Preprocess
from jaxface.models.registry import with_taken
from jaxface.models.saved import SavedModel

TOLERANCE = 1e-4
CHANNELS = 3  # of the input images


class ParityError(ValueError):
  """ONNX Runtime and JAX give different results for the written file."""


@dataclass(frozen=True)
class Exported:
  """The written file.

  Attributes:
    path: path of the file.
    nodes: number of operations.
    difference: largest absolute difference of a normalised embedding between ONNX Runtime and JAX, by shape of the
      images (batch, height, width); empty if not checked.
  """

  path: Path
  nodes: int
  difference: dict[tuple[int, int, int], float]


def export_onnx(
  saved: SavedModel,
  path: Path | str,
  *,
  opset: int = 17,
  input_dtype: str = "uint8",
  normalize: bool = False,
  mirror: str = "none",
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
    check: compare with JAX at several batch and image sizes.
  Raises:
    Unsupported: the network uses a primitive without a translation; names it.
    ParityError: a normalised embedding differs by more than 1e-4.
    ValueError: unsupported opset, input type or mirror.
    ImportError: onnx or onnxruntime is not installed; gives the command.
  """
  if check:
    need("onnxruntime")
  if input_dtype not in ("uint8", "float32"):
    raise ValueError(f"input_dtype {input_dtype!r}: takes 'uint8' or 'float32'")
  check_name("mirror", mirror, MIRRORS)
  threshold = saved.own_threshold
  if threshold and threshold.mirror != mirror:  # it does not hold for these embeddings
    threshold = None
  single = replace(saved, options={**saved.options, **with_taken(saved.name, dtype="float32", remat=False)})
  dtype, preprocess = np.dtype(input_dtype), single.preprocess
  model = to_onnx(
    _network(single, normalize, mirror),
    (*preprocess.size, CHANNELS),
    dtype,
    opset=opset,
    metadata=_metadata(single, input_dtype, normalize, mirror, threshold),
    prelude=Prelude(
      lambda graph, image: fit_images(graph, image, preprocess, CHANNELS),
      ("height", "width", CHANNELS),
      dtype if preprocess.fit == "crop" else np.dtype(np.float32),
    ),
  )
  path = Path(path)
  with atomic_file(path) as file:
    file.write(model.SerializeToString())
    file.flush()
    difference = _differences(single, Path(file.name), dtype, mirror) if check else {}
    worst = max(difference.values(), default=0.0)
    if not worst <= TOLERANCE:
      raise ParityError(
        f"{path}: not written: embeddings differ from JAX's by {worst:.2g}, more than {TOLERANCE}"
      )
  return Exported(path, len(model.graph.node), difference)


def _plain(
  next_call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
) -> Any:
  """Traces layers in their simplest formulation: a convolution is one primitive, which becomes one node."""
  module = context.module
  if type(module) not in (Conv, LocallyConnected) or context.method_name != "__call__":
    return next_call(*args, **kwargs)
  params = module.variables["params"]
  if type(module) is LocallyConnected:
    # The traced batch is large, which would select the loop of small steps.
    y_bhwc = locally_connected(
      args[0], params["kernel"], strides=module.strides, padding=module.padding, low_memory=False
    )
  else:
    y_bhwc = lax.conv_general_dilated(
      args[0],
      params["kernel"],
      module.strides,
      module.padding,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=module.groups,
    )
  return y_bhwc + params["bias"] if "bias" in params else y_bhwc


def _network(saved: SavedModel, normalize: bool, mirror: str) -> Callable[[Array], Array]:
  def network(image_bhwc: Array) -> Array:
    with nn.intercept_methods(_plain):
      x_bhwc = saved.preprocess.apply(image_bhwc)
      embedding_bd = with_mirror(lambda x: saved.module.apply(saved.variables, x, train=False), x_bhwc, mirror)
    if normalize:
      # An untrained network may have outputs whose squares overflow float32.
      embedding_bd = embedding_bd / jnp.maximum(jnp.abs(embedding_bd).max(-1, keepdims=True), 1e-30)
      length_b1 = jnp.sqrt((embedding_bd * embedding_bd).sum(-1, keepdims=True))
      embedding_bd = embedding_bd / jnp.maximum(length_b1, 1e-12)
    return embedding_bd

  return network


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


def _differences(saved: SavedModel, path: Path, dtype: np.dtype, mirror: str) -> dict[tuple[int, int, int], float]:
  """Largest difference of normalised embeddings, by shape of the images."""
  session = need("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
  # Preprocess separately, so that the network is compiled for one size.
  prepare = jax.jit(saved.preprocess.apply)
  network = jax.jit(lambda v, x: with_mirror(lambda y: saved.module.apply(v, y, train=False), x, mirror))
  draw, batch, found = np.random.default_rng(0), 3, {}
  for count, height, width in _sizes(saved.preprocess):
    image_bhwc = draw.integers(0, 256, (batch, height, width, CHANNELS)).astype(dtype)
    expected_bd = _unit(np.asarray(network(saved.variables, prepare(image_bhwc))))[:count]
    embedding_bd = _unit(session.run(None, {"image": image_bhwc[:count]})[0])
    found[count, height, width] = float(np.abs(embedding_bd - expected_bd).max())
  return found


def _unit(embedding_bd: np.ndarray) -> np.ndarray:
  return embedding_bd / np.linalg.norm(embedding_bd, axis=-1, keepdims=True)


__all__ = ["Exported", "ParityError", "export_onnx"]
