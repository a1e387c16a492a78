"""Convolutions with unshared weights: every position, or every group of inputs, has its own kernel."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxface.layers.convolution import Padding
from jaxface.layers.local_native import local_layer, regions_of
from jaxface.layers.local_plain import Pair

BIASES = ("position", "channel", "none")


def output_size(
  size: Sequence[int], kernel: Sequence[int], strides: Sequence[int], padding: Padding
) -> tuple[Pair, tuple[Pair, Pair]]:
  """Height and width of the output, and the padding in pixels.

  Raises:
    ValueError: an unknown padding, or no position at all.
  """
  pads = lax.padtype_to_pads(size, kernel, strides, padding) if isinstance(padding, str) else padding
  vertical, horizontal = ((int(low), int(high)) for low, high in pads)
  out_h, out_w = ((n + low + high - k) // s + 1 for n, (low, high), k, s in zip(size, (vertical, horizontal), kernel, strides))
  if min(out_h, out_w) < 1:
    raise ValueError(f"a {kernel[0]}x{kernel[1]} window does not fit into {size[0]}x{size[1]} pixels with padding {padding!r}")
  return (out_h, out_w), (vertical, horizontal)


def locally_connected(
  x_bhwc: Array,
  kernel: Array,
  *,
  strides: Pair = (1, 1),
  padding: Padding = "VALID",
  low_memory: bool | None = None,
) -> Array:
  """Convolution with a different kernel at each position of the output.

  On a CPU with native code this is `jaxface.layers.local_native`, the fastest form, which uses little memory. Elsewhere it is
  a batched matrix product over the positions, on unfolded windows with images innermost. Unfolding takes kh · kw / (sh · sw)
  times the memory of the input: 0.5 GB for DeepFace's L4 at batch 32. With low memory a few rows of the output are unfolded
  at a time, and again in the backward pass. The numbers are the same, in a loop of small steps instead of one large one.

  Reverse-mode gradients of any order; forward mode (`jax.jvp`) raises a TypeError.

  Args:
    x_bhwc: [B, H, W, C] float.
    kernel: [H', W', kh, kw, C, O] float, for H' × W' positions.
    strides: steps in pixels along height and width.
    padding: "SAME", "VALID", or ((top, bottom), (left, right)) in pixels.
    low_memory: applies to the matrix products. None turns it on when the unfolded windows exceed `WHOLE` numbers (128 MB of
      float32). Then as many rows are unfolded at a time as divide H' and make at most `AT_A_TIME` numbers (8 MB), but at
      least one. Under `vmap` the sizes are those of one member.
  Returns:
    [B, H', W', O], with the dtype of `x_bhwc`.
  Raises:
    ValueError: the kernel's positions or channels do not match.
  Source: Taigman et al., "DeepFace", 2014, §3.2.
  """
  (kh, kw), channels = kernel.shape[2:4], x_bhwc.shape[-1]
  (out_h, out_w), pads = output_size(x_bhwc.shape[1:3], (kh, kw), strides, padding)
  if kernel.shape[:5] != (out_h, out_w, kh, kw, channels):
    raise ValueError(
      f"kernels {kernel.shape} for an input of {x_bhwc.shape[1:]} with strides {strides} and padding {padding!r}: needs"
      f" [{out_h}, {out_w}, {kh}, {kw}, {channels}, O]"
    )
  regions = regions_of(x_bhwc, kernel, (out_h, out_w), strides, pads, low_memory=low_memory)
  return local_layer(x_bhwc, kernel, regions)


def each(init: Any, count: tuple[int, ...]) -> Any:
  """An initialiser of arrays [*count, ...] that calls `init` for each part, so that the fan is that of one part."""

  def initialise(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    keys = jax.random.split(key, math.prod(count))
    return jax.vmap(lambda key: init(key, shape[len(count) :], dtype))(keys).reshape(shape)

  return initialise


class LocallyConnected(nn.Module):
  """`locally_connected` with parameters `kernel` [H', W', kh, kw, C, features] and `bias`.

  Attributes:
    features: channels of the result.
    kernel_size: height and width of the windows in pixels.
    strides: steps in pixels.
    padding: as for `locally_connected`.
    bias: "position" for one per position and channel, [H', W', features]; "channel" for one per channel, [features];
      or "none".
    low_memory: as for `locally_connected`.
    dtype: dtype of the computation.
    kernel_init: initialiser of the kernel of one position, [kh, kw, C, features].
    bias_init: initialiser of the bias.
  """

  features: int
  kernel_size: Pair
  strides: Pair = (1, 1)
  padding: Padding = "VALID"
  bias: str = "position"
  low_memory: bool | None = None
  dtype: Any = jnp.float32
  kernel_init: Any = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
  bias_init: Any = nn.initializers.zeros

  @nn.compact
  def __call__(self, x_bhwc: Array) -> Array:
    """[B, H, W, C] to [B, H', W', features]."""
    if self.bias not in BIASES:
      raise ValueError(f"bias of LocallyConnected is {self.bias!r}: takes {', '.join(map(repr, BIASES))}")
    out, _ = output_size(x_bhwc.shape[1:3], self.kernel_size, self.strides, self.padding)
    shape = (*out, *self.kernel_size, x_bhwc.shape[-1], self.features)
    kernel = self.param("kernel", each(self.kernel_init, out), shape, jnp.float32)
    y_bhwc = locally_connected(
      x_bhwc.astype(self.dtype), kernel.astype(self.dtype),
      strides=self.strides, padding=self.padding, low_memory=self.low_memory,
    )
    if self.bias == "none":
      return y_bhwc
    bias_shape = (*out, self.features) if self.bias == "position" else (self.features,)
    return y_bhwc + self.param("bias", self.bias_init, bias_shape, jnp.float32).astype(self.dtype)


class GroupedLocallyConnected(nn.Module):
  """One fully connected layer for each group of inputs, with `kernel` [G, D, features] and `bias` [G, features].

  DeepID's verifier has 60 groups, one per patch, each with the 640 features of two images: 80 numbers of each.

  Attributes:
    features: outputs of each group.
    dtype: dtype of the computation.
    kernel_init: initialiser of the kernel of one group, [D, features].
  Source: Sun et al., "Deep Learning Face Representation from Predicting 10,000 Classes", 2014, §3.4.
  """

  features: int
  dtype: Any = jnp.float32
  kernel_init: Any = nn.initializers.variance_scaling(2.0, "fan_in", "normal")

  @nn.compact
  def __call__(self, x_bgd: Array) -> Array:
    """[B, G, D] to [B, G, features]."""
    groups, size = x_bgd.shape[1:]
    shape = (groups, size, self.features)
    kernel = self.param("kernel", each(self.kernel_init, (groups,)), shape, jnp.float32).astype(self.dtype)
    bias = self.param("bias", nn.initializers.zeros, (groups, self.features), jnp.float32).astype(self.dtype)
    return jnp.einsum("bgd,gdo->bgo", x_bgd.astype(self.dtype), kernel) + bias


__all__ = ["GroupedLocallyConnected", "LocallyConnected", "Pair", "each", "locally_connected", "output_size"]
