"""Scores of a batch against class centres, and their gradients where a head takes them block by block."""

import jax.numpy as jnp
from jax import Array

from jaxface.losses.joint import Geometry
from jaxface.losses.unit import at_least_float32, inverse_length, unit_rows


def prepare_rows(embedding_bd: Array, geometry: Geometry) -> tuple[Array, Array]:
  """Embeddings as needed for the scores, and their lengths.

  Args:
    embedding_bd: [B, D] float.
    geometry: geometry of the margin.
  Returns:
    [B, D], of length one if `geometry.unit_x`, and the original lengths [B]; both at least float32.
  """
  unit_bd, norm_b = unit_rows(embedding_bd)
  return (unit_bd if geometry.unit_x else at_least_float32(embedding_bd)), norm_b


def center_scores(rows_bd: Array, center_kd: Array, geometry: Geometry) -> Array:
  """Scores of rows against each centre of a block, sub-centres apart.

  The scores are divided by the length of their centre, rather than the centres: this avoids a normalised copy of them.
  The product runs at the backend's default matmul precision (`jax_default_matmul_precision`).

  Args:
    rows_bd: [B, D] from `prepare_rows`.
    center_kd: [k·K, D].
    geometry: of the margin.
  Returns:
    [B, k·K].
  """
  center_kd = at_least_float32(center_kd)
  score_bk = jnp.einsum("bd,kd->bk", rows_bd, center_kd)
  return score_bk * inverse_length(center_kd) if geometry.unit_w else score_bk


def class_scores(score_bk: Array, params: dict[str, Array], geometry: Geometry) -> Array:
  """Scores of classes from those of their centres: the largest over sub-centres, and the bias.

  Args:
    score_bk: [B, k·K] from `center_scores`.
    params: with a bias, bias_c [k].
    geometry: of the margin.
  Returns:
    [B, k].
  """
  if geometry.subcenters > 1:
    score_bk = score_bk.reshape(len(score_bk), -1, geometry.subcenters).max(axis=-1)
  return score_bk + params["bias_c"] if geometry.bias else score_bk


def scores(rows_bd: Array, params: dict[str, Array], geometry: Geometry) -> Array:
  """Scores of rows against any block of classes.

  Args:
    rows_bd: [B, D] from `prepare_rows`.
    params: center_cd [k·K, D] and, with a bias, bias_c [k].
    geometry: geometry of the margin.
  Returns:
    [B, k], the maximum over sub-centres.
  """
  return class_scores(center_scores(rows_bd, params["center_cd"], geometry), params, geometry)


def paired_scores(rows_bd: Array, params: dict[str, Array], geometry: Geometry) -> Array:
  """Score of each row against a class of its own: row i meets the i-th class alone.

  Args:
    rows_bd: [B, D] from `prepare_rows`.
    params: center_cd [B·K, D] and, with a bias, bias_c [B].
    geometry: of the margin.
  Returns:
    [B].
  """
  center_bd = at_least_float32(params["center_cd"])
  center_bkd = center_bd.reshape(len(rows_bd), geometry.subcenters, -1)
  score_bk = jnp.einsum("bd,bkd->bk", rows_bd, center_bkd)
  if geometry.unit_w:
    score_bk = score_bk * inverse_length(center_bd).reshape(score_bk.shape)
  score_b = score_bk.max(axis=-1)
  return score_b + params["bias_c"] if geometry.bias else score_b


def rows_gradient(gradient_bk: Array, center_kd: Array, geometry: Geometry) -> Array:
  """What a block adds to the gradient of the rows: `center_scores` transposed.

  Args:
    gradient_bk: [B, k·K] with respect to the centres' scores.
    center_kd: [k·K, D].
    geometry: of the margin.
  Returns:
    [B, D].
  """
  center_kd = at_least_float32(center_kd)
  if geometry.unit_w:
    gradient_bk = gradient_bk * inverse_length(center_kd)
  return jnp.einsum("bk,kd->bd", gradient_bk, center_kd)


def centers_gradient(
  gradient_bk: Array, score_bk: Array, rows_bd: Array, center_kd: Array, geometry: Geometry
) -> Array:
  """Gradient of a block of centres, from the scores that are known: no product is taken a second time for it.

  Args:
    gradient_bk: [B, k·K] with respect to the centres' scores.
    score_bk: [B, k·K] from `center_scores`.
    rows_bd: [B, D] from `prepare_rows`.
    center_kd: [k·K, D].
    geometry: of the margin.
  Returns:
    [k·K, D], at least float32.
  """
  pulled_kd = jnp.einsum("bk,bd->kd", gradient_bk, rows_bd)
  if not geometry.unit_w:
    return pulled_kd
  center_kd = at_least_float32(center_kd)
  inverse_k = inverse_length(center_kd)[:, None]
  # What points along the centre cannot turn it.
  along_k = jnp.sum(gradient_bk * score_bk, axis=0)[:, None]
  return inverse_k * (pulled_kd - along_k * inverse_k * center_kd)


__all__ = [
  "center_scores", "centers_gradient", "class_scores", "paired_scores", "prepare_rows", "rows_gradient", "scores",
]
