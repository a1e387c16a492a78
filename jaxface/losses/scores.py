"""Scores of a batch against class centres."""

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


def scores(rows_bd: Array, params: dict[str, Array], geometry: Geometry) -> Array:
  """Scores of rows against any block of classes.

  The scores are divided by the length of their centre, rather than the centres: this avoids a normalised copy of them.
  The product runs at the backend's default matmul precision (`jax_default_matmul_precision`).

  Args:
    rows_bd: [B, D] from `prepare_rows`.
    params: center_cd [k·K, D] and, with a bias, bias_c [k].
    geometry: geometry of the margin.
  Returns:
    [B, k], the maximum over sub-centres.
  """
  center_kd = at_least_float32(params["center_cd"])
  score_bk = jnp.einsum("bd,kd->bk", rows_bd, center_kd)
  if geometry.unit_w:
    score_bk = score_bk * inverse_length(center_kd)
  if geometry.subcenters > 1:
    score_bk = score_bk.reshape(len(score_bk), -1, geometry.subcenters).max(axis=-1)
  if geometry.bias:
    score_bk = score_bk + params["bias_c"]
  return score_bk


__all__ = ["prepare_rows", "scores"]
