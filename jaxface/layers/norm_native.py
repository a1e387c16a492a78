"""Batch norm, activation and shortcut addition in a few native passes over memory on a CPU.

z = slope·x + offset with slope = scale/σ and offset = bias − μ·slope; y = act(z) + shortcut. XLA uses separate passes
for each and saves z for the gradient. Here the forward pass reads x twice and writes y once, and the backward pass reads x
and dy twice and writes dx once. Arrays of size [C] are computed in JAX, so a mesh sums statistics over all its devices.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxface.layers.native_call import IMAGES, SHARED, native_call
from jaxface.layers.norm_plain import Passes

# As jaxface/native/activation.h numbers them.
CODES = {None: 0, "prelu": 1, "relu": 2, "relu6": 3}


def _like(x: Array, *_: Array) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _rows(count: int) -> Callable[..., jax.ShapeDtypeStruct]:
  return lambda x, *_: jax.ShapeDtypeStruct((x.shape[0], count, x.shape[-1]), jnp.float32)


def _merge_moments(part_k2c: Array, axes: Any) -> Array:
  """Mean and variance over all devices, which have equal numbers of rows."""
  mean, var = part_k2c[:, 0], part_k2c[:, 1]
  whole = lax.pmean(mean, axes)
  return jnp.stack([whole, lax.pmean(var + (mean - whole) ** 2, axes)], axis=1)


def _refuse(saved: None, cotangent: Array) -> tuple:
  raise TypeError(
    'native batch norm has first derivatives only; for higher ones trace the function inside `with formulation("pure"):` '
    "(jaxface.layers.formulation), or set JAXFACE_CPU_CONV=pure"
  )


@functools.cache
def _native(name: str, activation: str | None) -> Callable[..., Array]:
  run = _passes(name, activation)
  once = jax.custom_vjp(run)
  once.defvjp(lambda *arrays: (run(*arrays), None), _refuse)
  return once


def _passes(name: str, activation: str | None) -> Callable[..., Array]:
  act, plain = CODES[activation], Passes(activation)
  if name == "moments":
    return native_call("JaxfaceNormMoments", _rows(2), (IMAGES,), SHARED, plain.moments, merge=_merge_moments)
  if name == "apply":
    return native_call("JaxfaceNormApply", _like, (IMAGES, SHARED), IMAGES, plain.apply, act=act)
  if name == "apply_add":
    return native_call("JaxfaceNormApplyAdd", _like, (IMAGES, IMAGES, SHARED), IMAGES, plain.apply_add, act=act)
  if name == "sums":
    return native_call("JaxfaceNormSums", _rows(3), (IMAGES, IMAGES, SHARED), SHARED, plain.sums, act=act)
  return native_call(
    "JaxfaceNormInputGradient", _like, (IMAGES, IMAGES, SHARED), IMAGES, plain.input_gradient, act=act
  )


def _canonical(x_bhwc: Array) -> Array:
  """[1, B, H·W, C]: one call, spatial axes flattened."""
  return x_bhwc.reshape(1, x_bhwc.shape[0], -1, x_bhwc.shape[-1])


def _stack(*row_c: Array | None) -> Array:
  """[1, rows, C]; a row that is None becomes zeros."""
  like = next(row for row in row_c if row is not None)
  return jnp.stack([jnp.zeros_like(like) if row is None else row for row in row_c])[None]


def _apply(activation: str | None, x: Array, shortcut: Array | None, *row_c: Array | None) -> Array:
  """act(slope·x + offset) + shortcut for rows slope, offset, alpha."""
  if shortcut is None:
    y = _native("apply", activation)(_canonical(x), _stack(*row_c))
  else:
    y = _native("apply_add", activation)(_canonical(x), _canonical(shortcut), _stack(*row_c))
  return y.reshape(x.shape)


def _sums(activation: str | None, x: Array, dy: Array, *row_c: Array | None) -> Array:
  """[3, C]: Σ dz, Σ dz·(x − mean), gradient of alpha; for rows slope, offset, alpha, mean."""
  return _native("sums", activation)(_canonical(x), _canonical(dy), _stack(*row_c))[0]


def _input_gradient(activation: str | None, x: Array, dy: Array, *row_c: Array | None) -> Array:
  """p·dz + q·(x − mean) + t for rows slope, offset, alpha, mean, p, q, t."""
  return _native("input", activation)(_canonical(x), _canonical(dy), _stack(*row_c)).reshape(x.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def train_norm(
  activation: str | None, epsilon: float, x: Array, scale_c: Array, bias_c: Array, alpha_c: Array | None,
  shortcut: Array | None,
) -> tuple[Array, Array, Array]:
  """Normalise by the statistics of the batch, activate, add.

  Args:
    activation: a key of `CODES`.
    epsilon: added to the variance.
    x: [B, H, W, C] float32 or bfloat16.
    scale_c: [C] float32.
    bias_c: [C] float32.
    alpha_c: [C] float32, slopes of "prelu"; or None.
    shortcut: an array of the shape and dtype of `x`, or None.

  Returns:
    The result, with the dtype of `x`; mean [C] and (biased) variance [C], float32, which carry no gradient.
  """
  return _train_forward(activation, epsilon, x, scale_c, bias_c, alpha_c, shortcut)[0]


def _train_forward(
  activation: str | None, epsilon: float, x: Array, scale_c: Array, bias_c: Array, alpha_c: Array | None,
  shortcut: Array | None,
) -> tuple:
  mean_c, var_c = _native("moments", None)(_canonical(x))[0]
  inverse_c = lax.rsqrt(var_c + epsilon)
  slope_c = scale_c * inverse_c
  rows = slope_c, bias_c - mean_c * slope_c, alpha_c
  y = _apply(activation, x, shortcut, *rows)
  return (y, mean_c, var_c), (x, rows, mean_c, inverse_c, shortcut is None)


def _train_backward(activation: str | None, epsilon: float, saved: tuple, cotangents: tuple) -> tuple:
  x, rows, mean_c, inverse_c, alone = saved
  dy, slope_c, count = cotangents[0], rows[0], x.size // x.shape[-1]
  dbias_c, moment_c, dalpha_c = _sums(activation, x, dy, *rows, mean_c)
  dscale_c = moment_c * inverse_c
  # dx = slope·(dz − Σdz/N − (x − μ)/σ · Σ(dz·(x − μ)/σ)/N)
  dx = _input_gradient(
    activation, x, dy, *rows, mean_c, slope_c, -slope_c * inverse_c * dscale_c / count, -slope_c * dbias_c / count
  )
  return dx, dscale_c, dbias_c, None if rows[2] is None else dalpha_c, None if alone else dy


train_norm.defvjp(_train_forward, _train_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def affine(
  activation: str | None, x: Array, slope_c: Array, offset_c: Array, alpha_c: Array | None, shortcut: Array | None
) -> Array:
  """act(slope·x + offset) + shortcut: batch norm with given statistics.

  Args:
    activation: a key of `CODES`.
    x: [B, H, W, C] float32 or bfloat16.
    slope_c: [C] float32.
    offset_c: [C] float32.
    alpha_c: [C] float32, slopes of "prelu"; or None.
    shortcut: of the shape and type of `x`, or None.
  Returns:
    An array of the shape and dtype of `x`.
  """
  return _apply(activation, x, shortcut, slope_c, offset_c, alpha_c)


def _affine_forward(
  activation: str | None, x: Array, slope_c: Array, offset_c: Array, alpha_c: Array | None, shortcut: Array | None
) -> tuple:
  return affine(activation, x, slope_c, offset_c, alpha_c, shortcut), (x, (slope_c, offset_c, alpha_c), shortcut is None)


def _affine_backward(activation: str | None, saved: tuple, dy: Array) -> tuple:
  x, rows, alone = saved
  doffset_c, dslope_c, dalpha_c = _sums(activation, x, dy, *rows, None)
  dx = _input_gradient(activation, x, dy, *rows, None, rows[0], None, None)
  return dx, dslope_c, doffset_c, None if rows[2] is None else dalpha_c, None if alone else dy


affine.defvjp(_affine_forward, _affine_backward)


__all__ = ["CODES", "affine", "train_norm"]
