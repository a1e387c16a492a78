"""One optimizer step, compiled once: augment, embed, objective, update; a non-finite step leaves no trace.

Everything global (batch norm, means, the objective's statistics) is a plain sum over the global batch under `jit`;
the compiler inserts the collectives.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxface.losses.metrics import Max, Mean, Metric, Sum, as_metric, empty, merge, only_if, values
from jaxface.seeds import Purpose, device_key
from jaxface.training.checks import check_members, check_parts
from jaxface.training.frozen import Frozen
from jaxface.training.mesh import BATCH, ROWS, class_shapes, cut_classes, pad_classes
from jaxface.training.optimizer import update_ema
from jaxface.training.parts import BAD_WINDOW, Batches, Network, Objective, Optimizer, Plan
from jaxface.training.state import TrainState, select

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
    mesh: where the step runs. Class centres are padded to what its class axis divides, and arrays between the network and
      the objective are laid out on it; None leaves both alone.

  Attributes:
    traces: how often `__call__` was traced; a run ends with 1.
  Raises:
    ValueError: a term for another number of networks than there are.
  """

  def __init__(
    self, network: Network, objective: Objective, optimizer: Optimizer, batches: Batches, plan: Plan, mesh: Mesh | None = None
  ):
    check_members(objective.terms, network)
    self.network, self.objective, self.optimizer = network, objective, optimizer
    self.batches, self.plan, self.mesh = batches, plan, mesh
    self.frozen = Frozen(optimizer.rates, network.freeze_norm)
    self.traces = 0

  def init(self, key: Array) -> TrainState:
    """The state before the first step; pure, for `jit` with output shardings: no device ever holds it whole.

    Args:
      key: `jax.random.key(seed)`, from which each purpose takes its own fold.
    """
    variables, initial = self._initial(key)
    if self.mesh is not None:
      initial = pad_classes(self.mesh, initial)
    params = {"model": variables["params"], "terms": tuple(term_params for term_params, _ in initial)}
    batch_stats = variables.get("batch_stats", {})
    average = {"params": variables["params"], "batch_stats": batch_stats}
    state = TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      batch_stats=batch_stats,
      terms=tuple(term_state for _, term_state in initial),
      optimizer=self.optimizer.transform.init(params),
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

  def _initial(self, key: Array) -> tuple[Tree, list[tuple[Tree, Tree]]]:
    """Variables of the network, and parameters and state of each term, for as many classes as there are."""
    model, preprocess = self.network.module, self.network.preprocess
    size = (1, *preprocess.size, preprocess.channels)
    variables = model.init(device_key(key, Purpose.NETWORK), jnp.zeros(size), train=False)
    embedding = jax.eval_shape(lambda v: model.apply(v, jnp.zeros(size), train=False), variables)
    return variables, [
      term.init(device_key(key, Purpose.TERM_INIT, index), embedding.shape[-1], self.objective.num_classes)
      for index, term in enumerate(self.objective.terms)
    ]

  @functools.cached_property
  def _term_shapes(self) -> list[tuple[Tree, Tree]]:
    """Shapes of each term's parameters and state without padding."""
    return jax.eval_shape(lambda key: self._initial(key)[1], jax.random.key(0))

  def unpadded(self) -> dict[str, tuple[int, ...]]:
    """Shapes of what counts class centres, the optimizer's copies included, by name in a checkpoint, without padding."""
    alone = TrainStep(self.network, self.objective, self.optimizer, self.batches, self.plan)
    return class_shapes(jax.eval_shape(alone.init, jax.random.key(0)))

  def _place(self, tree: Tree, spec: PartitionSpec) -> Tree:
    """Pins the layout of arrays, so that it is no choice of the compiler."""
    if self.mesh is None:
      return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(self.mesh, spec))

  def _empty_window(self, state: TrainState) -> dict[str, Metric]:
    size = self.batches.size
    batch = {
      "image": jax.ShapeDtypeStruct((size, *self.network.preprocess.size, 3), jnp.uint8),
      "label": jax.ShapeDtypeStruct((size,), jnp.int32),
      "weight": jax.ShapeDtypeStruct((size,), jnp.float32),
      "position": jax.ShapeDtypeStruct((size,), jnp.uint32),
    }
    metrics = jax.eval_shape(lambda s, b: self._gradients(s, b)[2], state, batch)
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    own: dict[str, Metric] = {
      "loss": Mean(scalar, scalar), "gradient_norm": Mean(scalar, scalar), "gradient_norm_max": Max(scalar),
      "skipped": Sum(scalar),
    }
    return empty({**metrics, **own})

  def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
    """Advance by one batch.

    Args:
      state: the present state (donated by the caller's `jit`).
      batch: image [B, H, W, C] uint8, label [B] int32, weight [B] float32, position [B] uint32, and, where records may be
        damaged, damaged [B] int32: how many could not be read for each row.
    Returns:
      The next state, and every metric over the steps since the last line of the log; those that were skipped are left out,
      and counted in `skipped`. NaN where nothing is left.
    """
    self.traces += 1
    loss, grads, metrics, batch_stats, terms = self._gradients(state, batch)
    norm = optax.global_norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    # The optimizer's own count, which a skipped step does not move.
    batch_stats = self.frozen.keep_statistics(state.batch_stats, batch_stats, state.step - state.bad_steps)
    updates, optimizer = self.optimizer.transform.update(grads, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = state.ema
    if ema is not None:
      ema = update_ema(ema, {"params": params["model"], "batch_stats": batch_stats}, state.step, self.optimizer.ema)
    moved = state._replace(params=params, batch_stats=batch_stats, terms=terms, optimizer=optimizer, ema=ema)
    kept = select(finite, moved, state)
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
    # The schedule goes by the optimizer's own count, which a skipped step does not move.
    rate = self.optimizer.schedule(state.step - state.bad_steps)
    return new, {
      **values(window), "learning_rate": rate.astype(jnp.float32), "bad_steps": new.bad_steps, "bad_in_row": in_row,
      "bad_lately": lately.sum(), "damaged_records": damaged,
    }

  def _window(self, state: TrainState, finite: Array, metrics: dict[str, Metric]) -> dict[str, Metric]:
    """The metrics of the interval with those of this step; a skipped one says nothing but that it was skipped."""
    first = state.step % self.plan.log_every == 0
    seen = {**only_if(finite, metrics), "skipped": as_metric(Sum(~finite))}
    return merge(only_if(~first, state.window), seen)

  def _gradients(self, state: TrainState, batch: Batch) -> tuple:
    """Loss, gradients and metrics of the whole batch, taken in `accumulate` parts."""
    parts = self.batches.accumulate
    total = jnp.maximum(batch["weight"].sum(), 1e-12)
    grad = jax.value_and_grad(self._loss, has_aux=True)

    if parts == 1:
      (loss, (metrics, batch_stats, terms)), grads = grad(state.params, state.batch_stats, state, batch, total, 0)
      return loss, grads, metrics, batch_stats, terms

    # Every part takes every parts-th image, so that each device keeps the images it has.
    split = jax.tree.map(lambda a: a.reshape(-1, parts, *a.shape[1:]).swapaxes(0, 1), batch)

    def body(carry: tuple, item: tuple[Batch, Array]) -> tuple[tuple, None]:
      loss, grads, metrics, batch_stats = carry
      part, index = item
      (part_loss, (part_metrics, batch_stats, _)), part_grads = grad(
        state.params, batch_stats, state, part, total, index
      )
      metrics = merge(metrics, part_metrics)
      return (loss + part_loss, jax.tree.map(jnp.add, grads, part_grads), metrics, batch_stats), None

    shapes = jax.eval_shape(
      lambda b: self._loss(state.params, state.batch_stats, state, b, total, 0)[1][0], jax.tree.map(lambda a: a[0], split)
    )
    carry = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.params), empty(shapes), state.batch_stats)
    (loss, grads, metrics, batch_stats), _ = jax.lax.scan(body, carry, (split, jnp.arange(parts)))
    return loss, grads, metrics, batch_stats, state.terms

  def _loss(
    self, params: Tree, batch_stats: Tree, state: TrainState, batch: Batch, total: Array, part: Array | int
  ) -> tuple[Array, tuple]:
    root = jax.random.key(self.batches.seed)
    image = self.network.preprocess.apply(self.batches.augmented(batch))
    params = self.frozen.stop(params, batch_stats)
    variables = {"params": params["model"], "batch_stats": batch_stats}
    with self.frozen.norms():
      embedding_bd, moved = self.network.module.apply(
        variables, image, train=True, mutable=["batch_stats"],
        rngs={"dropout": device_key(root, Purpose.DROPOUT, state.step, part)},
      )
    inputs = {"embedding_bd": embedding_bd, "label_b": batch["label"], "weight_b": batch["weight"]}
    inputs = self._place(inputs, BATCH)
    loss = jnp.zeros(())
    weight = batch["weight"].sum()
    metrics: dict[str, Metric] = {}
    terms = []
    names = self.objective.names
    for index, term in enumerate(self.objective.terms):
      term_key = device_key(root, Purpose.TERM, state.step, part, index)
      term_params, term_state, rows = params["terms"][index], state.terms[index], inputs
      if self.mesh is not None and class_shapes((term_params, term_state)):
        # Rows meet all classes of their part of the mesh: a few embeddings are gathered, no centre is.
        rows = self._place(inputs, ROWS)
        term_params, term_state = cut_classes((term_params, term_state), self._term_shapes[index])
      loss_b, term_state, term_metrics = term(term_params, rows, state=term_state, step=state.step, key=term_key)
      if self.mesh is not None:
        (term_state,) = pad_classes(self.mesh, (term_state,))
      loss = loss + term.weight * jnp.sum(loss_b) / total
      terms.append(term_state)
      prefix = ""
      if len(names) > 1:
        prefix = f"{names[index]}/"
        term_metrics = {"loss": Mean(jnp.sum(loss_b), weight), **term_metrics}
      metrics |= {f"{prefix}{name}": as_metric(value, weight) for name, value in term_metrics.items()}
    return loss, (metrics, moved.get("batch_stats", {}), tuple(terms))


def compile_step(step: TrainStep, shardings: Tree, batch_shardings: Any) -> Callable:
  """`step` under `jit`: the state donated and laid out as `shardings` say, in and out."""
  return jax.jit(step, in_shardings=(shardings, batch_shardings), out_shardings=(shardings, None), donate_argnums=0)
