"""Convolution by oneDNN on a CPU, called through XLA's foreign function interface; on other platforms by XLA."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxface.layers import native, trilinear
from jaxface.layers.native_call import IMAGES, SHARED, native_call
from jaxface.layers.norm_native import CODES, affine
from jaxface.layers.norm_plain import Passes


class Window(NamedTuple):
  """Geometry of a convolution, hashable.

  Attributes:
    image: (H, W, C) of the input.
    kernel: (kh, kw, C / groups, O).
    strides: (rows, columns).
    pads: ((top, bottom), (left, right)) in pixels.
    dilation: (rows, columns) between taps of the kernel.
    groups: channel groups.
    bf16_math: whether to multiply float32 arrays in bfloat16, with float32 sums.
    precision: `precision` of `jax.lax.conv_general_dilated`, for XLA's convolution.
  """

  image: tuple[int, ...]
  kernel: tuple[int, ...]
  strides: tuple[int, int]
  pads: tuple[tuple[int, int], ...]
  dilation: tuple[int, int]
  groups: int
  bf16_math: bool
  precision: Any = None

  @property
  def symbol(self) -> str:
    """Name of the handler in the library."""
    return "JaxfaceConv"

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
    """Attributes for the native handlers."""
    (top, bottom), (left, right) = self.pads
    numbers = (*self.strides, top, bottom, left, right, *self.dilation)
    return {"window": numbers, "groups": self.groups, "bf16_math": int(self.bf16_math)}

  @property
  def transposes(self) -> bool:
    """True: JAX can transpose `plain`."""
    return True

  def plain(self, x_bhwc: Array, kernel_hwio: Array) -> Array:
    """The convolution by XLA's operation."""
    return lax.conv_general_dilated(
      x_bhwc, kernel_hwio, self.strides, self.pads, rhs_dilation=self.dilation,
      dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=self.groups, precision=self.precision,
    )

  def supports(self, dtype: jnp.dtype) -> bool:
    """Whether oneDNN can compute it: a dtype that the processor supports, no cropping, no empty result."""
    known = dtype == jnp.float32 or (dtype == jnp.bfloat16 and native.has_bfloat16())
    return known and min(map(min, self.pads)) >= 0 and min(self.result) > 0


def onednn_conv(x_bhwc: Array, kernel_hwio: Array, window: Window) -> Array:
  """Convolution of NHWC images with an HWIO kernel.

  Args:
    x_bhwc: [B, H, W, C] float32 or bfloat16.
    kernel_hwio: [kh, kw, C / groups, O], same dtype.
    window: the remaining geometry; its shapes must match the arrays.
  Returns:
    [B, H', W', O], same dtype.
  Raises:
    RuntimeError: the native library is not available.
  """
  return trilinear.value(window, x_bhwc, kernel_hwio)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def fused_conv(
  window: Window, activation: str | None, x_bhwc: Array, kernel_hwio: Array, bias_o: Array, alpha_o: Array | None,
  shortcut: Array | None,
) -> Array:
  """act(convolution + bias) + shortcut, written to memory once: a network's block in inference.

  Args:
    window: see `onednn_conv`.
    activation: a key of `jaxface.layers.norm_native.CODES`.
    x_bhwc: [B, H, W, C] float32 or bfloat16.
    kernel_hwio: [kh, kw, C / groups, O], same dtype.
    bias_o: [O] float32.
    alpha_o: [O] float32 slopes of "prelu", or None.
    shortcut: an array of the shape and dtype of the result, or None.
  Returns:
    [B, H', W', O] with the dtype of `x_bhwc`. Gradients are those of the unfused operations.
  """
  rows = jnp.stack([bias_o, jnp.zeros_like(bias_o) if alpha_o is None else alpha_o])
  more = () if shortcut is None else (shortcut[None],)
  return _fused(window, activation, bool(more))(x_bhwc[None], kernel_hwio[None], rows[None], *more)[0]


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
def _fused(window: Window, activation: str | None, add: bool) -> Callable[..., Array]:
  def plain(x: Array, kernel: Array, rows: Array, *shortcut: Array) -> Array:
    y = trilinear.over_members(window.plain)(x, kernel)
    flat, *more = (images.reshape(*y.shape[:2], -1, y.shape[-1]) for images in (y, *shortcut))
    rows = jnp.concatenate([jnp.ones_like(rows[:, :1]), rows], axis=1)
    passes = Passes(activation)
    result = passes.apply_add(flat, more[0], rows) if more else passes.apply(flat, rows)
    return result.reshape(y.shape)

  return native_call(
    "JaxfaceConvFused",
    lambda x, *_: jax.ShapeDtypeStruct((*x.shape[:2], *window.result), x.dtype),
    (IMAGES, SHARED, SHARED, *[IMAGES] * add),
    IMAGES,
    plain,
    act=CODES[activation], **window.attributes,
  )


__all__ = ["Window", "fused_conv", "onednn_conv"]
