"""Batch norm with its activation and a shortcut by its definition, in either library, for the tests of the native passes."""

import jax
import jax.numpy as jnp
import numpy as np

EPSILON = 1e-5


def operands(seed, shape, activation, with_shortcut, dtype=jnp.float32, mean=0.3):
  """x, scale, bias, alpha, shortcut."""
  rng = np.random.default_rng(seed)
  channels = shape[-1]
  x, shortcut = (jnp.asarray(rng.normal(offset, 1.5, shape), dtype) for offset in (mean, 0))
  scale_c, bias_c = (jnp.asarray(rng.normal(offset, 0.5, channels), jnp.float32) for offset in (1, 2))
  alpha_c = jnp.asarray(rng.uniform(-0.5, 0.5, channels), jnp.float32)
  return x, scale_c, bias_c, alpha_c if activation == "prelu" else None, shortcut if with_shortcut else None


def activated(xp, activation, z, alpha_c):
  if activation == "prelu":
    return xp.where(z >= 0, z, alpha_c * z)
  return {None: z, "relu": xp.maximum(z, 0), "relu6": xp.clip(z, 0, 6)}[activation]


def definition(xp, activation, x, scale_c, bias_c, alpha_c, shortcut):
  """What `train_norm` is, in either library."""
  mean_c, var_c = x.mean((0, 1, 2)), x.var((0, 1, 2))
  y = activated(xp, activation, (x - mean_c) / xp.sqrt(var_c + EPSILON) * scale_c + bias_c, alpha_c)
  return y if shortcut is None else y + shortcut, mean_c, var_c


def straight(xp, activation, x, slope_c, offset_c, alpha_c, shortcut):
  """What `affine` is."""
  y = activated(xp, activation, slope_c * x + offset_c, alpha_c)
  return y if shortcut is None else y + shortcut


def wide(tree):
  return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def gradients(function, given, dy):
  """Of Σ y·dy for every array that there is."""
  there = [i for i, array in enumerate(given) if array is not None]

  def value(*some):
    whole = list(given)
    for i, array in zip(there, some):
      whole[i] = array
    return function(*whole)

  return jax.vjp(value, *(given[i] for i in there))[1](dy)


def exact_gradients(function, given, dy):
  with jax.enable_x64(True):
    return jax.tree.map(np.asarray, jax.jit(lambda g, dy: gradients(function, g, dy))(wide(given), wide(dy)))
