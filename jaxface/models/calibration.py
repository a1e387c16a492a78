"""Statistics for batch norms without any, in weights whose norms were folded into convolutions.

A folded norm has mean 0 and variance 1 and adds its bias, which is right in inference. The first training step, however,
normalises by the statistics of the batch, which differ, and the network computes another function. Calibration measures the
input of each norm, sets its statistics to the result, and changes scale and bias so that the function stays the same:

  slope = γ / √(v + ε)
  γ' = slope · √(v' + ε)
  β' = β + (m' − m) · slope

Since every norm keeps its function, the inputs of later norms do not change, and one forward pass measures all of them.
"""

from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array

from jaxface.layers.formulation import formulation
from jaxface.layers.norm_control import NORM_INPUTS, norm_paths, watched_inputs

# More images than this hardly change the statistics.
CALIBRATION_IMAGES = 1024
# An importer may subtract the norm's ε from the variance of 1.
_NEAR_ONE = 0.01

_ELSE = "; --model.freeze_norm true trains without calibration and keeps all norms as they are"

Path = tuple[str, ...]


class UncalibratedNorm(ValueError):
  """A norm cannot be calibrated; the message names it."""


def folded_norms(variables: Any) -> list[Path]:
  """Paths of the norms without measured statistics: mean 0 and variance 1 or 1 − ε in every channel."""
  stats = flatten_dict(variables.get("batch_stats", {}))
  found = []
  for path in norm_paths(variables.get("batch_stats", {})):
    mean_c, var_c = (np.asarray(stats.get((*path, leaf), np.nan)) for leaf in ("mean", "var"))
    if not mean_c.any() and np.ptp(var_c) == 0 and abs(var_c.flat[0] - 1) <= _NEAR_ONE:
      found.append(path)
  return found


def norm_meta(variables: Any, *, calibrated_on: int = 0) -> dict[str, Any]:
  """Entries of a model's `meta`: number of norms without statistics, and number of images used for calibration."""
  said = {"folded": len(folded_norms(variables)), "calibrated_on_images": calibrated_on}
  said = {key: count for key, count in said.items() if count}
  return {"norms": said} if said else {}


def calibrate(
  module: nn.Module, variables: Any, batches: Iterable[Any], prepare: Callable[[Any], Array], norms: Iterable[Path] = (),
) -> dict[str, Any]:
  """Variables that compute the same function, with the statistics of their inputs in folded norms.

  Args:
    module: the network.
    variables: {"params": ..., "batch_stats": ...}.
    batches: batches of images, all of one shape; may be sharded arrays, whose statistics are those of the global batch.
    prepare: maps a batch to the network's input, [B, H, W, C] float; runs under `jit`.
    norms: paths of the norms to calibrate; those of `folded_norms` by default.
  Returns:
    The variables; changed leaves are NumPy arrays.
  Raises:
    UncalibratedNorm: a norm is not called in inference, is not a `BatchNorm` of `jaxface.layers.norm` or `flax.linen`, or has
      no scale or bias to compensate the change.
    ValueError: no batch.
  """
  norms = list(norms) or folded_norms(variables)

  @jax.jit
  def measure(variables: Any, batch: Any) -> Any:
    _, seen = module.apply(variables, prepare(batch), train=False, mutable=[NORM_INPUTS])
    return seen.get(NORM_INPUTS, {})

  total: dict[Path, np.ndarray] = {}
  count = 0
  # oneDNN's convolution includes the norm, so there would be no input to measure.
  with formulation("pure" if jax.default_backend() == "cpu" else "xla"), watched_inputs():
    for batch in batches:
      for path, moments in _moments(jax.device_get(measure(variables, batch))).items():
        total[path] = total.get(path, 0.0) + moments
      count += 1
  if not count:
    raise ValueError("calibration needs at least one batch of images")

  flat = {key: np.asarray(leaf) for key, leaf in flatten_dict(variables).items()}
  for path in norms:
    name = "/".join(path)
    if path not in total:
      raise UncalibratedNorm(
        f"norm {name} cannot be calibrated: inference calls no BatchNorm of jaxface.layers or flax.linen at this path{_ELSE}"
      )
    scale, bias = ("params", *path, "scale"), ("params", *path, "bias")
    if scale not in flat or bias not in flat:
      raise UncalibratedNorm(f"norm {name} cannot be calibrated: it has no scale or no bias to compensate the change{_ELSE}")
    mean_c, square_c, epsilon = total[path] / count
    var_c = np.maximum(square_c - mean_c**2, 0.0)
    old_mean, old_var = (flat["batch_stats", *path, leaf].astype(np.float64) for leaf in ("mean", "var"))
    slope_c = flat[scale] / np.sqrt(old_var + epsilon)
    new = {
      scale: slope_c * np.sqrt(var_c + epsilon),
      bias: flat[bias] + (mean_c - old_mean) * slope_c,
      ("batch_stats", *path, "mean"): mean_c,
      ("batch_stats", *path, "var"): var_c,
    }
    flat |= {key: value.astype(np.float32) for key, value in new.items()}
  return unflatten_dict(flat)


def _moments(seen: Any) -> dict[Path, np.ndarray]:
  """[3, C] float64 by path: mean, mean of squares and ε, averaged over the calls of a norm in one batch."""
  found = {}
  for path, calls in flatten_dict(seen, is_leaf=lambda _, leaf: isinstance(leaf, tuple)).items():
    moments = []
    for call in calls:
      mean_c, var_c = (np.asarray(call[key], np.float64) for key in ("mean", "var"))
      moments.append([mean_c, var_c + mean_c**2, np.full_like(mean_c, call["epsilon"])])
    found[path[:-1]] = np.mean(moments, axis=0)
  return found


__all__ = ["CALIBRATION_IMAGES", "UncalibratedNorm", "calibrate", "folded_norms", "norm_meta"]
