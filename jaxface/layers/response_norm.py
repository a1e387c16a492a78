"""Local response normalisation: each channel is held down by the squares of its neighbours."""

from functools import reduce

import jax.numpy as jnp
from jax import Array, lax


def local_response_norm(x: Array, *, n: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75) -> Array:
  """x_c / (k + alpha · Σ x_i²)^beta over the `n` channels i around c that exist.

  `alpha` multiplies the sum, as in AlexNet's paper and in TensorFlow. Caffe and PyTorch multiply the mean: their alpha is
  `n` times this one.

  Args:
    x: [..., C] float; narrower types than float32 are computed in float32.
    n: neighbouring channels in a sum, itself included; odd.
    k: added to the sum.
    alpha: factor on the sum.
    beta: exponent.
  Returns:
    [..., C], of the type of `x`.
  Raises:
    ValueError: `n` is even or not positive.
  Source: Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", 2012, section 3.3.
  """
  if n < 1 or n % 2 == 0:
    raise ValueError(f"local response normalisation over {n} channels: takes an odd number, the middle one is normalised")
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  edges = ((0, 0, 0),) * (x.ndim - 1) + ((n // 2, n // 2, 0),)
  square = lax.pad(wide * wide, jnp.zeros((), wide.dtype), edges)
  total = reduce(jnp.add, (lax.slice_in_dim(square, i, i + x.shape[-1], axis=-1) for i in range(n)))
  return (wide * (k + alpha * total) ** -beta).astype(x.dtype)


__all__ = ["local_response_norm"]
