"""Laws of losses, as functions that raise AssertionError if a loss violates them.

A loss here is `loss(embedding_bd, label_b, weight_b) -> [B]`, one number for each row, 0 for rows of weight 0. Results are
compared row by row, so that no error is hidden by a mean.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxface.testing.strategies import LABEL_DTYPES, Batch

Loss = Callable[[Array, Array, Array], Array]


def value_and_gradient(loss: Loss, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
  """Loss of each row [B], and the gradient [B, D] of their sum with respect to the embeddings; under `jit`."""
  loss_b, gradient_bd = _differentiated(loss)(*map(jnp.asarray, batch))
  return np.asarray(loss_b), np.asarray(gradient_bd)


_compiled: dict[int, tuple[Loss, Any]] = {}


def _differentiated(loss: Loss) -> Any:
  """Compiled once per loss, since a law calls it on every example."""
  if id(loss) not in _compiled:

    def both(x_bd: Array, label_b: Array, weight_b: Array) -> tuple[Array, Array]:
      def total(x_bd: Array) -> tuple[Array, Array]:
        loss_b = loss(x_bd, label_b, weight_b)
        return loss_b.sum(), loss_b

      (_, loss_b), gradient_bd = jax.value_and_grad(total, has_aux=True)(x_bd)
      return loss_b, gradient_bd

    # Keeps a reference to the loss, so that its id is not reused.
    _compiled[id(loss)] = loss, jax.jit(both)
  return _compiled[id(loss)][1]


def _same(law: str, found: np.ndarray, right: np.ndarray, rtol: float, what: str = "the loss") -> None:
  scale = max(float(np.abs(np.where(np.isfinite(right), right, 0)).max(initial=0)), 1.0)
  np.testing.assert_allclose(
    found, right, rtol=rtol, atol=rtol * scale, err_msg=f"law of {law}: {what} changed"
  )


def finite(loss: Loss, batch: Batch) -> None:
  """Loss and gradient are finite for any batch."""
  loss_b, gradient_bd = value_and_gradient(loss, batch)
  assert loss_b.shape == batch.label_b.shape, f"law of shape: the loss is {loss_b.shape}, expected {batch.label_b.shape}"
  for what, number in (("the loss", loss_b), ("the gradient", gradient_bd)):
    wrong = np.flatnonzero(~np.isfinite(number.reshape(len(number), -1)).all(1))
    assert not len(wrong), f"law of finite numbers: {what} of row {wrong[0]} is {number[wrong[0]]}"


def permutation(loss: Loss, batch: Batch, order: Sequence[int] | None = None, *, rtol: float = 1e-4) -> None:
  """Permuting rows permutes losses and gradients; None reverses the order."""
  order_b = np.arange(len(batch.label_b))[::-1] if order is None else np.asarray(order)
  loss_b, gradient_bd = value_and_gradient(loss, batch)
  moved_b, moved_bd = value_and_gradient(loss, Batch(*(part[order_b] for part in batch)))
  _same("permutation", moved_b, loss_b[order_b], rtol)
  _same("permutation", moved_bd, gradient_bd[order_b], rtol, "the gradient")


def padding(loss: Loss, batch: Batch, *, rtol: float = 1e-4) -> None:
  """Rows of weight 0 are ignored: their loss and gradient are 0 for any content, and they do not affect other rows."""
  live = batch.weight_b > 0
  assert live.any(), "law of padding: the batch has no row of weight above 0"
  filled_bd = np.where(live[:, None], batch.embedding_bd, np.float32(np.nan))
  loss_b, gradient_bd = value_and_gradient(loss, batch._replace(embedding_bd=filled_bd))
  for what, number in (("the loss", loss_b), ("the gradient", gradient_bd)):
    assert np.all(number[~live] == 0), f"law of padding: {what} of a row of weight 0 is {number[~live]}, not 0"
  right_b, right_bd = value_and_gradient(loss, Batch(*(part[live] for part in batch)))
  _same("padding", loss_b[live], right_b, rtol)
  _same("padding", gradient_bd[live], right_bd, rtol, "the gradient")


def scale(loss: Loss, batch: Batch, factor: float = 3.0, *, rtol: float = 1e-4) -> None:
  """The loss does not depend on the lengths of embeddings: for losses that normalise."""
  loss_b, _ = value_and_gradient(loss, batch)
  longer_b, _ = value_and_gradient(loss, batch._replace(embedding_bd=batch.embedding_bd * np.float32(factor)))
  _same("scale", longer_b, loss_b, rtol)


def rotation(loss: Loss, batch: Batch, *, seed: int = 0, rtol: float = 1e-3) -> None:
  """The loss is invariant to a common rotation of the embeddings: for losses of distances and angles between rows."""
  size = batch.embedding_bd.shape[1]
  turn_dd, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
  turned_bd = (batch.embedding_bd.astype(np.float64) @ turn_dd).astype(np.float32)
  loss_b, _ = value_and_gradient(loss, batch)
  turned_b, _ = value_and_gradient(loss, batch._replace(embedding_bd=turned_bd))
  _same("rotation", turned_b, loss_b, rtol)


def relabelling(loss: Loss, batch: Batch, *, rtol: float = 1e-5) -> None:
  """The loss is invariant to renumbering of identities: for losses without class centres."""
  loss_b, _ = value_and_gradient(loss, batch)
  most = int(batch.label_b.max())
  renamed_b = (most - batch.label_b.astype(np.int64)).astype(batch.label_b.dtype)
  _same("relabelling", value_and_gradient(loss, batch._replace(label_b=renamed_b))[0], loss_b, rtol)


def integer_dtypes(loss: Loss, batch: Batch, *, rtol: float = 1e-6) -> None:
  """Labels of every sufficient integer dtype give the same loss."""
  label_b = batch.label_b.astype(np.int64)
  right_b, _ = value_and_gradient(loss, batch._replace(label_b=label_b.astype(np.int32)))
  for dtype in LABEL_DTYPES:
    if label_b.max() <= np.iinfo(dtype).max:
      found_b, _ = value_and_gradient(loss, batch._replace(label_b=label_b.astype(dtype)))
      _same(f"integer dtypes, {dtype}", found_b, right_b, rtol)


def jit(loss: Loss, batch: Batch, *, rtol: float = 1e-5) -> None:
  """The loss is the same with and without `jit`."""
  with jax.disable_jit():
    right_b = np.asarray(loss(*map(jnp.asarray, batch)))
  _same("jit", value_and_gradient(loss, batch)[0], right_b, rtol)


def device_count(loss: Loss, batch: Batch, counts: Sequence[int] = (2, 4, 8), *, rtol: float = 1e-4) -> None:
  """A batch sharded over devices has the same loss and gradient as on one device.

  Args:
    loss: the loss.
    batch: a batch; counts that do not divide its rows are skipped.
    counts: numbers of devices; unavailable ones, and those that do not divide the rows, are skipped.
    rtol: tolerance.
  Raises:
    ValueError: no count is left; without accelerators set XLA_FLAGS=--xla_force_host_platform_device_count=8.
  """
  rows = len(batch.label_b)
  tried = [count for count in counts if count <= jax.device_count() and rows % count == 0]
  if not tried:
    raise ValueError(
      f"law of device count: {jax.device_count()} device(s) and {rows} rows leave none of the counts {tuple(counts)}: set"
      " XLA_FLAGS=--xla_force_host_platform_device_count=8 before jax is imported, and take 8 rows"
    )
  right_b, right_bd = value_and_gradient(loss, batch)
  for count in tried:
    mesh = Mesh(np.asarray(jax.devices()[:count]), ("data",), axis_types=(AxisType.Auto,))
    spread = [jax.device_put(jnp.asarray(part), NamedSharding(mesh, P("data"))) for part in batch]
    loss_b, gradient_bd = _differentiated(loss)(*spread)
    _same(f"device count, {count} devices", np.asarray(loss_b), right_b, rtol)
    _same(f"device count, {count} devices", np.asarray(gradient_bd), right_bd, rtol, "the gradient")


def gradient(loss: Loss, batch: Batch, *, seed: int = 0, directions: int = 4, step: float = 1e-6, rtol: float = 1e-5) -> None:
  """The gradient matches finite differences, in float64; for batches away from kinks (`corners=("plain",)`)."""
  rng = np.random.default_rng(seed)
  with jax.enable_x64(True):
    x_bd = jnp.asarray(batch.embedding_bd, jnp.float64)
    label_b, weight_b = jnp.asarray(batch.label_b), jnp.asarray(batch.weight_b)
    total = jax.jit(lambda x_bd: loss(x_bd, label_b, weight_b).sum())
    slope_bd = np.asarray(jax.jit(jax.grad(total))(x_bd))
    for _ in range(directions):
      way_bd = rng.normal(size=x_bd.shape) * (np.asarray(weight_b) > 0)[:, None]
      there, back = (float(total(x_bd + sign * step * way_bd)) for sign in (1, -1))
      expected, found = (there - back) / (2 * step), float((slope_bd * way_bd).sum())
      assert abs(found - expected) <= rtol * max(1.0, abs(expected), float(np.abs(slope_bd).sum())), (
        f"law of the gradient: {found:.8g} along a direction where finite differences give {expected:.8g}"
      )


__all__ = [
  "Loss", "device_count", "finite", "gradient", "integer_dtypes", "jit", "padding", "permutation", "relabelling", "rotation",
  "scale", "value_and_gradient",
]
