"""Sums that a CPU computes once.

XLA fuses cheap operations into each that reads them, and computes them there again. Where a network adds to one array all
the way, as a transformer does, the last of its blocks computes the whole sum anew, and so does every block in the
backward pass: work that grows with the square of the depth. Optimisation barriers are gone before XLA fuses; a call
of a library stays.
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
  """`x_bn` [B, ...] itself; on a CPU with native code it, and its gradient, are computed once and kept.

  Reverse-mode gradients of any order; where native code is in use forward mode raises a TypeError.
  """
  return _once(x_bn) if current_formulation() == "onednn" else x_bn


__all__ = ["settled"]
