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
from jaxface.layers.norm_scope import WHOLE, NormScope

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


def _canonical(x_bhwc: Array, groups: int = 1) -> Array:
  """[1, B, H·W, C]: one call, spatial axes flattened; with groups [B, 1, H·W, C]: one call per image.

  Groups of images could be calls too, but where a group spans some of the devices, its axis would be sharded over a part of a mesh
  axis, which `custom_partitioning` cannot express.
  """
  calls = (1, len(x_bhwc)) if groups == 1 else (len(x_bhwc), 1)
  return x_bhwc.reshape(*calls, -1, x_bhwc.shape[-1])


def _stack(calls: int, *row: Array | None) -> Array:
  """[calls, rows, C] from rows [C] or, one for each group, [G, C]; a row that is None becomes zeros."""
  like = next(each for each in row if each is not None)
  each_gc = [jnp.atleast_2d(jnp.zeros_like(like) if each is None else each) for each in row]
  return jnp.stack([jnp.repeat(each, calls // len(each), axis=0) for each in each_gc], axis=1)


def _apply(activation: str | None, groups: int, x: Array, shortcut: Array | None, *row: Array | None) -> Array:
  """act(slope·x + offset) + shortcut for rows slope, offset, alpha."""
  images = _canonical(x, groups)
  rows = _stack(len(images), *row)
  if shortcut is None:
    y = _native("apply", activation)(images, rows)
  else:
    y = _native("apply_add", activation)(images, _canonical(shortcut, groups), rows)
  return y.reshape(x.shape)


def _moments(x: Array, scope: NormScope) -> tuple[Array, Array]:
  """Mean and (biased) variance of each group, [G, C]."""
  part_n2c = _native("moments", None)(_canonical(x, scope.groups))
  mean_gnc, var_gnc = (part_n2c[:, k].reshape(scope.groups, -1, x.shape[-1]) for k in (0, 1))
  if scope == WHOLE:
    return mean_gnc[:, 0], var_gnc[:, 0]
  mean_gc = mean_gnc.mean(1)
  var_gc = (var_gnc + (mean_gnc - mean_gc[:, None]) ** 2).mean(1)
  if not scope.axes:
    return mean_gc, var_gc
  # One collective for both: the variance as E[x²] − E[x]², as in `batch_normalise`.
  mean_gc, square_gc = scope.mean(jnp.stack([mean_gc, var_gc + mean_gc**2]))
  return mean_gc, jnp.maximum(square_gc - mean_gc**2, 0)


def _sums(activation: str | None, groups: int, x: Array, dy: Array, *row: Array | None) -> Array:
  """[3, G, C]: Σ dz, Σ dz·(x − mean), gradient of alpha; for rows slope, offset, alpha, mean."""
  images = _canonical(x, groups)
  part_n3c = _native("sums", activation)(images, _canonical(dy, groups), _stack(len(images), *row))
  return part_n3c.reshape(groups, -1, 3, x.shape[-1]).sum(1).swapaxes(0, 1)


def _input_gradient(activation: str | None, groups: int, x: Array, dy: Array, *row: Array | None) -> Array:
  """p·dz + q·(x − mean) + t for rows slope, offset, alpha, mean, p, q, t."""
  images = _canonical(x, groups)
  return _native("input", activation)(images, _canonical(dy, groups), _stack(len(images), *row)).reshape(x.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 7))
def train_norm(
  activation: str | None, epsilon: float, x: Array, scale_c: Array, bias_c: Array, alpha_c: Array | None,
  shortcut: Array | None, scope: NormScope = WHOLE,
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
    scope: which rows have common statistics.

  Returns:
    The result, with the dtype of `x`; mean [C] and (biased) variance [C] of a group, averaged over the groups, float32, which
    carry no gradient.
  """
  return _train_forward(activation, epsilon, x, scale_c, bias_c, alpha_c, shortcut, scope)[0]


def _train_forward(
  activation: str | None, epsilon: float, x: Array, scale_c: Array, bias_c: Array, alpha_c: Array | None,
  shortcut: Array | None, scope: NormScope,
) -> tuple:
  mean_gc, var_gc = _moments(x, scope)
  inverse_gc = lax.rsqrt(var_gc + epsilon)
  slope_gc = scale_c * inverse_gc
  rows = slope_gc, bias_c - mean_gc * slope_gc, alpha_c
  y = _apply(activation, scope.groups, x, shortcut, *rows)
  return (y, mean_gc.mean(0), var_gc.mean(0)), (x, rows, mean_gc, inverse_gc, shortcut is None)


def _train_backward(activation: str | None, epsilon: float, scope: NormScope, saved: tuple, cotangents: tuple) -> tuple:
  x, rows, mean_gc, inverse_gc, alone = saved
  dy, slope_gc, groups = cotangents[0], rows[0], scope.groups
  count = x.size // x.shape[-1] // groups
  dbias_gc, moment_gc, dalpha_gc = _sums(activation, groups, x, dy, *rows, mean_gc)
  dscale_gc = moment_gc * inverse_gc
  # Through the statistics every row depends on all rows of the scope; the caller sums the gradients of the parameters.
  mean_dz_gc, mean_moment_gc = scope.mean(dbias_gc / count), scope.mean(dscale_gc / count)
  # dx = slope·(dz − Σdz/N − (x − μ)/σ · Σ(dz·(x − μ)/σ)/N)
  dx = _input_gradient(
    activation, groups, x, dy, *rows, mean_gc, slope_gc, -slope_gc * inverse_gc * mean_moment_gc, -slope_gc * mean_dz_gc
  )
  dalpha_c = None if rows[2] is None else dalpha_gc.sum(0)
  return dx, dscale_gc.sum(0), dbias_gc.sum(0), dalpha_c, None if alone else dy


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
  return _apply(activation, 1, x, shortcut, slope_c, offset_c, alpha_c)


def _affine_forward(
  activation: str | None, x: Array, slope_c: Array, offset_c: Array, alpha_c: Array | None, shortcut: Array | None
) -> tuple:
  return affine(activation, x, slope_c, offset_c, alpha_c, shortcut), (x, (slope_c, offset_c, alpha_c), shortcut is None)


def _affine_backward(activation: str | None, saved: tuple, dy: Array) -> tuple:
  x, rows, alone = saved
  doffset_c, dslope_c, dalpha_c = _sums(activation, 1, x, dy, *rows, None)[:, 0]
  dx = _input_gradient(activation, 1, x, dy, *rows, None, rows[0], None, None)
  return dx, dslope_c, doffset_c, None if rows[2] is None else dalpha_c, None if alone else dy


affine.defvjp(_affine_forward, _affine_backward)


__all__ = ["CODES", "affine", "train_norm"]
