"""What is refused before it is computed with: labels of the wrong type always, rows that are no rows on request."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

# More faults than this are counted, not listed.
_LISTED = 5


def check_label_type(label_b: Array) -> None:
  """Refuses labels that are no whole numbers; costs nothing under `jit`.

  Raises:
    TypeError: naming the type.
  """
  if not jnp.issubdtype(label_b.dtype, jnp.integer):
    raise TypeError(f"label_b is {label_b.dtype}: a label is the number of an identity, of an int type such as int32")


def check_rows(embedding_bd: Array, label_b: Array, weight_b: Array, num_classes: int, step: Array | int) -> None:
  """Stops where a row that counts has an embedding that is not finite or a label that is no class.

  Works under `jit`, by a call back to the host in every step: for finding a fault, not for a long run. JAX passes the
  error on as its own kind (`jax.errors.JaxRuntimeError`), with the message in it, when a result is waited for.

  Args:
    embedding_bd: [B, D] float.
    label_b: [B] int.
    weight_b: [B], 0 for padding, which may hold anything.
    num_classes: C.
    step: number of the optimizer step.
  Raises:
    FloatingPointError: naming step and rows, when the computation runs.
    ValueError: naming step, rows, labels and the valid ones, when the computation runs.
  """
  live_b = weight_b > 0
  broken_b = live_b & ~jnp.isfinite(embedding_bd).all(axis=1)
  unknown_b = live_b & ((label_b < 0) | (label_b >= num_classes))

  def stop(broken_b: np.ndarray, unknown_b: np.ndarray, label_b: np.ndarray, step: np.ndarray) -> None:
    if unknown_b.any():
      listed = ", ".join(f"row {row} has label {label_b[row]}" for row in np.flatnonzero(unknown_b)[:_LISTED])
      raise ValueError(
        f"step {int(step)}: {int(unknown_b.sum())} of {len(label_b)} labels are no class: {listed}; valid are 0 to"
        f" {num_classes - 1}"
      )
    if broken_b.any():
      listed = ", ".join(map(str, np.flatnonzero(broken_b)[:_LISTED]))
      raise FloatingPointError(
        f"step {int(step)}: {int(broken_b.sum())} of {len(label_b)} embeddings are not finite, first in rows {listed}:"
        " look at the network and at the rate of learning before this step"
      )

  jax.debug.callback(stop, broken_b, unknown_b, label_b, step)


__all__ = ["check_label_type", "check_rows"]
