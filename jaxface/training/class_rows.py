"""Class centres that are updated by rows.

The step differentiates all other parameters alone. Each head then updates the rows that it scored, with their rows of the optimizer's
state, in place. The optimizer must therefore be elementwise: what it does to a row depends on that row and on counts of steps.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from jaxface.heads.class_head import ClassHead
from jaxface.heads.classification import Classification
from jaxface.heads.passes import Pull, Seen
from jaxface.heads.rounding import round_rows
from jaxface.losses.unit import at_least_float32
from jaxface.seeds import Purpose, device_key
from jaxface.training.mesh import path_names, term_of
from jaxface.training.parts import Batches, Objective, Optimizer
from jaxface.training.state import TrainState

Tree = Any


class ClassRows:
  """The terms of an objective with class centres that are updated by rows.

  Args:
    objective: terms of the run.
    optimizer: of the run.
    batches: of the run.
    mesh: devices of the run; None for one.

  Attributes:
    heads: head of each such term, by number.
  """

  def __init__(self, objective: Objective, optimizer: Optimizer, batches: Batches, mesh: Mesh | None):
    self.optimizer, self.seed = optimizer, batches.seed
    self.terms: Sequence[Any] = objective.terms
    self.heads: dict[int, ClassHead] = {}
    for index, term in enumerate(objective.terms):
      if isinstance(term, Classification) and (head := term.head(objective.num_classes, mesh, parts=batches.accumulate)):
        self.heads[index] = head

  def split(self, tree: Tree) -> tuple[Tree, Tree]:
    """A tree of parameters or of optimizer state, without the rows of these terms and with nothing else; None in their places."""
    return _split(tree, self.heads)

  def no_pulls(self, rows: int) -> dict[int, Pull]:
    """Inputs of `Classification.apart` for a part of the batch with so many rows, by term."""
    return {index: head.no_pull(rows) for index, head in self.heads.items()}

  def loss(
    self, index: int, state: TrainState, inputs: dict[str, Array], pull: Pull, label_b: Array, given: dict[str, Any]
  ) -> tuple:
    """`Classification.apart` of a term, on a part of the batch whose labels are `label_b`."""
    # The same for all parts of the batch.
    draw_key = device_key(jax.random.key(self.seed), Purpose.CLASSES, state.step, index)
    return self.terms[index].apart(
      self.heads[index], state.params["terms"][index], inputs, pull=pull, draw_key=draw_key, batch_label_b=label_b, **given
    )

  @staticmethod
  def of_parts(seen: Mapping[int, Seen]) -> dict[int, Seen]:
    """`Seen` of all parts of a batch, which have the sampled classes in common."""
    return {
      index: own if own.pick_g is None else own._replace(pick_g=own.pick_g[0]) for index, own in seen.items()
    }

  def start_counts(self, params: Tree, optimizer: Tree) -> dict[str, Array]:
    """Initial `TrainState.class_counts`: for sampled heads, if the optimizer corrects moments by a count of updates."""
    if not any(isinstance(node, optax.ScaleByAdamState) for node in jax.tree.leaves(optimizer, is_leaf=_is_adam)):
      return {}
    return {
      str(index): jnp.zeros(len(params["terms"][index]["center_cd"]) // head.margin.geometry.subcenters, jnp.int32)
      for index, head in self.heads.items() if head.size > 1
    }

  def clip(self, grads: Tree, squares: Mapping[int, Array], updates: Array) -> tuple[Tree, dict[int, Array]]:
    """Clips the other gradients together with those of the rows.

    Args:
      grads: gradients, None in place of the rows.
      squares: sum of squares of the rows' gradient, by term.
      updates: number of optimizer updates so far.
    Returns:
      Clipped gradients, and the factor of each term's rows.
    """
    assert self.optimizer.clip is not None
    # A single number of the same norm stands for all rows of a term.
    norms = {index: jnp.sqrt(square) for index, square in squares.items()}
    whole = {index: {"center_cd": norm.reshape(1, 1), "bias_c": jnp.zeros(1)} for index, norm in norms.items()}
    joint = {**grads, "terms": tuple(whole.get(index, own) for index, own in enumerate(grads["terms"]))}
    state = self.optimizer.clip.init(joint)
    if isinstance(state, optax.ScaleByScheduleState):
      state = state._replace(count=updates)
    clipped, _ = self.optimizer.clip.update(joint, state)
    factors = {
      index: jnp.where(norm > 0, clipped["terms"][index]["center_cd"].reshape(()) / jnp.where(norm > 0, norm, 1.0), 1.0)
      for index, norm in norms.items()
    }
    terms = tuple(own if index in self.heads else clipped["terms"][index] for index, own in enumerate(grads["terms"]))
    return {**clipped, "terms": terms}, factors

  def squares(self, state: TrainState, seen: Mapping[int, Seen], pulls: Mapping[int, Pull]) -> dict[int, Array]:
    """Sum of squares of the rows' gradient, by term, without an update."""
    return {index: head.square(state.params["terms"][index], seen[index], pulls[index]) for index, head in self.heads.items()}

  @jax.named_scope("class_rows")
  def update(
    self, state: TrainState, seen: Mapping[int, Seen], pulls: Mapping[int, Pull], factors: Mapping[int, Array], go: Array
  ) -> tuple[Tree, Tree, dict[str, Array], dict[int, Array]]:
    """Updates the rows that were scored, in place if the state is donated.

    Args:
      state: state before the step.
      seen: from `Classification.apart`, with a leading axis of parts.
      pulls: gradients of its `pull`, with that axis.
      factors: from `clip`, or none.
      go: false changes nothing.
    Returns:
      Parameters and optimizer state with None in all other places, class counts, and the sum of squares of the gradient by term.
    """
    params, optimizer = self.split(state.params)[1], self.split(state.optimizer)[1]
    counts, squares = dict(state.class_counts), {}
    shared = _without_parameters(state.optimizer)
    for index, head in self.heads.items():
      own = _split(optimizer, (index,))[1]
      slots = (own, counts[str(index)]) if str(index) in counts else (own,)
      key = device_key(jax.random.key(self.seed), Purpose.ROUNDING, state.step, index)
      moved, slots, squares[index] = head.update(
        params["terms"][index], slots, seen[index], pulls[index], self._rule(index, state.params), shared,
        factors.get(index, jnp.float32(1.0)), key, go=go,
      )
      params = {**params, "terms": tuple(moved if at == index else other for at, other in enumerate(params["terms"]))}
      optimizer = join(_split(optimizer, (index,))[0], slots[0])
      if len(slots) > 1:
        counts[str(index)] = slots[1]
    return params, optimizer, counts, squares

  def _rule(self, index: int, all_params: Tree) -> Callable:
    """How the optimizer updates some classes of a term, for `ClassHead.update`."""
    nothing = jax.tree.map(lambda _: None, all_params)
    update = self.optimizer.transform.update

    def as_tree(own: Tree) -> Tree:
      return {**nothing, "terms": tuple(own if at == index else other for at, other in enumerate(nothing["terms"]))}

    def one(params: Tree, gradient: Tree, slots: tuple, shared: Tree, factor: Array) -> tuple[Tree, tuple]:
      """One class: leaves [m, ...], biases without an axis."""
      before = join(shared, slots[0])
      if len(slots) > 1:
        before = jax.tree.map(
          lambda node: node._replace(count=slots[1]) if _is_adam(node) else node, before, is_leaf=_is_adam
        )
      gradient = jax.tree.map(lambda g: g * factor, gradient)
      updates, after = update(as_tree(gradient), before, as_tree(params))
      return optax.apply_updates(params, updates["terms"][index]), (_split(after, (index,))[1], *(count + 1 for count in slots[1:]))

    def rule(
      params: Tree, gradient: Tree, slots: tuple, number_k: Array, shared: Tree, factor: Array, key: Array
    ) -> tuple[Tree, tuple]:
      def by_class(leaf: Array) -> Array:
        return leaf if leaf.ndim == 1 else leaf.reshape(len(number_k), -1, *leaf.shape[1:])

      each = jax.tree.map(by_class, (precise(params), gradient, slots))
      new, new_slots = jax.vmap(one, in_axes=(0, 0, 0, None, None))(each[0], each[1], each[2], shared, factor)
      new, new_slots = jax.tree.map(lambda leaf, old: leaf.reshape(old.shape), (new, new_slots), (params, slots))
      rounded = {
        name: round_rows(leaf, key, number_k) if params[name].dtype == jnp.bfloat16 else leaf for name, leaf in new.items()
      }
      return rounded, new_slots

    return rule


def join(tree: Tree, more: Tree) -> Tree:
  """`tree` with the leaves of `more` in its places of None."""
  return jax.tree.map(lambda a, b: b if a is None else a, tree, more, is_leaf=lambda leaf: leaf is None)


def precise(params: Tree) -> Tree:
  """Parameters in the precision of the optimizer: at least float32."""
  return jax.tree.map(at_least_float32, params)


def _is_adam(node: Any) -> bool:
  return isinstance(node, optax.ScaleByAdamState)


def _split(tree: Tree, terms: Any) -> tuple[Tree, Tree]:
  rest = jax.tree_util.tree_map_with_path(lambda path, leaf: None if term_of(path) in terms else leaf, tree)
  rows = jax.tree_util.tree_map_with_path(lambda path, leaf: leaf if term_of(path) in terms else None, tree)
  return rest, rows


def _without_parameters(optimizer: Tree) -> Tree:
  """The optimizer's counts and other state that belongs to no parameter; None elsewhere."""

  def keep(path: tuple, leaf: Array) -> Array | None:
    return None if {"model", "terms"} & set(path_names(path)) else leaf

  return jax.tree_util.tree_map_with_path(keep, optimizer)


__all__ = ["ClassRows", "join", "precise"]
