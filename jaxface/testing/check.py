"""Checks all laws of a loss in one call; wraps terms of an objective as losses."""

from collections.abc import Callable, Iterable
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
from jax import Array

from jaxface.testing import laws
from jaxface.testing.laws import Loss
from jaxface.testing.strategies import Batch, batches

LAWS = {
  name: getattr(laws, name)
  for name in (
    "finite", "permutation", "padding", "scale", "rotation", "relabelling", "integer_dtypes", "jit", "device_count", "gradient",
  )
}
# Laws that do not hold for every valid loss: some losses depend on lengths, some on centres.
OPTIONAL = ("scale", "rotation", "relabelling")
# Away from equal, opposite and zero rows, where a loss may have a kink.
SMOOTH = ("gradient",)


def check_loss(
  loss: Loss, *, also: Iterable[str] = (), leave_out: Iterable[str] = (), examples: int = 25, rows: int = 8, size: int = 4,
  identities: int = 3,
) -> None:
  """Check a loss on random batches and edge cases, law by law.

  Args:
    loss: `loss(embedding_bd, label_b, weight_b) -> [B]`.
    also: optional laws: "scale" (for losses that normalise), "rotation" (for losses of distances or angles between rows),
      "relabelling" (for losses without class centres).
    leave_out: laws to skip.
    examples: number of batches per law.
    rows: B; 8 or more lets "device_count" try 8 devices.
    size: D.
    identities: number of identities; labels are below it.
  Raises:
    AssertionError: the loss violates a law; names it, and hypothesis shows the smallest batch found.
    ValueError: an unknown law.
  """
  also, leave_out = tuple(also), tuple(leave_out)
  for name in (*also, *leave_out):
    if name not in LAWS:
      raise ValueError(f"no law {name!r}: takes {', '.join(LAWS)}")
  for name, law in LAWS.items():
    if name in leave_out or (name in OPTIONAL and name not in also):
      continue
    corners = ("plain",) if name in SMOOTH else None

    drawn = batches(rows, size, identities, corners=corners)
    settings = hypothesis.settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    settings(hypothesis.given(batch=drawn)(_on_a_batch(law, loss)))()


def _on_a_batch(law: Callable[[Loss, Batch], None], loss: Loss) -> Callable[[Batch], None]:
  def holds(batch: Batch) -> None:
    law(loss, batch)

  return holds


def from_term(term: Any, *, embedding_size: int = 4, num_classes: int = 3, step: int = 0, seed: int = 0) -> Loss:
  """Wraps a term of an objective, in its initial state, as a loss.

  Args:
    term: see `jaxface.losses.Term`.
    embedding_size: D.
    num_classes: C.
    step: step number passed to the term.
    seed: seed of its initial parameters and of the step's key.
  Returns:
    `loss(embedding_bd, label_b, weight_b) -> [B]`.
  """
  init_key, step_key = jax.random.split(jax.random.key(seed))
  params, state = term.init(init_key, embedding_size, num_classes)

  def loss(embedding_bd: Array, label_b: Array, weight_b: Array) -> Array:
    inputs = {"embedding_bd": embedding_bd, "label_b": label_b, "weight_b": weight_b}
    return term(params, inputs, state=state, step=jnp.asarray(step), key=step_key)[0]

  return loss


__all__ = ["LAWS", "check_loss", "from_term"]
