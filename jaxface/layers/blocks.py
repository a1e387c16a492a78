"""Blocks that several networks share."""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from jaxface.layers.activation import Activation
from jaxface.layers.convolution import Conv, make_window
from jaxface.layers.formulation import current_formulation
from jaxface.layers.norm import BatchNorm
from jaxface.layers.onednn import Window, fused_conv


class ConvNorm(nn.Module):
  """Convolution, batch norm and, unless `activation` is None, an activation.

  Zero padding is symmetric ("SAME" with stride two would pad the right and the bottom only).

  Attributes:
    features: channels of the result.
    kernel: side length of the kernel in pixels, or its height and width.
    stride: step in pixels.
    padding: zeros on each side; None takes half of the kernel.
    depthwise: one filter per channel.
    groups: number of channel groups, convolved separately; ignored if `depthwise`.
    use_bias: adds a bias before the norm, for weights that were trained with one.
    activation: a name of `jaxface.layers.activation.ACTIVATIONS`, None for a linear block.
    dtype: dtype of the computation.
  """

  features: int
  kernel: int | tuple[int, int] = 3
  stride: int = 1
  padding: int | None = None
  depthwise: bool = False
  use_bias: bool = False
  activation: str | None = "prelu"
  dtype: Any = jnp.float32
  groups: int = 1

  @nn.compact
  def __call__(self, x_bhwc: Array, train: bool, shortcut: Callable[[], Array] | None = None) -> Array:
    """Maps [B, H, W, C] to [B, H', W', features] and adds the result of `shortcut`.

    `shortcut` is called before the block where the block is one native call, else after it, so that layers run in the same
    order as in other libraries.
    """
    height, width = (self.kernel, self.kernel) if isinstance(self.kernel, int) else self.kernel
    pad_h, pad_w = (height // 2, width // 2) if self.padding is None else (self.padding, self.padding)
    padding, groups = ((pad_h, pad_h), (pad_w, pad_w)), x_bhwc.shape[-1] if self.depthwise else self.groups
    # The filters of a group see only its own channels, so their fan-out is smaller than the layer's.
    fan: Literal["fan_in", "fan_out"] = "fan_in" if groups > 1 else "fan_out"
    if not train and not self.is_initializing() and current_formulation() == "onednn":
      kernel = self.variables["params"]["conv"]["kernel"]
      window = make_window(x_bhwc, kernel, (self.stride,) * 2, padding, groups=groups)
      # The layer below rejects parameters of another shape.
      fits = kernel.shape == (height, width, x_bhwc.shape[-1] // groups, self.features)
      if fits and window.supports(x_bhwc.dtype) and x_bhwc.dtype == self.dtype:
        return self._folded(x_bhwc, window, None if shortcut is None else shortcut())
    x_bhwc = Conv(
      self.features,
      (height, width),
      strides=(self.stride, self.stride),
      padding=padding,
      groups=groups,
      use_bias=self.use_bias,
      dtype=self.dtype,
      kernel_init=nn.initializers.variance_scaling(2.0, fan, "normal"),
      name="conv",
    )(x_bhwc)
    norm = BatchNorm(dtype=self.dtype, name="norm")
    act = None if self.activation is None else Activation(self.activation, self.features, name="act")
    if current_formulation() == "onednn":
      more = None if shortcut is None else shortcut()
      return norm(x_bhwc, train, self.activation, None if act is None else act.alpha, more)
    x_bhwc = norm(x_bhwc, train)
    if act is not None:
      x_bhwc = act(x_bhwc)
    return x_bhwc if shortcut is None else shortcut() + x_bhwc

  def _folded(self, x_bhwc: Array, window: Window, shortcut: Array | None) -> Array:
    """The block as one native call: with fixed statistics the norm is folded into the kernel and a bias."""
    params, statistics = self.variables["params"], self.variables["batch_stats"]["norm"]
    slope_c = lax.rsqrt(statistics["var"] + BatchNorm.epsilon) * params["norm"]["scale"]
    offset_c = params["norm"]["bias"] - statistics["mean"] * slope_c
    if self.use_bias:
      offset_c = offset_c + params["conv"]["bias"] * slope_c
    kernel = (params["conv"]["kernel"] * slope_c).astype(self.dtype)
    alpha_c = params["act"]["alpha"] if self.activation == "prelu" else None
    return fused_conv(window, self.activation, x_bhwc, kernel, offset_c, alpha_c, shortcut)


__all__ = ["ConvNorm"]
