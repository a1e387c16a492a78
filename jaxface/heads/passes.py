"""Passes of a head over the blocks of classes of one device, with memory for one block at a time.

The forward pass computes a tally of the scores; the backward pass the gradient of the rows of the batch; and the update pass, once
that gradient is known to be finite, the gradient of each block of centres, which is applied at once. Later passes use the stored
scores of the first pass, or recompute them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxface.heads.columns import Block, Columns
from jaxface.losses.joint import Margin
from jaxface.losses.scores import center_scores, centers_gradient, class_scores, paired_scores, rows_gradient
from jaxface.losses.tally import Tally, base, merge, tally

Tree = Any
Params = dict[str, Array]


class Seen(NamedTuple):
  """Results of the first pass for later passes; with accumulation on a leading axis of parts.

  Attributes:
    rows_bd: [B, D] prepared for scores, see `prepare_rows`.
    label_b: [B] int, -1 for invalid labels.
    ctx: context of the margin.
    peak_b: [B] largest logit of other classes.
    score_nbk: [n, B, k·K] scores of the centres of each block of sampled classes; None if they are recomputed.
    pick_g: [g] class sampled from each group; None if all classes are used.
  """

  rows_bd: Array
  label_b: Array
  ctx: Tree
  peak_b: Array
  score_nbk: Array | None
  pick_g: Array | None


class Pull(NamedTuple):
  """Gradients of the objective with respect to the sums over classes, through which all gradients of the centres pass.

  Attributes:
    exp_b: [B] with respect to the sum of exponentials over other classes, relative to the peak.
    sum_b: [B] with respect to the sum of their finite logits.
    target_b: [B] with respect to the target score.
  """

  exp_b: Array
  sum_b: Array
  target_b: Array


def _own(columns: Columns, label_b: Array, block: Block) -> Array:
  return (label_b - columns.first)[:, None] == block.local_k


def _scores(columns: Columns, params: Params, rows_bd: Array, margin: Margin, block: Block, score_bk: Array | None) -> tuple:
  params_k = columns.take(params, block)
  if score_bk is None:
    score_bk = center_scores(rows_bd, params_k["center_cd"], margin.geometry)
  return params_k, score_bk


def target_scores(columns: Columns, params: Params, rows_bd: Array, label_b: Array, margin: Margin) -> Array:
  """[B] target score of each row if its class is in this shard, else 0."""
  local_b = label_b - columns.first
  here_b = (label_b >= 0) & (local_b >= 0) & (local_b < columns.rows)
  params_b = columns.take(params, Block(jnp.where(here_b, local_b, 0), here_b, None))
  return jnp.where(here_b, paired_scores(rows_bd, params_b, margin.geometry), 0.0)


def tally_pass(
  columns: Columns, params: Params, rows_bd: Array, label_b: Array, ctx: Tree, margin: Margin, *, keep: bool
) -> tuple[Tally, Array | None]:
  """Tally of the classes of this device, and the scores of their centres if `keep`."""

  def body(total: Tally, block: Block, _: None) -> tuple[Tally, Array | None]:
    params_k, raw_bk = _scores(columns, params, rows_bd, margin, block, None)
    score_bk = class_scores(raw_bk, params_k, margin.geometry)
    left_bk = _own(columns, label_b, block) | ~block.live_k
    return merge(total, tally(score_bk, margin.others(score_bk, ctx), left_bk)), raw_bk if keep else None

  nothing_b = jnp.zeros_like(rows_bd[:, 0])
  least_b = jnp.full_like(nothing_b, -jnp.inf)
  return columns.fold(Tally(least_b, nothing_b, nothing_b, nothing_b, least_b), body)


def floating(ctx: Tree) -> tuple[list[Array], Callable[[list[Array]], Tree]]:
  """The floating-point leaves of a context, and a function that replaces them."""
  leaves, tree = jax.tree.flatten(ctx)
  moves = [jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves]

  def join(floats: list[Array]) -> Tree:
    rest = iter(floats)
    return jax.tree.unflatten(tree, [next(rest) if move else leaf for move, leaf in zip(moves, leaves)])

  return [jnp.asarray(leaf) for move, leaf in zip(moves, leaves) if move], join


def _sums(columns: Columns, seen: Seen, margin: Margin, params_k: Params, block: Block) -> tuple[Callable, list[Array]]:
  """Contribution of a block to the sums of `Pull`, as a function of its scores, biases and context."""
  floats, join = floating(seen.ctx)
  own_bk = _own(columns, seen.label_b, block)

  def sums(raw_bk: Array, biases: Params, floats: list[Array]) -> tuple[Array, Array, Array]:
    score_bk = class_scores(raw_bk, biases, margin.geometry)
    figures = tally(score_bk, margin.others(score_bk, join(floats)), own_bk | ~block.live_k, base(seen.peak_b))
    return figures.exp_b, figures.sum_b, jnp.where(own_bk & block.live_k, score_bk, 0.0).sum(axis=-1)

  return sums, floats


def _biases(params_k: Params) -> Params:
  return {name: leaf for name, leaf in params_k.items() if name != "center_cd"}


def rows_pass(columns: Columns, params: Params, seen: Seen, pull: Pull, margin: Margin) -> tuple[Array, list[Array]]:
  """Gradient [B, D] of the rows through this device's other classes, and those of the context's floating leaves.

  Without the part of `pull.target_b`, which depends on the gradient of the context.
  """

  def body(carry: tuple, block: Block, score_bk: Array | None) -> tuple[tuple, None]:
    params_k, raw_bk = _scores(columns, params, seen.rows_bd, margin, block, score_bk)
    sums, floats = _sums(columns, seen, margin, params_k, block)
    _, back = jax.vjp(lambda raw_bk, floats: sums(raw_bk, _biases(params_k), floats), raw_bk, floats)
    raw_bar, floats_bar = back((pull.exp_b, pull.sum_b, jnp.zeros_like(pull.target_b)))
    rows_bar = rows_gradient(raw_bar, params_k["center_cd"], margin.geometry)
    return (carry[0] + rows_bar, jax.tree.map(jnp.add, carry[1], floats_bar)), None

  start = (jnp.zeros_like(seen.rows_bd), jax.tree.map(jnp.zeros_like, floating(seen.ctx)[0]))
  return columns.fold(start, body, seen.score_nbk)[0]


def block_gradient(
  columns: Columns, params_k: Params, seen: Seen, pull: Pull, margin: Margin, block: Block, score_bk: Array | None
) -> Params:
  """Gradient of the centres and biases of a block, including that of target scores."""
  if score_bk is None:
    score_bk = center_scores(seen.rows_bd, params_k["center_cd"], margin.geometry)
  sums, floats = _sums(columns, seen, margin, params_k, block)
  _, back = jax.vjp(lambda raw_bk, biases: sums(raw_bk, biases, floats), score_bk, _biases(params_k))
  raw_bar, biases_bar = back(tuple(pull))
  center_bar = centers_gradient(raw_bar, score_bk, seen.rows_bd, params_k["center_cd"], margin.geometry)
  return {"center_cd": center_bar, **biases_bar}


Update = Callable[[Params, Params, Tree, Array], tuple[Params, Tree]]


def update_pass(
  columns: Columns, params: Params, slots: Tree, seen: Seen, pull: Pull, margin: Margin, update: Update, go: Array | bool
) -> tuple[Params, Tree, Array]:
  """Updates the scored classes block by block; all others and their optimizer state are unchanged.

  Args:
    columns: of this device.
    params: its centres and biases.
    slots: their optimizer state: leaves [rows·m, ...].
    seen: of each part of the batch, on a leading axis (except pick_g).
    pull: of each part of the batch, on a leading axis.
    margin: of the head.
    update: `(params, gradients, slots, class numbers [k]) -> (params, slots)` of a block.
    go: false changes nothing.
  Returns:
    Centres and biases, slots, and the sum of squares of the gradient over the scored classes. A class with a non-finite gradient
    is not updated.
  """

  def body(carry: tuple, block: Block, score_pbk: Array | None) -> tuple[tuple, None]:
    params, slots, square = carry
    old = columns.take((params, slots), block)
    params_k, slots_k = old
    gradient_k = _of_parts(columns, params_k, seen, pull, margin, block, score_pbk)
    square_k = _squares(gradient_k, block)
    square = square + jnp.where(block.live_k, square_k, 0.0).sum()
    keep_k = block.live_k & jnp.isfinite(square_k)
    # A branch instead of a select: its result is computed before any write. If reads were fused with the writes, XLA would copy
    # the full arrays.
    new = lax.cond(
      go & keep_k.any(), lambda: columns.chosen(keep_k, update(params_k, gradient_k, slots_k, columns.first + block.local_k), old),
      lambda: old,
    )
    params, slots = columns.put((params, slots), new, block, keep_k & go)
    return (params, slots, square), None

  start = (params, slots, jnp.zeros((), seen.rows_bd.dtype))
  return columns.fold(start, body, _by_block(seen))[0]


def square_pass(columns: Columns, params: Params, seen: Seen, pull: Pull, margin: Margin) -> Array:
  """Sum of squares of the gradient over the scored classes, without an update; arguments as of `update_pass`."""

  def body(square: Array, block: Block, score_pbk: Array | None) -> tuple[Array, None]:
    gradient_k = _of_parts(columns, columns.take(params, block), seen, pull, margin, block, score_pbk)
    return square + jnp.where(block.live_k, _squares(gradient_k, block), 0.0).sum(), None

  return columns.fold(jnp.zeros((), seen.rows_bd.dtype), body, _by_block(seen))[0]


def _by_block(seen: Seen) -> Array | None:
  """Stored scores of all parts with the axis of blocks first, over which a pass loops."""
  return None if seen.score_nbk is None else seen.score_nbk.swapaxes(0, 1)


def _squares(gradient_k: Params, block: Block) -> Array:
  """[k] sum of squares of each class."""
  return jnp.asarray(sum(jnp.square(leaf).reshape(len(block.local_k), -1).sum(axis=1) for leaf in gradient_k.values()))


def _of_parts(
  columns: Columns, params_k: Params, seen: Seen, pull: Pull, margin: Margin, block: Block, score_pbk: Array | None
) -> Params:
  """Gradient of a block over all parts of the batch."""
  return _over_parts(
    lambda seen, pull, score_bk: block_gradient(columns, params_k, seen, pull, margin, block, score_bk), seen, pull, score_pbk
  )


def _over_parts(gradient: Callable[..., Params], seen: Seen, pull: Pull, score_pbk: Array | None) -> Params:
  """Sum over the parts of a batch, the first axis."""
  seen = seen._replace(score_nbk=None, pick_g=None)
  if len(pull.exp_b) == 1:
    return gradient(*jax.tree.map(lambda leaf: leaf[0], (seen, pull, score_pbk)))
  first = jax.eval_shape(gradient, *jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), (seen, pull, score_pbk)))
  start = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), first)
  return lax.scan(
    lambda total, part: (jax.tree.map(jnp.add, total, gradient(*part)), None), start, (seen, pull, score_pbk)
  )[0]


def full_gradient(columns: Columns, params: Params, seen: Seen, pull: Pull, margin: Margin) -> Params:
  """Gradient of all centres and biases of this device; zero for classes that were not scored."""

  def body(total: Params, block: Block, score_bk: Array | None) -> tuple[Params, None]:
    gradient_k = block_gradient(columns, columns.take(params, block), seen, pull, margin, block, score_bk)
    return columns.put(total, columns.chosen(block.live_k, gradient_k, columns.take(total, block)), block, block.live_k), None

  return columns.fold(jax.tree.map(jnp.zeros_like, params), body, seen.score_nbk)[0]


__all__ = [
  "Pull", "Seen", "Update", "block_gradient", "floating", "full_gradient", "rows_pass", "square_pass", "tally_pass", "target_scores", "update_pass",
]
