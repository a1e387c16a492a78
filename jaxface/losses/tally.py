"""Running statistics of a head over classes; tallies of class blocks or devices can be merged."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax


class Tally(NamedTuple):
  """Running statistics over the other classes of each row.

  Attributes:
    peak_b: [B] largest logit, -inf while there is none; without gradient.
    exp_b: [B] sum of exp(logit − peak).
    sum_b: [B] sum of the finite logits.
    count_b: [B] number of finite logits.
    best_b: [B] largest score, before the margin; without gradient.
  """

  peak_b: Array
  exp_b: Array
  sum_b: Array
  count_b: Array
  best_b: Array


def base(peak_b: Array) -> Array:
  """[B] what is subtracted before `exp`: the peak, or 0 for a row without a finite logit, since -inf − (-inf) is NaN."""
  return jnp.where(jnp.isfinite(peak_b), peak_b, 0.0)


def tally(score_bk: Array, logit_bk: Array, own_bk: Array, peak_b: Array | None = None) -> Tally:
  """Statistics of one block of classes.

  Args:
    score_bk: [B, k] scores.
    logit_bk: [B, k] logits after the margin; -inf drops a class.
    own_bk: [B, k] bool, true in the column of a row's own class, which is ignored.
    peak_b: [B] the logit that exponentials are relative to; None for the largest one of the block.
  Returns:
    The block's tally.
  """
  logit_bk = jnp.where(own_bk, -jnp.inf, logit_bk)
  peak_b = lax.stop_gradient(logit_bk.max(axis=-1) if peak_b is None else peak_b)
  finite_bk = logit_bk > -jnp.inf
  return Tally(
    peak_b=peak_b,
    exp_b=jnp.exp(logit_bk - base(peak_b)[:, None]).sum(axis=-1),
    sum_b=jnp.where(finite_bk, logit_bk, 0.0).sum(axis=-1),
    count_b=finite_bk.sum(axis=-1, dtype=logit_bk.dtype),
    best_b=lax.stop_gradient(jnp.where(own_bk, -jnp.inf, score_bk).max(axis=-1)),
  )


def merge(a: Tally, b: Tally) -> Tally:
  """Tally over the classes of both; independent of the order of merging."""
  peak_b = jnp.maximum(a.peak_b, b.peak_b)
  base_b = base(peak_b)
  return Tally(
    peak_b=peak_b,
    exp_b=a.exp_b * jnp.exp(a.peak_b - base_b) + b.exp_b * jnp.exp(b.peak_b - base_b),
    sum_b=a.sum_b + b.sum_b,
    count_b=a.count_b + b.count_b,
    best_b=jnp.maximum(a.best_b, b.best_b),
  )


def cross_entropy(others: Tally, target_b: Array, *, label_smoothing: float = 0.0) -> Array:
  """lse − (1 − ε)·target − ε·mean, where lse and mean run over all finite logits, the own class's included.

  Written as softplus(lse of the others − target) + ε·(target − mean): no cancellation for confident rows, and
  without smoothing the loss is never negative.

  Args:
    others: tally of all classes but the own.
    target_b: [B] logit of the own class.
    label_smoothing: ε in [0, 1).
  Returns:
    [B].
  """
  some_b = others.exp_b != 0.0  # True for NaN: a NaN centre must show in the loss
  others_b = jnp.where(some_b, base(others.peak_b) + jnp.log(jnp.where(some_b, others.exp_b, 1.0)), -jnp.inf)
  loss_b = jax.nn.softplus(others_b - target_b)
  if label_smoothing:
    mean_b = (others.sum_b + target_b) / (others.count_b + 1.0)
    loss_b = loss_b + label_smoothing * (target_b - mean_b)
  return loss_b


__all__ = ["Tally", "base", "cross_entropy", "merge", "tally"]
