"""Whether parameters belong to a network, by their shapes."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict


def check_shapes(module: nn.Module, side: int, params: dict[str, Any], note: str = "") -> None:
  """Rejects parameters of another network; nothing is computed.

  Args:
    module: takes [1, side, side, 3].
    side: height and width of its images in pixels.
    params: nested dicts of arrays.
    note: after the message.
  Raises:
    ValueError: names the first array that is missing or has another shape.
  """
  expected = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, side, side, 3))))["params"]
  found = flatten_dict(params, sep="/")
  for path, leaf in flatten_dict(expected, sep="/").items():
    if np.shape(found.get(path)) != leaf.shape:
      raise ValueError(f"{path} has the shape {np.shape(found.get(path))}, should have {leaf.shape}{note}")


__all__ = ["check_shapes"]
