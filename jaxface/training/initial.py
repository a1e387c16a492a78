"""A run that begins with the network of another one."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxface.checkpoint import check_same_leaves
from jaxface.models.preprocess import Preprocess
from jaxface.models.saved import load_model
from jaxface.training.state import TrainState


def begin_from(path: str, state: TrainState, preprocess: Preprocess) -> TrainState:
  """The first state with a saved network's variables in the place of the random ones.

  A network with a part called "frozen" gets them there, any other as a whole. The running average of parameters begins
  with them too; terms and optimizer begin as they would.

  Args:
    path: model directory, or workdir of a run.
    state: before the first step.
    preprocess: input convention of the run.
  Raises:
    ValueError: the saved network had another input convention.
    WrongCheckpoint: it is another network; names the first leaf that differs.
  """
  saved = load_model(path)
  if saved.preprocess != preprocess:
    raise ValueError(
      f"model.init_from {path}: its network takes {saved.preprocess}, this run gives {preprocess}: set model.preprocess"
      " and model.size to what it takes"
    )

  def exchange(collection: str, tree: Any) -> Any:
    new, part = saved.variables.get(collection, {}), tree.get("frozen", tree)
    check_same_leaves(new, part, where=f"model.init_from {path}, {collection}")
    return {**tree, "frozen": new} if "frozen" in tree else new

  params = {**state.params, "model": exchange("params", state.params["model"])}
  batch_stats = exchange("batch_stats", state.batch_stats)
  average = None if state.ema is None else {"params": params["model"], "batch_stats": batch_stats}
  new = state._replace(params=params, batch_stats=batch_stats, ema=average)
  # Copies, laid out like the state before: a donated state must not hold one buffer twice.
  copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=jax.tree.map(lambda leaf: leaf.sharding, state))
  return copy(new)


__all__ = ["begin_from"]
