"""Rows that are no rows, told on request: embeddings that are not finite, labels that are no class."""

import logging
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.losses.ranges import class_labels

_log = logging.getLogger(__name__)
# More faults than this are counted, not listed.
_LISTED = 5


def check_rows(embedding_bd: Array, label_b: Array, weight_b: Array, num_classes: int, step: Array | int) -> None:
  """Tells where a row that counts has an embedding that is not finite or a label that is no class.

  Outside of `jit` this is an error. Inside, where an error on one device would leave the others waiting for it, the
  same sentence is logged by `jaxface.heads.checks` as the step runs, by a call back to the host: for finding a fault,
  not for a long run.

  Args:
    embedding_bd: [B, D] float.
    label_b: [B] int.
    weight_b: [B], 0 for padding, which may hold anything.
    num_classes: C.
    step: number of the optimizer step.
  Raises:
    ValueError: outside of `jit`, naming step, rows, labels and the valid ones.
    FloatingPointError: outside of `jit`, naming step and rows.
  """
  label_b = class_labels(label_b)
  live_b = weight_b > 0
  broken_b = live_b & ~jnp.isfinite(embedding_bd).all(axis=1)
  unknown_b = live_b & ((label_b < 0) | (label_b >= num_classes))
  found = (broken_b, unknown_b, label_b, step)
  if any(isinstance(value, jax.core.Tracer) for value in found):
    jax.debug.callback(partial(_tell, num_classes=num_classes), *found)
  else:
    for fault in _faults(*map(np.asarray, found), num_classes=num_classes):
      raise fault


def _tell(*found: np.ndarray, num_classes: int) -> None:
  for fault in _faults(*found, num_classes=num_classes):
    _log.error("%s", fault)


def _faults(
  broken_b: np.ndarray, unknown_b: np.ndarray, label_b: np.ndarray, step: np.ndarray, *, num_classes: int
) -> Iterator[Exception]:
  if unknown_b.any():
    listed = ", ".join(f"row {row} has label {label_b[row]}" for row in np.flatnonzero(unknown_b)[:_LISTED])
    yield ValueError(
      f"step {int(step)}: {int(unknown_b.sum())} of {len(label_b)} labels are no class: {listed}; valid are 0 to"
      f" {num_classes - 1}"
    )
  if broken_b.any():
    listed = ", ".join(map(str, np.flatnonzero(broken_b)[:_LISTED]))
    yield FloatingPointError(
      f"step {int(step)}: {int(broken_b.sum())} of {len(label_b)} embeddings are not finite, first in rows {listed}:"
      " look at the network and at the rate of learning before this step"
    )


__all__ = ["check_rows"]
