"""The network of DDFD: AlexNet's layers, scaled down, whose dense layers are convolutions, so that an image gives a map of scores.

Reductions against AlexNet and the paper, which fine-tunes it on windows of 227 pixels with stride 32: windows of 32 + 8·n pixels with
stride 8; the first kernel has 5 pixels and stride 1, the second 3; pooling has 2 pixels; no local response normalisation; a factor on the
channels and narrower dense layers; initial values are random, not learned on ImageNet. Convolutions have no padding anywhere: the score
of a window depends on its pixels only, wherever it lies in an image.

Source: Farfade, Saberian, Li, "Multi-view Face Detection Using Deep Convolutional Neural Networks", 2015; Krizhevsky et al., "ImageNet
Classification with Deep Convolutional Neural Networks", 2012, for the layers.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.detection.mtcnn_nets import normalise
from jaxface.detection.param_shapes import check_shapes
from jaxface.detection.strips import by_strips
from jaxface.layers.convolution import Conv
from jaxface.layers.pooling import max_pool
from jaxface.losses.detection import SCORES

# AlexNet's channels of the five convolutions.
CHANNELS = (96, 256, 384, 384, 256)
_KERNELS, _POOLED = (5, 3, 3, 3, 3), (1, 2, 5)
# Distance of neighbouring windows in pixels, and side of a window of which one number of each channel is left for the dense layers.
STRIDE, LEAST_WINDOW = 8, 40
# Rows of the map in a strip, which bounds memory.
STRIP = 32


def dense_side(window: int) -> int:
  """Side of the features that the first dense layer reads of a window.

  Raises:
    ValueError: a window of another size than 40, 48, 56 and so on.
  """
  if window < LEAST_WINDOW or window % STRIDE:
    raise ValueError(f"window is {window}, should be a multiple of {STRIDE}, at least {LEAST_WINDOW} pixels")
  return (window - LEAST_WINDOW) // STRIDE + 1


def scaled_channels(width: float) -> tuple[int, ...]:
  """AlexNet's numbers of channels times a factor, at least one each."""
  return tuple(max(1, round(width * count)) for count in CHANNELS)


def _layer(features: int, side: int, name: str) -> Conv:
  return Conv(features, (side, side), padding="VALID", use_bias=True, kernel_init=nn.initializers.he_normal(), name=name)


class HeatMapNet(nn.Module):
  """Scores of no face and face in all windows: [B, H, W, 3] to [B, (H − window) // 8 + 1, (W − window) // 8 + 1, outputs].

  Attributes:
    window: side of a window in pixels.
    channels: of the five convolutions.
    dense: numbers of the two dense layers before the scores.
    dropout: share of them that is dropped in training.
    outputs: numbers of a window, of which the scores are the first two.
  """

  window: int = 48
  channels: tuple[int, ...] = scaled_channels(0.25)
  dense: int = 256
  dropout: float = 0.5
  outputs: int = SCORES

  @nn.compact
  def __call__(self, x_bhwc: Array, train: bool = False) -> Array:
    """Applies the network to float images (RGB − 127.5) / 128 of at least one window."""
    for number, (features, side) in enumerate(zip(self.channels, _KERNELS, strict=True), 1):
      x_bhwc = nn.relu(_layer(features, side, f"conv{number}")(x_bhwc))
      if number in _POOLED:
        x_bhwc = max_pool(x_bhwc, (2, 2), (2, 2))
    for number, side in ((6, dense_side(self.window)), (7, 1)):
      x_bhwc = nn.relu(_layer(self.dense, side, f"fc{number}")(x_bhwc))
      x_bhwc = nn.Dropout(self.dropout, deterministic=not train)(x_bhwc)
    return _layer(self.outputs, 1, "fc8")(x_bhwc)


class WindowNet(nn.Module):
  """The network on single windows, for training: [B, window, window, 3] to [B, outputs]."""

  net: HeatMapNet

  @nn.compact
  def __call__(self, image_bhwc: Array, train: bool = False) -> Array:
    """Scores of windows in the input convention."""
    return self.net(image_bhwc, train).reshape(len(image_bhwc), self.net.outputs)


def net_of(params: dict[str, Any], outputs: int = SCORES) -> HeatMapNet:
  """The network to which parameters belong; sizes and channels are read from their shapes.

  Args:
    params: the parameters.
    outputs: numbers of a window that it has to give.
  Raises:
    ValueError: layers are missing, or have other shapes.
  """
  try:
    channels = tuple(int(np.shape(params[f"conv{number}"]["kernel"])[-1]) for number in range(1, 6))
    side, dense = (int(np.shape(params["fc6"]["kernel"])[axis]) for axis in (0, -1))
    net = HeatMapNet(LEAST_WINDOW + STRIDE * (side - 1), channels, dense, outputs=outputs)
  except (KeyError, IndexError, TypeError) as error:
    raise ValueError(f"the parameters have {', '.join(sorted(params)) or 'no layer'}: the network has conv1 to conv5 and fc6 to fc8") from error
  check_shapes(net, net.window, params, f" with windows of {net.window} pixels")
  return net


@partial(jax.jit, static_argnames=("net", "strip"))
def heat_map(net: HeatMapNet, params: Any, image_bhwc: Array, strip: int = STRIP) -> Array:
  """Probabilities of a face in the windows that begin at each eighth pixel: [B, rows, columns] float32.

  Computed in strips of the image, some of them in one pass.

  Args:
    net: the network.
    params: its parameters.
    image_bhwc: [B, H, W, 3] in 0..255, at least one window high and wide.
    strip: rows of the map in a strip, see `by_strips`.
  """

  def scores(part_bhwc: Array) -> Array:
    return jax.nn.softmax(jnp.asarray(net.apply({"params": params}, normalise(part_bhwc)), jnp.float32))[..., 1]

  return by_strips(scores, image_bhwc, window=net.window, stride=STRIDE, rows=strip)


__all__ = ["CHANNELS", "LEAST_WINDOW", "STRIDE", "STRIP", "HeatMapNet", "WindowNet", "dense_side", "heat_map", "net_of", "scaled_channels"]
