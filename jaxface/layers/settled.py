"""Prevents XLA:CPU from recomputing residual sums.

XLA fuses cheap operations into each of their consumers and recomputes them there. In a residual network without other barriers,
such as a transformer, the last block recomputes the whole sum of residuals, and so does every block in the backward pass: work
that grows with the square of the depth. XLA removes optimisation barriers before fusion, but not a library call.
"""

import functools
from collections.abc import Callable

import jax
from jax import Array

from jaxface.layers.formulation import current_formulation
from jaxface.layers.native_call import IMAGES, native_call


@jax.custom_vjp
def _once(x_bn: Array) -> Array:
  return _native()(x_bn[None])[0]


_once.defvjp(lambda x_bn: (_once(x_bn), None), lambda _, dy_bn: (_once(dy_bn),))


@functools.cache
def _native() -> Callable[[Array], Array]:
  return native_call(
    "JaxfaceSettle", lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (IMAGES,), IMAGES, lambda x: x, aliases={0: 0}
  )


def settled(x_bn: Array) -> Array:
  """Returns `x_bn` [B, ...]; on a CPU with native code, it and its gradient are computed once and stored.

  Reverse-mode gradients of any order; with native code forward mode raises a TypeError.
  """
  return _once(x_bn) if current_formulation() == "onednn" else x_bn


__all__ = ["settled"]
