"""Optional checks of rows: non-finite embeddings and labels out of range."""

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
  """Reports rows of positive weight with a non-finite embedding or a label out of range.

  Outside `jit` it raises an error. Inside, where an error on one device would block the others, a host callback logs the
  same message to `jaxface.heads.checks` while the step runs. Callbacks are slow: use it for debugging only.

  Args:
    embedding_bd: [B, D] float.
    label_b: [B] int.
    weight_b: [B], 0 for padding, which is ignored.
    num_classes: C.
    step: number of the optimizer step.
  Raises:
    ValueError: outside `jit`; the message names step, rows, labels and the valid range.
    FloatingPointError: outside `jit`; the message names step and rows.
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
      f"step {int(step)}: {int(unknown_b.sum())} of {len(label_b)} labels are out of range: {listed}; valid are 0 to"
      f" {num_classes - 1}"
    )
  if broken_b.any():
    listed = ", ".join(map(str, np.flatnonzero(broken_b)[:_LISTED]))
    yield FloatingPointError(
      f"step {int(step)}: {int(broken_b.sum())} of {len(label_b)} embeddings are not finite, first in rows {listed}:"
      " check the network and the learning rate of the steps before"
    )


__all__ = ["check_rows"]
