"""Formulations of convolution that XLA:CPU compiles to matrix products or to loops over contiguous channels."""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxface.layers.chunks import images_per_chunk, join, split
from jaxface.layers.winograd import Pads, winograd_conv

Strides = tuple[int, ...]

# Below this many channels the transforms of Winograd's algorithm cost more than they save.
MIN_WINOGRAD_CHANNELS = 32
# Above this many kernel positions the slices make programs that compile slowly.
MAX_PLACES = 25


def patchwise(x_bhwc: Array, kernel_hwio: Array) -> Array:
  """Convolution whose strides equal its kernel size (including 1×1), as one matrix product over all patches."""
  h, w, channels, features = kernel_hwio.shape
  batch, tall, wide = x_bhwc.shape[0], x_bhwc.shape[1] // h, x_bhwc.shape[2] // w
  x_bhwc = x_bhwc[:, : tall * h, : wide * w]
  patch_bhwk = x_bhwc.reshape(batch, tall, h, wide, w, channels).swapaxes(2, 3)
  y = patch_bhwk.reshape(-1, h * w * channels) @ kernel_hwio.reshape(-1, features)
  return y.reshape(batch, tall, wide, features)


def _shifted(x_bhwc: Array, window: tuple[int, ...], strides: Strides, pads: Pads) -> list[Array]:
  """The input at each kernel position: kh·kw arrays [B, H', W', C], row by row."""
  x_bhwc = jnp.pad(x_bhwc, ((0, 0), *pads, (0, 0)))
  batch, height, width, channels = x_bhwc.shape
  tall, wide = ((pixels - k) // s * s + 1 for pixels, k, s in zip((height, width), window, strides))
  return [
    lax.slice(x_bhwc, (0, i, j, 0), (batch, i + tall, j + wide, channels), (1, *strides, 1))
    for i in range(window[0])
    for j in range(window[1])
  ]


def depthwise(x_bhwc: Array, kernel_hwio: Array, strides: Strides, pads: Pads) -> Array:
  """Depthwise convolution as a sum of shifted products."""
  features = kernel_hwio.shape[-1]
  x_bhwc = jnp.repeat(x_bhwc, features // x_bhwc.shape[-1], axis=-1)
  window = kernel_hwio.shape[:2]
  kernel_ko = kernel_hwio.reshape(math.prod(window), features)
  first, *rest = (part * weight_o for part, weight_o in zip(_shifted(x_bhwc, window, strides, pads), kernel_ko))
  return sum(rest, first)


def _unfolded(x_bhwc: Array, kernel_hwio: Array, strides: Strides, pads: Pads) -> Array:
  """One matrix product of the unfolded windows with the kernel."""
  window_bhwk = jnp.concatenate(_shifted(x_bhwc, kernel_hwio.shape[:2], strides, pads), axis=-1)
  features = kernel_hwio.shape[-1]
  y = window_bhwk.reshape(-1, window_bhwk.shape[-1]) @ kernel_hwio.reshape(-1, features)
  return y.reshape(*window_bhwk.shape[:3], features)


def _unfold_value(x_bhwc: Array, kernel_hwio: Array, strides: Strides, pads: Pads) -> Array:
  chunks = split(x_bhwc, images_per_chunk(x_bhwc))
  return join(lax.map(lambda part: _unfolded(part, kernel_hwio, strides, pads), chunks))


def _unfold_pull_back(strides: Strides, pads: Pads, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
  x_bhwc, kernel_hwio = saved
  images = images_per_chunk(x_bhwc)

  def step(total: Array, part: tuple[Array, Array]) -> tuple[Array, Array]:
    x, dy = part
    dx, dkernel = jax.vjp(lambda x, kernel: _unfolded(x, kernel, strides, pads), x, kernel_hwio)[1](dy)
    return total + dkernel, dx

  dkernel, dx = lax.scan(step, jnp.zeros_like(kernel_hwio), (split(x_bhwc, images), split(dy, images)))
  return join(dx), dkernel


# Without a custom rule the unfolded windows of the batch, kh·kw times the input, would be saved for the gradient.
_unfold = jax.custom_vjp(_unfold_value, nondiff_argnums=(2, 3))
_unfold.defvjp(lambda x, kernel, strides, pads: (_unfold(x, kernel, strides, pads), (x, kernel)), _unfold_pull_back)


def takes(image: tuple[int, ...], kernel: tuple[int, ...], pads: Pads, groups: int) -> bool:
  """Whether `pure_conv` supports the convolution; `lax.conv_general_dilated` supports all of them.

  Args:
    image: (H, W, C).
    kernel: (kh, kw, C / groups, O).
    pads: see `pure_conv`.
    groups: channel groups.
  """
  window = kernel[:2]
  cropped = min(map(min, pads)) < 0
  empty = any(n + sum(pad) < k for n, pad, k in zip(image, pads, window))
  return not cropped and not empty and groups in (1, image[-1]) and math.prod(window) <= MAX_PLACES


def pure_conv(x_bhwc: Array, kernel_hwio: Array, strides: Strides, pads: Pads, groups: int) -> Array:
  """A convolution supported by `takes`, in the formulation that is fastest on a CPU.

  Args:
    x_bhwc: [B, H, W, C] float; narrower types than float32 are computed in float32.
    kernel_hwio: [kh, kw, C / groups, O].
    strides: steps in pixels along height and width.
    pads: zero padding ((top, bottom), (left, right)) in pixels.
    groups: channel groups.
  """
  window = kernel_hwio.shape[:2]
  channels, features = x_bhwc.shape[-1], kernel_hwio.shape[-1]
  dtype = x_bhwc.dtype
  wide = jnp.promote_types(dtype, jnp.float32)
  x_bhwc, kernel_hwio = x_bhwc.astype(wide), kernel_hwio.astype(wide)
  if groups > 1:
    y = depthwise(x_bhwc, kernel_hwio, strides, pads)
  elif window == (1, 1) and not any(map(any, pads)):
    y = patchwise(x_bhwc[:, :: strides[0], :: strides[1]], kernel_hwio)
  elif window == strides and not any(map(any, pads)):
    y = patchwise(x_bhwc, kernel_hwio)
  elif (
    (window, strides) == ((3, 3), (1, 1))
    and min(channels, features) >= MIN_WINOGRAD_CHANNELS
    and max(max(pad) for pad in pads) <= 2
  ):
    y = winograd_conv(x_bhwc, kernel_hwio, pads)
  else:
    y = _unfold(x_bhwc, kernel_hwio, strides, pads)
  return y.astype(dtype)


__all__ = ["depthwise", "patchwise", "pure_conv", "takes"]
