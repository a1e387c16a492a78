"""The shared block: symmetric padding, depthwise filters, linear blocks."""

import jax
import numpy as np

from jaxface.layers.blocks import ConvNorm


def _numbers(module, x_bhwc):
  variables = module.init(jax.random.key(0), x_bhwc, False)
  return variables["params"], np.asarray(jax.jit(lambda v, x: module.apply(v, x, False))(variables, x_bhwc))


def test_a_stride_of_two_pads_both_sides_alike():
  x_bhwc = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype(np.float32)
  params, y_bhwc = _numbers(ConvNorm(4, stride=2, activation=None), x_bhwc)
  kernel_hwio = np.asarray(params["conv"]["kernel"], np.float64)
  padded_bhwc = np.pad(x_bhwc, ((0, 0), (1, 1), (1, 1), (0, 0)))
  expected = np.zeros((2, 3, 3, 4))
  for row in range(3):
    for column in range(3):
      window = padded_bhwc[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
      expected[:, row, column] = np.einsum("bhwi,hwio->bo", window, kernel_hwio)
  np.testing.assert_allclose(y_bhwc, expected / np.sqrt(1 + 1e-5), atol=1e-4)


def test_depthwise_mixes_no_channels_and_a_linear_block_goes_below_zero():
  x_bhwc = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype(np.float32)
  module = ConvNorm(3, depthwise=True, activation=None)
  params, y_bhwc = _numbers(module, x_bhwc)
  assert params["conv"]["kernel"].shape == (3, 3, 1, 3)
  assert y_bhwc.min() < 0
  x_bhwc[..., 0] = 0
  _, changed_bhwc = _numbers(module, x_bhwc)
  assert not changed_bhwc[..., 0].any()
  np.testing.assert_array_equal(changed_bhwc[..., 1:], y_bhwc[..., 1:])
