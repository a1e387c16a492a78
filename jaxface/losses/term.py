"""The interface between an objective's terms and the training step that sums them."""

from collections.abc import Mapping
from typing import Any, Protocol

from jax import Array

from jaxface.losses.metrics import Metric

# What the loss of a row depends on: that row only, statistics of the whole batch, or the other rows, image by image.
# A term declares it in a class variable `scope`; the default is the whole batch.
SCOPES = ("row", "batch", "pairs")


class Term(Protocol):
  """One weighted part of an objective; a frozen dataclass, so that it can be part of an experiment."""

  @property
  def weight(self) -> float:
    """Weight in the objective; the objective multiplies by it, the term does not."""

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[Any, Any]:
    """Parameters, updated by the optimizer, and state, updated by the term; {} if there are none.

    A matrix with a row per class needs a name that begins with "center": it is sharded over classes and may be padded with
    rows of zeros between steps; a call gets it in the shape that `init` returned.
    """

  def __call__(
    self, params: Any, inputs: dict[str, Array], *, state: Any, step: Array | int, key: Array | None,
  ) -> tuple[Array, Any, Mapping[str, Metric | Array]]:
    """Loss of each row, the new state, and metrics of the batch.

    Runs under `jit` on the global batch, which may be sharded over devices: write sums over it as plain sums.

    Args:
      params: from `init`, or as updated by the optimizer.
      inputs: embedding_bd [B, D] float, label_b [B] int, weight_b [B] float (0 for padding); target_bt [B, T] float where the
        training set has targets.
      state: from `init` or the previous step; updated once per optimizer step.
      step: number of the optimizer step, from 0.
      key: random key of this step.
    Returns:
      loss_b [B] such that sum(loss_b) / sum(weight_b) is the value of the term, the state, and metrics by name:
      each defines its reduction over parts of a batch and over steps (`jaxface.losses.metrics`); a scalar is the mean over
      the batch.
    """


def scope(term: Term) -> str:
  """The scope of a term, one of `SCOPES`."""
  return getattr(term, "scope", "batch")


__all__ = ["SCOPES", "Term", "scope"]
