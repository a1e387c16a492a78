"""The passes of a batch norm in JAX operations, for platforms without native code; `norm_native` describes each.

Arrays are images [many, B, N, C] and rows [many or 1, rows, C], as the native passes take them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxface.layers.activation import activate


def _wide(x: Array) -> Array:
  return x.astype(jnp.float32)


def _each(rows_mkc: Array, many: int) -> list[Array]:
  """The rows as separate arrays [many, 1, 1, C], which broadcast against images."""
  rows_mkc = jnp.broadcast_to(rows_mkc, (many, *rows_mkc.shape[1:]))
  return [rows_mkc[:, None, None, k] for k in range(rows_mkc.shape[1])]


class Passes(NamedTuple):
  """The passes around one activation.

  Attributes:
    activation: a name of `jaxface.layers.activation.ACTIVATIONS`, or None.
  """

  activation: str | None

  def moments(self, x: Array) -> Array:
    """Mean and (biased) variance, [many, 2, C]."""
    count = x.shape[1] * x.shape[2]
    mean = _wide(x).sum((1, 2)) / count
    # One pass, as in `batch_normalise`; rounding can make the difference negative.
    return jnp.stack([mean, jnp.maximum((_wide(x) ** 2).sum((1, 2)) / count - mean**2, 0)], axis=1)

  def apply(self, x: Array, rows: Array) -> Array:
    """act(slope·x + offset)."""
    slope, offset, alpha = _each(rows, len(x))
    return self._act(slope * _wide(x) + offset, alpha).astype(x.dtype)

  def apply_add(self, x: Array, shortcut: Array, rows: Array) -> Array:
    """act(slope·x + offset) + shortcut."""
    slope, offset, alpha = _each(rows, len(x))
    return (self._act(slope * _wide(x) + offset, alpha) + _wide(shortcut)).astype(x.dtype)

  def sums(self, x: Array, dy: Array, rows: Array) -> Array:
    """Σ dz, Σ dz·(x − mean) and the gradient of alpha, [many, 3, C]."""
    slope, offset, alpha, mean = _each(rows, len(x))
    dz, dalpha = self._before(x, dy, slope, offset, alpha)
    return jnp.stack([dz.sum((1, 2)), (dz * (_wide(x) - mean)).sum((1, 2)), dalpha[:, 0, 0]], axis=1)

  def input_gradient(self, x: Array, dy: Array, rows: Array) -> Array:
    """p·dz + q·(x − mean) + t."""
    slope, offset, alpha, mean, p, q, t = _each(rows, len(x))
    dz, _ = self._before(x, dy, slope, offset, alpha)
    return (p * dz + q * (_wide(x) - mean) + t).astype(x.dtype)

  def _act(self, z: Array, alpha: Array) -> Array:
    return activate(self.activation, z, alpha)

  def _before(self, x: Array, dy: Array, slope: Array, offset: Array, alpha: Array) -> tuple[Array, Array]:
    """Gradients with respect to z = slope·x + offset and to alpha."""
    return jax.vjp(self._act, slope * _wide(x) + offset, alpha)[1](_wide(dy))


__all__ = ["Passes"]
