"""What a training step must not change in the network: layers with rate 0, and frozen norms."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array, lax

from jaxface.layers.norm_control import norm_paths, running_statistics
from jaxface.training.rates import Rate, rate_of, rate_paths, stopped

Tree = Any


class Frozen:
  """Stops gradients of frozen parameters, and keeps running statistics of frozen norms.

  Args:
    rates: parsed `optimizer.rates`.
    freeze_norm: every batch norm uses its running statistics and is not updated.
  """

  def __init__(self, rates: Sequence[Rate], freeze_norm: bool):
    self.rates, self.freeze_norm = rates, freeze_norm

  @contextlib.contextmanager
  def norms(self) -> Iterator[None]:
    """Context for tracing: norms that are never updated use their running statistics."""
    if not self.freeze_norm and not any(rate.stopped for rate in self.rates):
      yield
      return
    with running_statistics(lambda path: self.freeze_norm or stopped(self.rates, "/".join(("body", *path, "mean")))):
      yield

  def stop(self, params: Tree, batch_stats: Tree) -> Tree:
    """{"model", "terms"} parameters, with gradients stopped for those that are never updated."""
    params = jax.tree.map(
      lambda path, leaf: lax.stop_gradient(leaf) if stopped(self.rates, path) else leaf, rate_paths(params), params
    )
    if not self.freeze_norm:
      return params
    norms = set(norm_paths(batch_stats))
    model = {
      path: lax.stop_gradient(leaf) if path[:-1] in norms else leaf for path, leaf in flatten_dict(params["model"]).items()
    }
    return {**params, "model": unflatten_dict(model)}

  def keep_statistics(self, old: Tree, new: Tree, updates: Array) -> Tree:
    """Running statistics after a step: those of layers with rate 0 do not change.

    Args:
      old, new: batch_stats before and after the step.
      updates: number of optimizer updates so far.
    """
    if not self.rates:
      return new

    def choose(path: str, before: Array, after: Array) -> Array:
      rate = rate_of(self.rates, path)
      return after if rate is None else jnp.where(rate.at(updates) > 0, after, before)

    return jax.tree.map(choose, rate_paths({"model": old})["model"], old, new)


__all__ = ["Frozen"]
