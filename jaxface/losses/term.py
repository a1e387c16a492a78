"""The joint between an objective's terms and the training step that sums them."""

from collections.abc import Mapping
from typing import Any, Protocol

from jax import Array

from jaxface.losses.metrics import Metric

# How far a term looks for the loss of one row: at that row alone, at statistics of the whole batch, or at the other
# rows, image by image. A class says it in a class variable `scope`; one that says nothing looks at the whole batch.
SCOPES = ("row", "batch", "pairs")


class Term(Protocol):
  """One weighted part of an objective: a frozen dataclass, so that it can stand in an experiment."""

  @property
  def weight(self) -> float:
    """Factor in the objective; the objective multiplies by it, the term does not."""

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[Any, Any]:
    """Parameters, which the optimizer moves, and state, which the term moves itself; {} where there is nothing.

    A matrix with a row per class belongs under a name that begins with "center": it is sharded over classes, and rows of
    zeros may be kept behind it between steps; a call gets it as `init` made it.
    """

  def __call__(
    self, params: Any, inputs: dict[str, Array], *, state: Any, step: Array | int, key: Array | None,
  ) -> tuple[Array, Any, Mapping[str, Metric | Array]]:
    """Loss of each row, the new state, and metrics of the batch.

    Runs under `jit` on the global batch, which may be spread over devices: sums over it are written as plain sums.

    Args:
      params: from `init`, or as the optimizer left them.
      inputs: embedding_bd [B, D] float, label_b [B] int, weight_b [B] float (0 for padding).
      state: from `init` or the step before; it moves once per optimizer step.
      step: number of the optimizer step, from 0.
      key: random key of this step.
    Returns:
      loss_b [B] such that sum(loss_b) / sum(weight_b) is the value of the term, the state, and metrics by name:
      each carries how it adds up over parts of a batch and over steps (`jaxface.losses.metrics`); a bare scalar is the
      mean over the batch.
    """


def scope(term: Term) -> str:
  """How far a term looks, one of `SCOPES`."""
  return getattr(term, "scope", "batch")


__all__ = ["SCOPES", "Term", "scope"]
