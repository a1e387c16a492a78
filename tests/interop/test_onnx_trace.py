"""JAX functions against the ONNX they become, at several batch sizes."""

from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from jax import lax

from jaxface.interop.onnx_trace import to_onnx
from jaxface.interop.onnx_values import Unsupported
from jaxface.layers.activation import prelu, relu, relu6

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(3, 3, 6, 4)).astype(np.float32)
GROUPED = RNG.normal(size=(3, 2, 2, 9)).astype(np.float32)
SLOPE = RNG.uniform(size=6).astype(np.float32)
MATRIX = RNG.normal(size=(6, 5)).astype(np.float32)


def _conv(x, kernel=KERNEL, strides=(2, 1), padding=((1, 1), (0, 2)), **options):
  return lax.conv_general_dilated(
    x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
  )


def _norm(x):
  return x / jnp.sqrt((x * x).sum(-1, keepdims=True) + 1e-6)


def _maxout(x):
  half = x.shape[-1] // 2
  return jnp.maximum(x[..., :half], x[..., half:])


def _attention(x):
  tokens_btd = x.reshape(x.shape[0], -1, x.shape[-1])
  weight = jax.nn.softmax(jnp.einsum("btd,bsd->bts", tokens_btd, tokens_btd) / 3)
  return jnp.einsum("bts,bsd->btd", weight, tokens_btd).mean(1)


FUNCTIONS = {
  "arithmetic": lambda x: (2 - x) * x / (3 + x * x) - x**3 + jnp.abs(x) ** 0.5,
  "functions": lambda x: jnp.tanh(x) + jnp.exp(-x) + jax.nn.sigmoid(x) + jnp.log1p(x * x) + jax.nn.gelu(x),
  "rounding": lambda x: jnp.floor(x) + 2 * jnp.ceil(x) + jnp.sign(x) + lax.rsqrt(1 + x * x),
  "comparisons": lambda x: jnp.where((x > 0.5) | ((x < 0) & (x != -1)), x, jnp.zeros_like(x)),
  "rectifiers": lambda x: relu(x) + relu6(3 * x) + prelu(x, SLOPE) + jnp.clip(x, -0.5, 0.25),
  "softmax": jax.nn.softmax,
  "length": _norm,
  "layer norm": lambda x: (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5),
  "reductions": lambda x: x.max((1, 2)) - x.min((1, 2)) + x.mean((1, 2)),
  "conv": _conv,
  "dilated conv": lambda x: _conv(x, rhs_dilation=(1, 2)),
  "grouped conv": lambda x: _conv(x, GROUPED, (1, 1), "SAME", feature_group_count=3),
  "conv, then shapes": lambda x: _conv(x).transpose(0, 2, 1, 3).reshape(x.shape[0], -1)[:, 3:-2:2],
  "conv, reduced": lambda x: _conv(x).sum(2),
  "conv, prelu, norm": lambda x: _norm(prelu(_conv(x), SLOPE[:4])),
  "pools": lambda x: jnp.concatenate(
    [
      nn.max_pool(x, (3, 2), (2, 2), "SAME"),
      nn.avg_pool(x, (2, 2), (2, 2), "SAME"),
    ],
    axis=-1,
  ),
  "convs of members": lambda x: jax.vmap(_conv, (0, 0), 1)(jnp.stack([x, x * x]), jnp.stack([KERNEL, 2 - KERNEL])),
  "reshape that turns": lambda x: lax.reshape(_conv(x), (x.shape[0], 16, 8), (0, 3, 1, 2)),
  "pools of members": lambda x: jax.vmap(
    lambda x, factor: nn.max_pool(factor * _conv(x), (3, 2), (2, 2)) + nn.avg_pool(_conv(x), (3, 2), (2, 2)), (None, 0), 1
  )(x, jnp.arange(1.0, 4.0)),
  "maxout": lambda x: _maxout(_conv(x)),
  "split": lambda x: jnp.split(x, [2, 3], axis=1)[2] * jnp.split(x, 2, axis=3)[1].sum(),
  "pad": lambda x: jnp.pad(_conv(x), ((0, 0), (1, 0), (2, 3), (0, 1)), constant_values=2.0),
  "pad and cut": lambda x: lax.pad(_conv(x), 1.5, ((0, 0, 0), (-1, 2, 0), (0, -3, 0), (1, -1, 0))),
  "cut only": lambda x: lax.pad(_conv(x), 1.5, ((0, 0, 0), (-1, 0, 0), (0, -3, 0), (0, 0, 0))),
  "turned round": lambda x: _conv(x)[:, ::-1, :, ::-1] + jnp.flip(_conv(x), 2),
  "slice at a constant position": lambda x: lax.dynamic_slice(_conv(x), (0, 2, 7, 1), (x.shape[0], 2, 3, 2)),
  "slices of members": lambda x: jax.vmap(
    lambda x: lax.dynamic_slice_in_dim(x, np.int32(2), 3, 1), 3, 1
  )(_conv(x)) + jax.vmap(lambda x: x[:, 1:4, 3], 3, 1)(_conv(x))[..., None],
  "more rows in between": lambda x: jnp.concatenate([x, 2 * x, x * x]).reshape(3, *x.shape).transpose(1, 0, 2, 3, 4),
  "stacks": lambda x: jnp.stack([x, 2 * x, x * x], 1).sum(2) + jnp.stack([x[:, 0], x[:, 1], x[:, 2]], 1),
  "stack in front": lambda x: jnp.stack([_conv(x), -_conv(x)]).transpose(1, 0, 2, 3, 4),
  "stack at the end": lambda x: jnp.stack([_conv(x), -_conv(x), jnp.tanh(_conv(x))], -1),
  "concatenate": lambda x: jnp.concatenate([_conv(x), _conv(x, 2 * KERNEL)], 1),
  "dense": lambda x: x.mean((1, 2)) @ MATRIX + MATRIX[0],
  "per pixel": lambda x: x @ MATRIX,
  "attention": _attention,
  "remat": lambda x: jax.checkpoint(lambda y: jnp.tanh(y) * y)(x),
  "integers": lambda x: (x * 10).astype(jnp.int32) + 1,
  "reshaped repetition": lambda x: (x.mean(3)[..., None] * jnp.ones(4)).reshape(x.shape[0], -1),
  "the argument itself": lambda x: x,
  "mean over the rows seen from outside": lambda x: jnp.broadcast_to(
    x.mean((1, 2, 3))[:, None], (x.shape[0], 3)
  ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_onnx_runtime_agrees_at_any_batch_size(name):
  model = to_onnx(FUNCTIONS[name], (7, 8, 6), np.float32, names=("x", "y"))
  session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
  for batch in (1, 4):
    x = np.random.default_rng(batch).normal(size=(batch, 7, 8, 6)).astype(np.float32)
    if name == "split":  # it sums over the batch, which is fine, but large
      x = x / 10
    expected = np.asarray(jax.jit(FUNCTIONS[name])(x))
    (found,) = session.run(None, {"x": x})
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)


def _ops(function) -> Counter:
  return Counter(node.op_type for node in to_onnx(function, (7, 8, 6), np.float32).graph.node)


def test_norms_fold_into_the_product_before_them():
  mean, scale = RNG.normal(size=4).astype(np.float32), RNG.normal(size=4).astype(np.float32)
  assert _ops(lambda x: ((_conv(x) + mean) - mean) * scale + 1) == {"Transpose": 2, "Conv": 1}
  assert _ops(lambda x: (x.reshape(x.shape[0], -1) @ np.ones((336, 4), np.float32) - mean) * scale) == {
    "Reshape": 1,
    "Gemm": 1,
  }
  # The result before the norm is used as well: folding would change it.
  assert _ops(lambda x: jnp.tanh(_conv(x)) + _conv(x) * scale) == {
    "Transpose": 2,
    "Conv": 1,
    "Tanh": 1,
    "Mul": 1,
    "Add": 1,
  }
  # Nothing to fold into: three operations become two.
  assert _ops(lambda x: (jnp.tanh(x) - 1) * 2 + 3) == {"Tanh": 1, "Mul": 1, "Add": 1}


def test_a_chain_of_convolutions_transposes_at_its_ends_only():
  def chain(x):
    for _ in range(3):
      x = prelu(_conv(x, RNG.normal(size=(3, 3, 6, 6)).astype(np.float32), (1, 1), "SAME"), SLOPE) + x
    return x

  assert _ops(chain) == {"Transpose": 2, "Conv": 3, "PRelu": 3, "Add": 3}


@pytest.mark.parametrize(
  ("function", "words"),
  [
    (lambda x: jnp.sort(x), ["'sort'", "float32[batch,7,8,6]", "conv_general_dilated"]),
    (lambda x: x[:-1], ["slice", "batch"]),
    (lambda x: jnp.pad(x, ((0, 1), (0, 0), (0, 0), (0, 0))), ["pad", "batch"]),
    (lambda x: x[::-1], ["rev", "batch"]),
    (lambda x: jnp.concatenate([x, x]), ["[2·batch, 7, 8, 6]"]),
    (lambda x: x.sum(0), ["[7, 8, 6]", "does not begin with the batch"]),
    (lambda x: lax.dynamic_slice_in_dim(x, x.astype(int).max(), 2, 1), ["position depends on the image"]),
    (lambda x: x[:, np.array([0, 3, 1])], ["gather of more than one"]),
    (lambda x: lax.pad(x, 0.0, ((0, 0, 0), (0, 0, 1), (0, 0, 0), (0, 0, 0))), ["interior"]),
    (lambda x: x + 2 * jnp.arange(x.shape[0] * 6.0).reshape(-1, 1, 1, 6), ["'iota'", "batch"]),
    (lambda x: lax.conv_transpose(x, KERNEL, (2, 2), "SAME"), ["convolution"]),
    (lambda x: jnp.ones(3), ["does not depend"]),
  ],
)
def test_what_cannot_be_said_is_named(function, words):
  with pytest.raises(Unsupported) as error:
    to_onnx(function, (7, 8, 6), np.float32)
  for word in words:
    assert word in str(error.value)


def test_opset_is_checked():
  with pytest.raises(ValueError, match=r"opset 21.*13 to 17"):
    to_onnx(jnp.tanh, (1,), np.float32, opset=21)
  assert to_onnx(jnp.tanh, (1,), np.float32, opset=13).opset_import[0].version == 13
