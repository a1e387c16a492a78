"""Convolution by oneDNN on a CPU, called through XLA's foreign function interface.

A convolution y = V(x, k) has two gradients, dx = I(dy, k) and dk = K(x, dy). All three come from one trilinear form,
⟨V(x, k), dy⟩ = ⟨x, I(dy, k)⟩ = ⟨k, K(x, dy)⟩, so each of them has the other two for its gradients: reverse mode works
to any order with three native functions.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxface.layers import native
from jaxface.layers.native_call import IMAGES, SHARED, native_call
from jaxface.layers.norm_native import CODES, affine

VALUE, INPUT_GRADIENT, KERNEL_GRADIENT = range(3)


class Window(NamedTuple):
  """Geometry of a convolution, hashable.

  Attributes:
    image: (H, W, C) of the input.
    kernel: (kh, kw, C / groups, O).
    strides: (rows, columns).
    pads: ((top, bottom), (left, right)) in pixels.
    dilation: (rows, columns) between taps of the kernel.
    groups: channel groups.
    bf16_math: multiply float32 arrays in bfloat16, with float32 sums.
  """

  image: tuple[int, ...]
  kernel: tuple[int, ...]
  strides: tuple[int, int]
  pads: tuple[tuple[int, int], ...]
  dilation: tuple[int, int]
  groups: int
  bf16_math: bool

  @property
  def result(self) -> tuple[int, int, int]:
    """(H', W', O)."""
    tall, wide = (
      (pixels + sum(pad) - (taps - 1) * step - 1) // stride + 1
      for pixels, pad, taps, step, stride in zip(self.image, self.pads, self.kernel, self.dilation, self.strides)
    )
    return tall, wide, self.kernel[-1]

  @property
  def attributes(self) -> dict[str, Any]:
    """What the native handlers are told beside shapes."""
    (top, bottom), (left, right) = self.pads
    numbers = (*self.strides, top, bottom, left, right, *self.dilation)
    return {"window": numbers, "groups": self.groups, "bf16_math": int(self.bf16_math)}

  def supports(self, dtype: jnp.dtype) -> bool:
    """Whether oneDNN has this convolution: a type that the processor knows, no cropping, no empty result."""
    known = dtype == jnp.float32 or (dtype == jnp.bfloat16 and native.has_bfloat16())
    return known and min(map(min, self.pads)) >= 0 and min(self.result) > 0


def onednn_conv(x_bhwc: Array, kernel_hwio: Array, window: Window) -> Array:
  """Convolution of NHWC images with an HWIO kernel.

  Args:
    x_bhwc: [B, H, W, C] float32 or bfloat16.
    kernel_hwio: [kh, kw, C / groups, O] of the same type.
    window: everything else; its shapes must be those of the arrays.
  Returns:
    [B, H', W', O] of the same type.
  Raises:
    RuntimeError: the native part is not there.
  """
  return _form(VALUE, window, x_bhwc[None], kernel_hwio[None])[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def fused_conv(
  window: Window, activation: str | None, x_bhwc: Array, kernel_hwio: Array, bias_o: Array, alpha_o: Array | None,
  shortcut: Array | None,
) -> Array:
  """act(convolution + bias) + shortcut, written to memory once: a block of a network in inference.

  Args:
    window: see `onednn_conv`.
    activation: a key of `jaxface.layers.norm_native.CODES`.
    x_bhwc: [B, H, W, C] float32 or bfloat16.
    kernel_hwio: [kh, kw, C / groups, O] of the same type.
    bias_o: [O] float32.
    alpha_o: [O] float32 slopes of "prelu", or None.
    shortcut: of the shape and type of the result, or None.
  Returns:
    [B, H', W', O] of the type of `x_bhwc`. Gradients are those of the same in several steps.
  """
  rows = jnp.stack([bias_o, jnp.zeros_like(bias_o) if alpha_o is None else alpha_o])
  more = () if shortcut is None else (shortcut[None],)
  return _fused(window, CODES[activation], bool(more))(x_bhwc[None], kernel_hwio[None], rows[None], *more)[0]


def _in_steps(
  window: Window, activation: str | None, x_bhwc: Array, kernel_hwio: Array, bias_o: Array, alpha_o: Array | None,
  shortcut: Array | None,
) -> Array:
  y = onednn_conv(x_bhwc, kernel_hwio, window)
  return affine(activation, y, jnp.ones_like(bias_o), bias_o, alpha_o, shortcut)


fused_conv.defvjp(
  lambda window, activation, *arrays: (fused_conv(window, activation, *arrays), arrays),
  lambda window, activation, arrays, dy: jax.vjp(functools.partial(_in_steps, window, activation), *arrays)[1](dy),
)


@functools.lru_cache(maxsize=4096)
def _fused(window: Window, act: int, add: bool) -> Callable[..., Array]:
  return native_call(
    "JaxfaceConvFused",
    lambda x, *_: jax.ShapeDtypeStruct((*x.shape[:2], *window.result), x.dtype),
    (IMAGES, SHARED, SHARED, *[IMAGES] * add),
    IMAGES,
    act=act, **window.attributes,
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _form(kind: int, window: Window, a: Array, b: Array) -> Array:
  """One of the three functions, on arrays with a leading axis of independent convolutions."""
  return _native(kind, window)(a, b)


def _pull_back(kind: int, window: Window, saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
  a, b = saved
  if kind == VALUE:  # a = x, b = k, cotangent = dy
    return _form(INPUT_GRADIENT, window, cotangent, b), _form(KERNEL_GRADIENT, window, a, cotangent)
  if kind == INPUT_GRADIENT:  # a = dy, b = k, cotangent stands where x does
    return _form(VALUE, window, cotangent, b), _form(KERNEL_GRADIENT, window, cotangent, a)
  # a = x, b = dy, cotangent stands where k does
  return _form(INPUT_GRADIENT, window, b, cotangent), _form(VALUE, window, a, cotangent)


_form.defvjp(lambda kind, window, a, b: (_form(kind, window, a, b), (a, b)), _pull_back)


@functools.lru_cache(maxsize=4096)
def _native(kind: int, window: Window) -> Callable[[Array, Array], Array]:
  own = (window.result, window.image, window.kernel)[kind]
  images = kind != KERNEL_GRADIENT
  return native_call(
    "JaxfaceConv",
    lambda a, b: jax.ShapeDtypeStruct((*a.shape[: 1 + images], *own), a.dtype),
    (IMAGES, SHARED if images else IMAGES),
    IMAGES if images else SHARED,
    kind=kind, **window.attributes,
  )


__all__ = ["Window", "fused_conv", "onednn_conv"]
