"""Splits a batch into chunks of a few images, so that a convolution's unfolded windows stay in the cache."""

import math

import jax
from jax import Array

IMAGES = 16


def images_per_chunk(x_bhwc: Array) -> int:
  """Images processed at once on all CPU devices together; a divisor of the batch size."""
  inside_shard_map = jax.sharding.get_abstract_mesh().manual_axes
  devices = 1 if inside_shard_map else _cpu_devices()
  return math.gcd(x_bhwc.shape[0], IMAGES * devices)


def _cpu_devices() -> int:
  """CPU devices of all processes. Chunked code is lowered for them, whatever the default backend is."""
  try:
    return jax.device_count("cpu")
  except RuntimeError:  # JAX_PLATFORMS names other platforms only
    return 1


def split(x: Array, images: int) -> Array:
  """[B, ...] to [B / images, images, ...]; each chunk takes images at regular intervals of the batch.

  A mesh shards the batch into contiguous parts: a chunk of neighbours would lie on one device and have to be gathered.
  """
  return x.reshape(images, x.shape[0] // images, *x.shape[1:]).swapaxes(0, 1)


def join(x: Array) -> Array:
  """Inverse of `split`."""
  return x.swapaxes(0, 1).reshape(x.shape[0] * x.shape[1], *x.shape[2:])


__all__ = ["images_per_chunk", "join", "split"]
