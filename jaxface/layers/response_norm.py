"""Local response normalisation: each channel is divided by a power of its neighbours' sum of squares."""

from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import Array, lax


def _neighbours(x: Array, n: int) -> Array:
  """The sum over the `n` channels around each channel, as shifted sums."""
  padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(n // 2, n // 2)])
  return reduce(jnp.add, (lax.slice_in_dim(padded, i, i + x.shape[-1], axis=-1) for i in range(n)))


def _inverse_power(t: Array, beta: float) -> Array:
  """t^-beta; two square roots for the usual exponent 0.75, since a general power costs more than all the rest."""
  if beta == 0.75:
    root = lax.rsqrt(t)
    return root * jnp.sqrt(root)
  return t**-beta


# Written by hand the gradient is one more sum over neighbours; the one JAX derives scatters five and takes three times as long.
@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _normalise(x: Array, n: int, k: float, alpha: float, beta: float) -> Array:
  return _value(x, n, k, alpha, beta)[0]


def _value(x: Array, n: int, k: float, alpha: float, beta: float) -> tuple[Array, tuple[Array, Array]]:
  t = k + alpha * _neighbours(x * x, n)
  return x * _inverse_power(t, beta), (x, t)


def _pull_back(n: int, k: float, alpha: float, beta: float, saved: tuple[Array, Array], dy: Array) -> tuple[Array]:
  x, t = saved
  scaled = dy * _inverse_power(t, beta)
  return (scaled - 2 * alpha * beta * x * _neighbours(x * scaled / t, n),)


_normalise.defvjp(_value, _pull_back)


def local_response_norm(x: Array, *, n: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75) -> Array:
  """x_c / (k + alpha · Σ x_i²)^beta over the `n` channels i around c that exist.

  `alpha` multiplies the sum, as in AlexNet's paper and in TensorFlow. Caffe and PyTorch multiply the mean: their alpha is
  `n` times this one.

  Args:
    x: [..., C] float; narrower types than float32 are computed in float32.
    n: number of channels in a sum, including c; odd.
    k: constant added to the sum.
    alpha: factor on the sum.
    beta: exponent.
  Returns:
    [..., C], with the dtype of `x`.
  Raises:
    ValueError: `n` is even or not positive.
  Source: Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", 2012, section 3.3.
  """
  if n < 1 or n % 2 == 0:
    raise ValueError(f"local response normalisation over {n} channels: needs a positive odd number, centred on the normalised channel")
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  return _normalise(wide, n, k, alpha, beta).astype(x.dtype)


__all__ = ["local_response_norm"]
