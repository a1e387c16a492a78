"""Everything that a run carries from step to step, and nothing else: what is not here cannot differ after a resume."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxface.losses.metrics import Metric

Tree = Any


class TrainState(NamedTuple):
  """State after `step` batches.

  Attributes:
    step: batches taken from the order, skipped ones included.
    params: {"model": the network's, "terms": one entry per term of the objective}.
    batch_stats: running statistics of the network's norms.
    terms: state of each term.
    optimizer: what the optimizer keeps.
    class_counts: number of updates of each class [R], by term, for sampled heads whose optimizer corrects moments by it.
    ema: running average of {"params", "batch_stats"} of the network, or None.
    bad_steps: steps skipped because a loss or gradient was not finite.
    bad_in_row: the last so many steps were skipped; stays at the limit that ends the run.
    bad_lately: [`BAD_WINDOW`] bool, which of the last so many steps were skipped; stays once they are too many.
    damaged: records that could not be read so far, on all hosts and in all lives of the run.
    window: metrics since the last line of the log, so that a resumed run logs the same figures.
  """

  step: Array
  params: Tree
  batch_stats: Tree
  terms: tuple[Tree, ...]
  optimizer: Tree
  class_counts: dict[str, Array]
  ema: Tree
  bad_steps: Array
  bad_in_row: Array
  bad_lately: Array
  damaged: Array
  window: dict[str, Metric]


def select(keep: Array, new: Tree, old: Tree) -> Tree:
  """`new` where the scalar `keep` is true, otherwise `old`, leaf by leaf."""
  return jax.tree.map(lambda a, b: jnp.where(keep, a, b), new, old)


def model_variables(state: TrainState) -> dict[str, Tree]:
  """The network that is evaluated and saved: the running average where there is one."""
  if state.ema is not None:
    return state.ema
  return {"params": state.params["model"], "batch_stats": state.batch_stats}
