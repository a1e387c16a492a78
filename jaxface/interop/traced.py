"""The function that an exported graph computes, traced in operations that every program has."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxface.formats.threshold import Threshold
from jaxface.inference.embed import with_mirror
from jaxface.layers.convolution import Conv
from jaxface.layers.local import LocallyConnected, locally_connected
from jaxface.models.registry import with_taken
from jaxface.models.saved import SavedModel

CHANNELS = 3  # of the input images


class ParityError(ValueError):
  """An exported file and JAX give different results."""


def in_float32(saved: SavedModel) -> SavedModel:
  """The same network as it is exported: of float32, for any training dtype."""
  return replace(saved, options={**saved.options, **with_taken(saved.name, dtype="float32", remat=False)})


def threshold_that_holds(saved: SavedModel, mirror: str) -> Threshold | None:
  """The model's threshold, if it was measured with this use of the mirror image."""
  threshold = saved.own_threshold
  return threshold if threshold and threshold.mirror == mirror else None


def expected_embeddings(saved: SavedModel, mirror: str) -> Callable[[np.ndarray], np.ndarray]:
  """Function image [B, H, W, C] in 0..255 to the model's own embeddings [B, D], of length one, to compare a file with."""
  # Preprocess separately, so that the network is compiled for one size.
  prepare = jax.jit(saved.preprocess.apply)
  network = jax.jit(lambda v, x: with_mirror(lambda y: saved.module.apply(v, y, train=False), x, mirror))
  return lambda image_bhwc: unit(np.asarray(network(saved.variables, prepare(image_bhwc))))


def unit(embedding_bd: np.ndarray) -> np.ndarray:
  """Rows of length one."""
  return embedding_bd / np.linalg.norm(embedding_bd, axis=-1, keepdims=True)


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


def traced_network(saved: SavedModel, normalize: bool, mirror: str) -> Callable[[Array], Array]:
  """Function image [B, H, W, C] in 0..255 to embeddings [B, D] float32, its variables inside as constants.

  Args:
    saved: the network, of float32.
    normalize: scale each embedding to length one.
    mirror: use of the mirror image: "none", "sum" or "concat".
  """

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


__all__ = ["CHANNELS", "ParityError", "expected_embeddings", "in_float32", "threshold_that_holds", "traced_network", "unit"]
