"""The dense head: the scores of the batch against all classes in one block, sharded by the compiler."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxface.losses.joint import Margin
from jaxface.losses.ranges import class_labels
from jaxface.losses.scores import prepare_rows, scores
from jaxface.losses.tally import cross_entropy, tally


class HeadResult(NamedTuple):
  """Result of a head.

  Attributes:
    loss_b: [B] loss of each row.
    state: the margin's new state.
    target_b: [B] score of the own class, before the margin.
    best_other_b: [B] largest score of another class; -inf if there is none.
    norm_b: [B] length of each embedding.
  """

  loss_b: Array
  state: Any
  target_b: Array
  best_other_b: Array
  norm_b: Array


def dense_head(
  params: dict[str, Array],
  embedding_bd: Array,
  label_b: Array,
  weight_b: Array,
  *,
  margin: Margin,
  state: Any,
  step: Array | int = 0,
  key: Array | None = None,
  label_smoothing: float = 0.0,
) -> HeadResult:
  """Cross-entropy of a margin over all classes.

  The target score is selected by a mask and a sum, not by a gather: it is fused into existing passes, and with classes
  sharded over a mesh axis the sum is the only communication. Under `jit`, with centres sharded over "class" and rows over
  "data", this is a class-sharded softmax.

  Args:
    params: center_cd [C·K, D] and, with a bias, bias_c [C].
    embedding_bd: [B, D] float.
    label_b: [B] int in [0, C). A label outside has no column: its target score is 0.
    weight_b: [B], passed to the margin's statistics; the loss is not multiplied by it.
    margin: turns scores into logits.
    state: state of the margin.
    step: number of the optimizer step.
    key: random key of this step.
    label_smoothing: ε in [0, 1), share of the target distributed evenly over all finite logits.
  Returns:
    Loss, state, and the scores that metrics need.
  Raises:
    TypeError: labels are not integers.
  """
  label_b = class_labels(label_b)
  geometry = margin.geometry
  rows_bd, norm_b = prepare_rows(embedding_bd, geometry)
  score_bc = scores(rows_bd, params, geometry)
  class_c = jnp.arange(score_bc.shape[1], dtype=label_b.dtype)
  own_bc = label_b[:, None] == class_c
  target_b = jnp.where(own_bc, score_bc, 0.0).sum(axis=-1)
  prep = margin.prepare(target_b, norm_b, weight_b, state=state, step=step, key=key, reduce=lambda total: total)
  others = tally(score_bc, margin.others(score_bc, prep.ctx), own_bc)
  loss_b = cross_entropy(others, margin.target(target_b, prep.ctx), label_smoothing=label_smoothing)
  return HeadResult(loss_b + prep.penalty_b, prep.state, target_b, others.best_b, norm_b)


def margin_softmax(
  embedding_bd: Array,
  label_b: Array,
  center_cd: Array,
  *,
  margin: Margin,
  bias_c: Array | None = None,
  label_smoothing: float = 0.0,
  step: Array | int = 0,
  key: Array | None = None,
) -> Array:
  """Loss of a margin over given class centres, as a pure function, for use outside of an experiment.

  A margin with running statistics (AdaFace, CurricularFace) starts from its initial state here; `dense_head` takes and returns
  the state.

  Args:
    embedding_bd: [B, D] float.
    label_b: [B] int in [0, C).
    center_cd: [C·K, D], the K sub-centres of a class in consecutive rows; of any length if the margin normalises.
    margin: such as `jaxface.losses.ArcFace()`.
    bias_c: [C], for a margin whose geometry has a bias; zero by default.
    label_smoothing: ε in [0, 1).
    step: number of the optimizer step, for margins that warm up.
    key: random key, for margins that sample.
  Returns:
    [B], at least float32.
  Raises:
    TypeError: labels are not integers.
  """
  params = {"center_cd": center_cd}
  if margin.geometry.bias:
    params["bias_c"] = jnp.zeros(len(center_cd), jnp.asarray(center_cd).dtype) if bias_c is None else bias_c
  return dense_head(
    params, embedding_bd, label_b, jnp.ones(len(label_b), jnp.float32), margin=margin, state=margin.init_state(),
    step=step, key=key, label_smoothing=label_smoothing,
  ).loss_b


__all__ = ["HeadResult", "dense_head", "margin_softmax"]
