"""Our own names in a safetensors file, for networks without a known PyTorch layout.

A variable's name is its path in the model's tree, joined by dots, and its axes are in JAX's order:

| name | what |
|---|---|
| `params.MODULE. … .kernel` | weights: convolutions [h, w, I, O], matrices [I, O] |
| `params.MODULE. … .bias`, `.scale`, `.alpha`, … | the other parameters |
| `batch_stats.MODULE. … .mean`, `.var` | running statistics of norms |

`jaxface models NAME` lists the modules. The file's metadata have `jaxface.layout: jaxface`, or `pytorch` if names and axis
order are PyTorch's.
"""

from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np

from jaxface.interop.weights import WrongWeights
from jaxface.models.preprocess import Preprocess
from jaxface.models.saved import SavedModel, variable_shapes

LAYOUT = "jaxface.layout"
COLLECTIONS = ("params", "batch_stats")


def to_own_names(saved: SavedModel) -> dict[str, np.ndarray]:
  """A network's variables by our own names."""
  leaves = flax.traverse_util.flatten_dict({key: saved.variables[key] for key in COLLECTIONS if key in saved.variables})
  state = {".".join(place): np.asarray(leaf) for place, leaf in sorted(leaves.items())}
  if len(state) != len(leaves):
    raise ValueError(f"two variables of {saved.name} have the same name: one of its modules has a '.' in its name")
  return state


def from_own_names(
  state: dict[str, np.ndarray], model: str, options: dict[str, Any], convention: Preprocess, path: Path
) -> dict[str, Any]:
  """The inverse of `to_own_names`.

  Args:
    state: arrays by name.
    model: name of the network.
    options: its options.
    convention: its input convention.
    path: path of the file, for messages.
  Raises:
    WrongWeights: a variable is missing, unused, or has another shape or dtype; names it.
  """
  leaves = {}
  shapes = flax.traverse_util.flatten_dict(variable_shapes(model, options, convention))
  for place, expected in shapes.items():
    name = ".".join(place)
    if name not in state:
      raise WrongWeights(f"{path}: key {name!r} is missing, shape {expected.shape} of {model} {options}")
    found = state[name]
    if found.shape != expected.shape or found.dtype != expected.dtype:
      raise WrongWeights(
        f"{path}: key {name!r} is {found.dtype} {found.shape}, expected {expected.dtype} {expected.shape}"
      )
    leaves[place] = np.array(found)
  more = sorted(set(state) - {".".join(place) for place in shapes})
  if more:
    raise WrongWeights(f"{path}: key {more[0]!r} (of {len(more)} more) is not in {model} {options}")
  return flax.traverse_util.unflatten_dict(leaves)


__all__ = ["LAYOUT", "from_own_names", "to_own_names"]
