"""A run that begins with the network of another one."""

from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxface.checkpoint import check_same_leaves
from jaxface.models.preprocess import Preprocess
from jaxface.models.saved import load_model
from jaxface.training.state import TrainState


def begin_from(
  path: str, state: TrainState, preprocess: Preprocess, grows_from: tuple[str, ...] = ()
) -> TrainState:
  """The first state with a saved network's variables in the place of the random ones.

  A network with a part called "frozen" gets them there, any other as a whole; but a network that grows from the saved
  one keeps the random values of the layers which that one lacks. The running average of parameters begins with them too;
  terms and optimizer begin as they would.

  Args:
    path: model directory, or workdir of a run.
    state: before the first step.
    preprocess: input convention of the run.
    grows_from: names of the networks whose layers are some of this one's, under the same paths: what its class says in
      `grows_from`.
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
    have, want = (flatten_dict(part) for part in (saved.variables.get(collection, {}), tree.get("frozen", tree)))
    expected = {name: leaf for name, leaf in want.items() if name in have} if saved.name in grows_from else want
    where = f"model.init_from {path}, {collection}"
    check_same_leaves(unflatten_dict(have), unflatten_dict(expected), where=where)
    new = unflatten_dict({**want, **have})
    return {**tree, "frozen": new} if "frozen" in tree else new

  params = {**state.params, "model": exchange("params", state.params["model"])}
  batch_stats = exchange("batch_stats", state.batch_stats)
  average = None if state.ema is None else {"params": params["model"], "batch_stats": batch_stats}
  new = state._replace(params=params, batch_stats=batch_stats, ema=average)
  # Copies, laid out like the state before: a donated state must not hold one buffer twice.
  copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=jax.tree.map(lambda leaf: leaf.sharding, state))
  return copy(new)


__all__ = ["begin_from"]
