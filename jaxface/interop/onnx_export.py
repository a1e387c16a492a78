"""A network into an ONNX file, preprocessing included, checked against ONNX Runtime.

What depends on parameters alone is computed before it is written, so that batch norms end in the weights of
the convolutions before them.

The file takes `image` [batch, height, width, 3], RGB in 0..255 (uint8 by default), already aligned and of the
network's size, and gives `embedding` [batch, size] float32. Model, options, preprocessing, template and
versions are in its metadata under `jaxface.*`.
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

from jaxface.formats.atomic import atomic_file
from jaxface.interop.onnx_file import need
from jaxface.interop.onnx_trace import to_onnx
from jaxface.interop.weights import metadata
from jaxface.layers.conv import Conv
from jaxface.layers.local import LocallyConnected, locally_connected
from jaxface.models.saved import SavedModel

TOLERANCE = 1e-4


class ParityError(ValueError):
  """ONNX Runtime and JAX disagree about the file that was written."""


@dataclass(frozen=True)
class Exported:
  """What was written.

  Attributes:
    path: of the file.
    nodes: how many operations it has.
    difference: largest absolute difference of a normalised embedding between ONNX Runtime and JAX, by batch
      size; empty if not checked.
  """

  path: Path
  nodes: int
  difference: dict[int, float]


def export_onnx(
  saved: SavedModel,
  path: Path | str,
  *,
  opset: int = 17,
  input_dtype: str = "uint8",
  normalize: bool = False,
  check: bool = True,
) -> Exported:
  """Write a network as ONNX; the file appears whole and checked, or not at all.

  Args:
    saved: the network; exported in float32 whatever it was trained in.
    path: of the file.
    opset: 13 to 17.
    input_dtype: "uint8" or "float32" (in 0..255) for `image`.
    normalize: divide each embedding by its length; recorded in the metadata.
    check: compare with JAX at batch 1 and 3.
  Raises:
    Unsupported: the network uses something that has no translation; names the primitive.
    ParityError: a normalised embedding differs by more than 1e-4.
    ValueError: another opset or input type.
    ImportError: onnx or onnxruntime is not installed; says how.
  """
  if check:
    need("onnxruntime")
  if input_dtype not in ("uint8", "float32"):
    raise ValueError(f"input_dtype {input_dtype!r}: takes 'uint8' or 'float32'")
  single = replace(saved, options={**saved.options, "dtype": "float32", "remat": False})
  model = to_onnx(
    _network(single, normalize),
    (*single.preprocess.size, 3),
    np.dtype(input_dtype),
    opset=opset,
    metadata=_metadata(single, input_dtype, normalize),
  )
  path = Path(path)
  with atomic_file(path) as file:
    file.write(model.SerializeToString())
    file.flush()
    difference = _differences(single, Path(file.name), np.dtype(input_dtype)) if check else {}
    worst = max(difference.values(), default=0.0)
    if not worst <= TOLERANCE:
      raise ParityError(
        f"{path}: not written: embeddings differ by {worst:.2g} from JAX's, at most {TOLERANCE} may be"
      )
  return Exported(path, len(model.graph.node), difference)


def _plain(
  next_call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
) -> Any:
  """Layers in their simplest form, whatever is fastest in JAX here: a convolution is one primitive, which is one node."""
  module = context.module
  if type(module) not in (Conv, LocallyConnected) or context.method_name != "__call__":
    return next_call(*args, **kwargs)
  params = module.variables["params"]
  if type(module) is LocallyConnected:
    # The traced batch is large, and would make it a loop of small steps.
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


def _network(saved: SavedModel, normalize: bool) -> Callable[[Array], Array]:
  def network(image_bhwc: Array) -> Array:
    with nn.intercept_methods(_plain):
      embedding_bd = saved.embed(saved.variables, image_bhwc)
    if normalize:
      length_b1 = jnp.sqrt((embedding_bd * embedding_bd).sum(-1, keepdims=True))
      embedding_bd = embedding_bd / jnp.maximum(length_b1, 1e-12)
    return embedding_bd

  return network


def _metadata(saved: SavedModel, input_dtype: str, normalize: bool) -> dict[str, str]:
  """What the file says about itself."""
  return {
    **metadata(saved),
    "jaxface.template": saved.preprocess.template,
    "jaxface.input": f"image: {input_dtype} [batch, height, width, channels], RGB in 0..255, aligned",
    "jaxface.normalized": json.dumps(normalize),
  }


def _differences(saved: SavedModel, path: Path, dtype: np.dtype) -> dict[int, float]:
  """Largest difference of normalised embeddings at batch 1 and 3."""
  session = need("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
  shape = (3, *saved.preprocess.size, 3)
  image_bhwc = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
  expected_bd = _unit(np.asarray(jax.jit(saved.embed)(saved.variables, image_bhwc)))
  return {
    batch: float(
      np.abs(_unit(session.run(None, {"image": image_bhwc[:batch]})[0]) - expected_bd[:batch]).max()
    )
    for batch in (1, 3)
  }


def _unit(embedding_bd: np.ndarray) -> np.ndarray:
  return embedding_bd / np.linalg.norm(embedding_bd, axis=-1, keepdims=True)


__all__ = ["Exported", "ParityError", "export_onnx"]
