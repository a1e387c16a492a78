"""Forward and backward pass of the head on one device, including collectives.

Computations on rows only, such as the statistics of the margin, are repeated on all devices for the full batch: they are cheap, and
need no further collective.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxface.heads.devices import Devices
from jaxface.heads.passes import (
  Params,
  Pull,
  Seen,
  floating,
  full_gradient,
  rows_pass,
  tally_pass,
  target_scores,
)
from jaxface.losses.dense import HeadResult
from jaxface.losses.joint import Margin, Prep
from jaxface.losses.scores import prepare_rows
from jaxface.losses.tally import Tally, base, cross_entropy

if TYPE_CHECKING:
  from jaxface.heads.class_head import ClassHead


class Given(NamedTuple):
  """Inputs without a gradient.

  Attributes:
    batch_label_b: labels of the full batch; the rows may be a part of it.
    state: of the margin.
    step: number of the optimizer step.
    key: for the margin.
    draw_key: for the classes.
  """

  batch_label_b: Array
  state: Any
  step: Array | int
  key: Array | None
  draw_key: Array | None


class Saved(NamedTuple):
  """Residuals of the forward pass beside `Seen`; of the full batch, on every device."""

  others: Tally
  target_b: Array
  norm_b: Array
  weight_b: Array


def _prepare(margin: Margin, target_b: Array, norm_b: Array, weight_b: Array, given: Given) -> Prep:
  prep = margin.prepare(
    target_b, norm_b, weight_b, state=given.state, step=given.step, key=given.key, reduce=lambda total: total
  )
  return prep._replace(ctx=jax.tree.map(jnp.asarray, prep.ctx), state=jax.tree.map(jnp.asarray, prep.state))


def forward(
  head: "ClassHead", devices: Devices, params: Params, embedding_bd: Array, label_b: Array, weight_b: Array, given: Given
) -> tuple[HeadResult, Seen, Saved]:
  """Loss of this device's rows against the classes of all."""
  margin = head.margin
  embedding_bd, label_b, weight_b = devices.gather((embedding_bd, label_b, weight_b))
  rows_bd, norm_b = prepare_rows(embedding_bd, margin.geometry)
  pick_g = head.draw(devices, params, given.draw_key)
  columns = head.columns(devices, params, devices.gather(given.batch_label_b), pick_g)
  target_b = devices.sum(target_scores(columns, params, rows_bd, label_b, margin))
  prep = _prepare(margin, target_b, norm_b, weight_b, given)
  mine, kept = tally_pass(columns, params, rows_bd, label_b, prep.ctx, margin, keep=not head.block)
  others = _merged(devices, mine)
  loss_b = cross_entropy(others, margin.target(target_b, prep.ctx), label_smoothing=head.label_smoothing) + prep.penalty_b
  loss_part_b, target_part_b, best_b, norm_part_b = map(devices.part, (loss_b, target_b, others.best_b, norm_b))
  return (
    HeadResult(loss_part_b, prep.state, target_part_b, best_b, norm_part_b),
    Seen(rows_bd, label_b, prep.ctx, others.peak_b, kept, pick_g),
    Saved(others, target_b, norm_b, weight_b),
  )


def _merged(devices: Devices, mine: Tally) -> Tally:
  """Tally of all devices' classes."""
  peak_b, best_b = devices.max(jnp.stack([mine.peak_b, mine.best_b]))
  exp_b = mine.exp_b * jnp.exp(mine.peak_b - base(peak_b))
  exp_b, sum_b, count_b = devices.sum(jnp.stack([exp_b, mine.sum_b, mine.count_b]))
  return Tally(peak_b, exp_b, sum_b, count_b, best_b)


def backward(
  head: "ClassHead", devices: Devices, params: Params, embedding_bd: Array, given: Given, seen: Seen, saved: Saved,
  bar: HeadResult, *, apart: bool,
) -> tuple[Array, Pull | Params]:
  """Gradient of this device's embeddings, and that of its centres and biases, or the `Pull` if these are updated separately."""
  margin = head.margin
  columns = head.columns(devices, params, devices.gather(given.batch_label_b), seen.pick_g)
  loss_bar_b, target_bar_b = devices.gather(jnp.stack([bar.loss_b, bar.target_b], axis=1)).T
  state_bar = [leaf for leaf in jax.tree.leaves(bar.state) if leaf.dtype != jax.dtypes.float0]

  def begin(target_b: Array, norm_b: Array) -> tuple:
    prep = _prepare(margin, target_b, norm_b, saved.weight_b, given)
    return floating(prep.ctx)[0], floating(prep.state)[0], prep.penalty_b

  def end(exp_b: Array, sum_b: Array, target_b: Array, floats: list[Array]) -> Array:
    ctx = floating(seen.ctx)[1](floats)
    others = saved.others._replace(exp_b=exp_b, sum_b=sum_b)
    return cross_entropy(others, margin.target(target_b, ctx), label_smoothing=head.label_smoothing)

  _, back_begin = jax.vjp(begin, saved.target_b, saved.norm_b)
  _, back_end = jax.vjp(end, saved.others.exp_b, saved.others.sum_b, saved.target_b, floating(seen.ctx)[0])
  exp_bar_b, sum_bar_b, end_bar_b, floats_bar = back_end(loss_bar_b)
  pull = Pull(exp_bar_b, sum_bar_b, jnp.zeros_like(end_bar_b))
  rows_bar_bd, more_bar = rows_pass(columns, params, seen, pull, margin)
  floats_bar = jax.tree.map(jnp.add, floats_bar, devices.sum(more_bar))
  # A margin may use the target score in `prepare`: the gradient of that score is complete only now.
  begin_bar_b, length_bar_b = back_begin((floats_bar, state_bar, loss_bar_b))
  pull = pull._replace(target_b=target_bar_b + end_bar_b + begin_bar_b)

  own = lambda rows_bd: target_scores(columns, params, rows_bd, seen.label_b, margin)  # noqa: E731
  rows_bar_bd = rows_bar_bd + jax.vjp(own, seen.rows_bd)[1](pull.target_b)[0]
  _, back_rows = jax.vjp(lambda x_bd: prepare_rows(x_bd, margin.geometry), embedding_bd)
  (x_bar_bd,) = back_rows((devices.sum_parts(rows_bar_bd), devices.part(length_bar_b) + bar.norm_b))
  return x_bar_bd, pull if apart else full_gradient(columns, params, seen, pull, margin)


__all__ = ["Given", "Saved", "backward", "forward"]
