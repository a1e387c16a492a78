"""Native layers that are linear in images and in kernel: three functions with reverse-mode gradients of any order.

Such a layer y = V(x, k) has two gradients, dx = I(dy, k) and dk = K(x, dy). All three come from one trilinear form,
⟨V(x, k), dy⟩ = ⟨x, I(dy, k)⟩ = ⟨k, K(x, dy)⟩, so the gradients of each are the other two.
"""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from jaxface.layers.native_call import IMAGES, SHARED, native_call

# As jaxface/native/problem.h numbers them.
VALUE, INPUT_GRADIENT, KERNEL_GRADIENT = range(3)


class Geometry(Protocol):
  """The static description of a layer. Hashable, and never equal to that of another kind of layer, since calls are cached by it.

  Attributes:
    symbol: name of the handler in the library.
    image: (H, W, C).
    kernel: shape of the kernel.
    result: (H', W', O).
    attributes: integers or tuples of integers for the handler.
    plain: the layer in JAX operations, (images [B, H, W, C], kernel) to [B, H', W', O], for platforms without the handler.
    transposes: whether JAX can transpose `plain`, which then has no custom gradient rule.
  """

  @property
  def symbol(self) -> str: ...
  @property
  def image(self) -> tuple[int, ...]: ...
  @property
  def kernel(self) -> tuple[int, ...]: ...
  @property
  def result(self) -> tuple[int, ...]: ...
  @property
  def attributes(self) -> dict[str, Any]: ...
  @property
  def transposes(self) -> bool: ...
  def plain(self, x_bhwc: Array, kernel: Array, /) -> Array: ...
  def __hash__(self) -> int: ...


def value(geometry: Geometry, x_bhwc: Array, kernel: Array) -> Array:
  """The layer's result [B, H', W', O] for images [B, H, W, C] and a kernel of the same dtype."""
  return _form(VALUE, geometry, x_bhwc[None], kernel[None])[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _form(kind: int, geometry: Geometry, a: Array, b: Array) -> Array:
  """One of the three functions, on arrays with a leading axis of independent layers."""
  return _native(kind, geometry)(a, b)


def _pull_back(kind: int, geometry: Geometry, saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
  a, b = saved
  if kind == VALUE:  # a = x, b = k, cotangent = dy
    return _form(INPUT_GRADIENT, geometry, cotangent, b), _form(KERNEL_GRADIENT, geometry, a, cotangent)
  if kind == INPUT_GRADIENT:  # a = dy, b = k, cotangent takes the place of x
    return _form(VALUE, geometry, cotangent, b), _form(KERNEL_GRADIENT, geometry, cotangent, a)
  # a = x, b = dy, cotangent takes the place of k
  return _form(INPUT_GRADIENT, geometry, b, cotangent), _form(VALUE, geometry, a, cotangent)


_form.defvjp(lambda kind, geometry, a, b: (_form(kind, geometry, a, b), (a, b)), _pull_back)


def _plain(kind: int, geometry: Geometry, a: Array, b: Array) -> Array:
  """One of the three functions, from the plain layer."""
  if kind == VALUE:
    return geometry.plain(a, b)
  of_images = kind == INPUT_GRADIENT
  like = jax.ShapeDtypeStruct((len(a), *geometry.image) if of_images else geometry.kernel, a.dtype)
  layer = (lambda x: geometry.plain(x, b)) if of_images else (lambda kernel: geometry.plain(a, kernel))
  cotangent = a if of_images else b
  if geometry.transposes:
    return jax.linear_transpose(layer, like)(cotangent)[0]
  # The layer is linear, so its derivative can be taken at any point.
  return jax.vjp(layer, jnp.zeros(like.shape, like.dtype))[1](cotangent)[0]


def over_members(function: Callable[..., Array]) -> Callable[..., Array]:
  """Maps `function` over the leading axis of its arrays; an array with a single entry is used for all calls."""

  def mapped(*arrays: Array) -> Array:
    if len(arrays[0]) == 1:
      return function(*(array[0] for array in arrays))[None]
    axes = [None if len(array) == 1 else 0 for array in arrays]
    return jax.vmap(function, axes)(*(array[0] if axis is None else array for array, axis in zip(arrays, axes)))

  return mapped


@functools.lru_cache(maxsize=4096)
def _native(kind: int, geometry: Geometry) -> Callable[[Array, Array], Array]:
  own = (geometry.result, geometry.image, geometry.kernel)[kind]
  images = kind != KERNEL_GRADIENT
  return native_call(
    geometry.symbol,
    lambda a, b: jax.ShapeDtypeStruct((*a.shape[: 1 + images], *own), a.dtype),
    (IMAGES, SHARED if images else IMAGES),
    IMAGES if images else SHARED,
    over_members(functools.partial(_plain, kind, geometry)),
    kind=kind, **geometry.attributes,
  )


__all__ = ["INPUT_GRADIENT", "KERNEL_GRADIENT", "VALUE", "Geometry", "over_members", "value"]
