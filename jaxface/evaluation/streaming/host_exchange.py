"""What the processes of a run found in their shares of the pairs, given to all of them."""

import io
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils


def exchange(arrays: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
  """The arrays of every process, by its number; a collective call, in which no process may be missing.

  Args:
    arrays: of this process, as many on all; sizes may differ.
  Returns:
    The arrays of each process.
  """
  buffer = io.BytesIO()
  for array in arrays:
    np.save(buffer, array, allow_pickle=False)
  mine = np.frombuffer(buffer.getvalue(), np.uint8)
  size_h = np.asarray(multihost_utils.process_allgather(np.array([len(mine)], np.int32))).ravel()
  padded = np.zeros(int(size_h.max()), np.uint8)
  padded[: len(mine)] = mine
  every_hn = np.asarray(multihost_utils.process_allgather(padded)).reshape(jax.process_count(), -1)
  found = []
  for size, data_n in zip(size_h.tolist(), every_hn):
    source = io.BytesIO(data_n[:size].tobytes())
    found.append([np.load(source, allow_pickle=False) for _ in arrays])
  return found


def fail_together(error: ValueError | None) -> None:
  """Raises the error of any process on all of them, that of the first one that has one; a collective call.

  Args:
    error: of this process, or None.
  """
  said = [str(text[()]) for (text,) in exchange([np.array("" if error is None else str(error) or type(error).__name__)])]
  for text in said:
    if text:
      raise ValueError(text) from error


__all__ = ["exchange", "fail_together"]
