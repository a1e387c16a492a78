"""One optimizer step, compiled once: augment, embed, objective, update; a non-finite step changes nothing.

Everything global (batch norm, means, the objective's statistics) is a plain sum over the global batch under `jit`;
the compiler inserts the collectives. Class centres that are updated by rows are excepted, see `jaxface.training.class_rows`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from jaxface.heads.passes import Pull, Seen
from jaxface.losses.metrics import Max, Mean, Metric, Sum, as_metric, empty, merge, only_if, values
from jaxface.seeds import Purpose, device_key
from jaxface.training.checks import check_members, check_parts
from jaxface.training.class_rows import ClassRows, join, precise
from jaxface.training.elementwise import check_elementwise
from jaxface.training.embed import embed
from jaxface.training.frozen import Frozen
from jaxface.training.mesh import pad_classes, state_sharding, unpadded_shapes
from jaxface.training.optimizer import update_ema
from jaxface.training.parts import BAD_WINDOW, Batches, Network, Objective, Optimizer, Plan
from jaxface.training.state import TrainState, select
from jaxface.training.term_sum import TermSum

Tree = Any
Batch = dict[str, Array]


class TrainStep:
  """Builds the first state and advances it.

  Args:
    network: what is trained.
    objective: on what, for how many classes.
    optimizer: how gradients become updates.
    batches: how a batch is taken.
    plan: when a line of the log is due, and how many non-finite steps end the run.
    mesh: devices of the step; None for one. Class centres are padded to a multiple of them, and arrays between the network and the
      objective are sharded over them.

  Attributes:
    traces: how often `__call__` was traced; a run ends with 1.
  Raises:
    ValueError: a term for another number of networks than there are, or centres that are updated by rows with an optimizer that is
      not elementwise.
  """

  def __init__(
    self, network: Network, objective: Objective, optimizer: Optimizer, batches: Batches, plan: Plan, mesh: Mesh | None = None
  ):
    check_members(objective.terms, network)
    self.network, self.objective, self.optimizer = network, objective, optimizer
    self.batches, self.plan, self.mesh = batches, plan, mesh
    self.frozen = Frozen(optimizer.rates, network.freeze_norm)
    # Terms whose centres each device has.
    self.whole = frozenset(index for index, term in enumerate(objective.terms) if not getattr(term, "sharded", True))
    self.rows = ClassRows(objective, optimizer, batches, mesh)
    self.term_sum = TermSum(objective, self.rows, mesh, lambda: self._term_shapes, self.whole)
    if self.rows.heads and not optimizer.elementwise:
      check_elementwise(optimizer.transform, self._parameter_shapes(), self.rows.heads)
    self.traces = 0

  @functools.cached_property
  def init(self) -> Callable[[Array], TrainState]:
    """Function (key) to the state before the first step; pure, for `jit` with output shardings: no device ever holds it whole.

    The key is `jax.random.key(seed)`, from which each purpose takes its own fold. It is one object: JAX traces it once for
    `eval_shape` and `jit`.
    """
    return self._init

  @functools.cached_property
  def shapes(self) -> TrainState:
    """Shapes of the state."""
    return jax.eval_shape(self.init, jax.random.key(0))

  def _init(self, key: Array) -> TrainState:
    variables, initial = self._initial(key, by_rows=True)
    if self.mesh is not None:
      initial = [own if index in self.whole else pad_classes(self.mesh, own) for index, own in enumerate(initial)]
    params = {"model": variables["params"], "terms": tuple(term_params for term_params, _ in initial)}
    batch_stats = variables.get("batch_stats", {})
    average = {"params": variables["params"], "batch_stats": batch_stats}
    optimizer = self.optimizer.transform.init(precise(params))
    state = TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      batch_stats=batch_stats,
      terms=tuple(term_state for _, term_state in initial),
      optimizer=optimizer,
      class_counts=self.rows.start_counts(params, optimizer),
      # A copy: a donated state must not hold one buffer twice.
      ema=jax.tree.map(jnp.copy, average) if self.optimizer.ema else None,
      bad_steps=jnp.zeros((), jnp.int32),
      bad_in_row=jnp.zeros((), jnp.int32),
      bad_lately=jnp.zeros(BAD_WINDOW, jnp.bool_),
      damaged=jnp.zeros((), jnp.int32),
      window={},
    )
    check_parts(self.objective.terms, state.terms, self.batches.accumulate)
    return state._replace(window=self._empty_window(state))

  def _initial(self, key: Array, *, by_rows: bool) -> tuple[Tree, list[tuple[Tree, Tree]]]:
    """Variables of the network, and parameters and state of each term; with padding only where rows are updated, if at all."""
    model, preprocess = self.network.module, self.network.preprocess
    image = jnp.zeros((1, *preprocess.size, preprocess.channels))
    embedding, variables = model.init_with_output(device_key(key, Purpose.NETWORK), image, train=False)
    heads = self.rows.heads if by_rows else {}
    return variables, [
      term.init(
        device_key(key, Purpose.TERM_INIT, index), embedding.shape[-1], self.objective.num_classes,
        **({"head": heads[index]} if index in heads else {}),
      )
      for index, term in enumerate(self.objective.terms)
    ]

  @functools.cached_property
  def _term_shapes(self) -> list[tuple[Tree, Tree]]:
    """Shapes of each term's parameters and state without padding."""
    return jax.eval_shape(lambda key: self._initial(key, by_rows=False)[1], jax.random.key(0))

  def _parameter_shapes(self) -> Tree:
    variables, initial = jax.eval_shape(lambda key: self._initial(key, by_rows=True), jax.random.key(0))
    return {"model": variables["params"], "terms": tuple(params for params, _ in initial)}

  def shardings(self, state: Tree) -> Tree:
    """A sharding for every leaf of the state, see `state_sharding`."""
    assert self.mesh is not None
    return state_sharding(self.mesh, state, self.whole, fsdp=self.network.fsdp)

  def unpadded(self) -> dict[str, tuple[int, ...]]:
    """Shape without padding of each leaf with an axis of classes, by its name in a checkpoint."""
    return unpadded_shapes(self.shapes, self._term_shapes, self.objective.num_classes)

  def _empty_window(self, state: TrainState) -> dict[str, Metric]:
    size, joint = self.batches.size, self.batches.joint
    image = (*self.network.preprocess.size, 3) if joint is None else joint.image_shape
    batch = {
      "image": jax.ShapeDtypeStruct((size, *image), jnp.uint8),
      "label": jax.ShapeDtypeStruct((size,), jnp.int32),
      "weight": jax.ShapeDtypeStruct((size,), jnp.float32),
      "position": jax.ShapeDtypeStruct((size,), jnp.uint32),
    }
    if joint is not None:
      batch["target"] = jax.ShapeDtypeStruct((size, joint.target_size), jnp.float32)
    metrics = jax.eval_shape(self._metrics, state, batch)
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    own: dict[str, Metric] = {
      "loss": Mean(scalar, scalar), "gradient_norm": Mean(scalar, scalar), "gradient_norm_max": Max(scalar),
      "skipped": Sum(scalar),
    }
    return empty({**metrics, **own})

  def _metrics(self, state: TrainState, batch: Batch) -> dict[str, Metric]:
    """The metrics of a batch, from its first part; without gradients, so that they are quick to trace."""
    parts = self.batches.accumulate
    rest, no_pulls = self.rows.split(state.params)[0], self.rows.no_pulls(len(batch["label"]) // parts)
    part = jax.tree.map(lambda a: a[: len(a) // parts], batch)
    return self._loss(rest, no_pulls, state.batch_stats, state, part, batch["label"], jnp.float32(1), 0)[1][0]

  def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
    """Advance by one batch.

    Args:
      state: the present state (donated by the caller's `jit`).
      batch: image [B, H, W, C] uint8, label [B] int32, weight [B] float32, position [B] uint32, and, where records may be
        damaged, damaged [B] int32: how many could not be read for each row; with `batches.joint` also target [B, T] float32.
    Returns:
      The next state, and every metric over the steps since the last line of the log; those that were skipped are left out,
      and counted in `skipped`. NaN where nothing is left.
    """
    self.traces += 1
    found = self._gradients(state, batch)
    loss, metrics, grads = found.loss, found.metrics, found.grads
    rest_norm = optax.global_norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(rest_norm)
    if self.rows.heads:
      finite &= jnp.isfinite(optax.global_norm(found.pulls))
    # The optimizer's own count, which a skipped step does not change.
    updates_before = state.step - state.bad_steps
    factors: dict[int, Array] = {}
    if self.rows.heads and self.optimizer.clip is not None:
      grads, factors = self.rows.clip(grads, self.rows.squares(state, found.seen, found.pulls), updates_before)
    batch_stats = self.frozen.keep_statistics(state.batch_stats, found.batch_stats, updates_before)
    rest = state._replace(params=self.rows.split(state.params)[0], optimizer=self.rows.split(state.optimizer)[0], class_counts={})
    with jax.named_scope("optimizer"):
      updates, optimizer = self.optimizer.transform.update(grads, rest.optimizer, rest.params)
      params = optax.apply_updates(rest.params, updates)
    ema = state.ema
    if ema is not None:
      ema = update_ema(ema, {"params": params["model"], "batch_stats": batch_stats}, state.step, self.optimizer.ema)
    moved = rest._replace(params=params, batch_stats=batch_stats, terms=found.terms, optimizer=optimizer, ema=ema)
    with jax.named_scope("optimizer"):
      kept = select(finite, moved, rest)
    norm = rest_norm
    if self.rows.heads:
      row_params, row_optimizer, counts, squares = self.rows.update(state, found.seen, found.pulls, factors, finite)
      kept = kept._replace(
        params=join(kept.params, row_params), optimizer=join(kept.optimizer, row_optimizer), class_counts=counts
      )
      norm = jnp.sqrt(jnp.square(rest_norm) + sum(squares.values()))
    own: dict[str, Metric] = {"loss": Mean(loss, 1.0), "gradient_norm": Mean(norm, 1.0), "gradient_norm_max": Max(norm)}
    window = self._window(state, finite, {**metrics, **{name: as_metric(metric) for name, metric in own.items()}})
    bad = (~finite).astype(jnp.int32)
    # Once at their limits the counts stay: the log, which ends the run, looks at them only now and then.
    over = state.bad_in_row >= self.plan.max_bad_steps
    in_row = jnp.where(over, state.bad_in_row, (state.bad_in_row + 1) * bad)
    over = state.bad_lately.sum() > self.plan.most_bad_lately
    lately = jnp.where(over, state.bad_lately, state.bad_lately.at[state.step % BAD_WINDOW].set(~finite))
    damaged = state.damaged + (batch["damaged"].sum() if "damaged" in batch else 0)
    new = kept._replace(
      step=state.step + 1, bad_steps=state.bad_steps + bad, bad_in_row=in_row, bad_lately=lately, damaged=damaged,
      window=window,
    )
    rate = self.optimizer.schedule(updates_before)
    return new, {
      **values(window), "learning_rate": rate.astype(jnp.float32), "bad_steps": new.bad_steps, "bad_in_row": in_row,
      "bad_lately": lately.sum(), "damaged_records": damaged,
    }

  def _window(self, state: TrainState, finite: Array, metrics: dict[str, Metric]) -> dict[str, Metric]:
    """The metrics of the interval with those of this step; a skipped one says nothing but that it was skipped."""
    first = state.step % self.plan.log_every == 0
    seen = {**only_if(finite, metrics), "skipped": as_metric(Sum(~finite))}
    return merge(only_if(~first, state.window), seen)

  def _gradients(self, state: TrainState, batch: Batch) -> "_Found":
    """Loss, gradients and metrics of the whole batch, taken in `accumulate` parts."""
    parts = self.batches.accumulate
    total = jnp.maximum(batch["weight"].sum(), 1e-12)
    grad = jax.value_and_grad(self._loss, argnums=(0, 1), has_aux=True)
    rest, no_pulls = self.rows.split(state.params)[0], self.rows.no_pulls(len(batch["label"]) // parts)

    if parts == 1:
      (loss, (metrics, batch_stats, terms, seen)), (grads, pulls) = grad(
        rest, no_pulls, state.batch_stats, state, batch, batch["label"], total, 0
      )
      seen, pulls = jax.tree.map(lambda leaf: leaf[None], (seen, pulls))
      return _Found(loss, grads, metrics, batch_stats, terms, self.rows.of_parts(seen), pulls)

    # Every part takes every parts-th image, so that each device keeps the images it has.
    split = jax.tree.map(lambda a: a.reshape(-1, parts, *a.shape[1:]).swapaxes(0, 1), batch)

    def body(carry: tuple, item: tuple[Batch, Array]) -> tuple[tuple, tuple]:
      loss, grads, metrics, batch_stats = carry
      part, index = item
      (part_loss, (part_metrics, batch_stats, _, seen)), (part_grads, pulls) = grad(
        rest, no_pulls, batch_stats, state, part, batch["label"], total, index
      )
      metrics = merge(metrics, part_metrics)
      return (loss + part_loss, jax.tree.map(jnp.add, grads, part_grads), metrics, batch_stats), (seen, pulls)

    no_metrics = empty(jax.eval_shape(self._metrics, state, batch))
    carry = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, rest), no_metrics, state.batch_stats)
    (loss, grads, metrics, batch_stats), (seen, pulls) = jax.lax.scan(body, carry, (split, jnp.arange(parts)))
    return _Found(loss, grads, metrics, batch_stats, state.terms, self.rows.of_parts(seen), pulls)

  def _loss(
    self, params: Tree, pulls: dict[int, Pull], batch_stats: Tree, state: TrainState, batch: Batch, label_b: Array, total: Array,
    part: Array | int,
  ) -> tuple[Array, tuple]:
    """Loss of a part of the batch; `label_b` are the labels of all of it."""
    root = jax.random.key(self.batches.seed)
    image, target_bt = self.batches.augmented(batch)
    image = self.network.preprocess.apply(image)
    params = self.frozen.stop(params, batch_stats)
    with self.frozen.norms():
      dropout = device_key(root, Purpose.DROPOUT, state.step, part)
      embedding_bd, batch_stats = embed(self.network, self.mesh, params["model"], batch_stats, image, dropout)
    inputs = {"embedding_bd": embedding_bd, "label_b": batch["label"], "weight_b": batch["weight"]}
    if target_bt is not None:
      inputs["target_bt"] = target_bt
    loss, metrics, terms, seen = self.term_sum(params["terms"], pulls, state, inputs, label_b, total, root, part)
    return loss, (metrics, batch_stats, terms, seen)


class _Found(NamedTuple):
  """Results of the forward and backward pass; see `ClassRows.update` for `seen` and `pulls`."""

  loss: Array
  grads: Tree
  metrics: dict[str, Metric]
  batch_stats: Tree
  terms: tuple[Tree, ...]
  seen: dict[int, Seen]
  pulls: dict[int, Pull]


def compile_step(step: TrainStep, shardings: Tree, batch_shardings: Any) -> jax.stages.Wrapped:
  """`step` under `jit`: the state donated and laid out as `shardings` say, in and out."""
  return jax.jit(step, in_shardings=(shardings, batch_shardings), out_shardings=(shardings, None), donate_argnums=0)
