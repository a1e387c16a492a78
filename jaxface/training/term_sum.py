"""The weighted sum of an objective's terms on a batch that is sharded over devices."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxface.heads.passes import Pull, Seen
from jaxface.losses.metrics import Mean, Metric, as_metric
from jaxface.seeds import Purpose, device_key
from jaxface.training.class_rows import ClassRows
from jaxface.training.mesh import class_shapes, cut_classes, pad_classes
from jaxface.training.parts import Objective
from jaxface.training.state import TrainState

Tree = Any


class TermSum:
  """Evaluates the terms of an objective.

  Args:
    objective: the terms.
    rows: those of them whose centres are updated by rows.
    mesh: devices; None for one.
    shapes: gives the shapes of each term's parameters and state without padding.
    whole: numbers of the terms whose centres each device has.
  """

  def __init__(
    self, objective: Objective, rows: ClassRows, mesh: Mesh | None, shapes: Callable[[], Sequence[tuple[Tree, Tree]]],
    whole: Collection[int],
  ):
    self.objective, self.rows, self.mesh, self.shapes, self.whole = objective, rows, mesh, shapes, whole

  @jax.named_scope("objective")
  def __call__(
    self, params: Sequence[Tree], pulls: Mapping[int, Pull], state: TrainState, inputs: dict[str, Array], label_b: Array,
    total: Array, root: Array, part: Array | int,
  ) -> tuple[Array, dict[str, Metric], tuple[Tree, ...], dict[int, Seen]]:
    """Loss of a part of the batch.

    Args:
      params: of each term; None for centres that are updated by rows.
      pulls: inputs of those, whose gradient is asked for.
      state: state before the step.
      inputs: embedding_bd, label_b and weight_b of the part, see `Term`.
      label_b: labels of the whole batch.
      total: sum of the weights of the whole batch.
      root: key of the run.
      part: number of the part.
    Returns:
      The loss, metrics, new state of each term, and `Seen` by term.
    """
    inputs = self._placed(inputs, over_devices=True)
    loss, weight = jnp.zeros(()), inputs["weight_b"].sum()
    metrics: dict[str, Metric] = {}
    states, seen = [], {}
    names = self.objective.names
    for index, term in enumerate(self.objective.terms):
      given = {"state": state.terms[index], "step": state.step, "key": device_key(root, Purpose.TERM, state.step, part, index)}
      if index in self.rows.heads:
        loss_b, term_state, found, seen[index] = self.rows.loss(index, state, inputs, pulls[index], label_b, given)
      else:
        loss_b, term_state, found = self._term(index, params[index], inputs, given)
      loss = loss + term.weight * jnp.sum(loss_b) / total
      states.append(term_state)
      prefix = ""
      if len(names) > 1:
        prefix = f"{names[index]}/"
        found = {"loss": Mean(jnp.sum(loss_b), weight), **found}
      metrics |= {f"{prefix}{name}": as_metric(value, weight) for name, value in found.items()}
    return loss, metrics, tuple(states), seen

  def _term(self, index: int, params: Tree, inputs: dict[str, Array], given: dict[str, Any]) -> tuple:
    """A term whose parameters get a gradient."""
    if self.mesh is None or index in self.whole or not class_shapes((params, given["state"])):
      return self.objective.terms[index](params, inputs, **given)
    # All rows meet the classes of each device: embeddings are gathered, centres are not.
    params, state = cut_classes((params, given["state"]), self.shapes()[index])
    loss_b, state, metrics = self.objective.terms[index](params, self._placed(inputs, over_devices=False), **{**given, "state": state})
    return loss_b, pad_classes(self.mesh, (state,))[0], metrics

  def _placed(self, tree: Tree, *, over_devices: bool) -> Tree:
    """Shards the first axis of arrays over all devices, or replicates them, so that this is no choice of the compiler."""
    if self.mesh is None:
      return tree
    spec = P(self.mesh.axis_names) if over_devices else P()
    return jax.lax.with_sharding_constraint(tree, NamedSharding(self.mesh, spec))


__all__ = ["TermSum"]
