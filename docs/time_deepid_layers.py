"""Processor time of DeepID's layers, value and gradients, for 64 patches of 39×31 pixels, and what it makes of a step of sixty networks.

The last layer, the classifiers, the crops and the update come in addition.

Command: python docs/time_deepid_layers.py
"""

import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.layers.convolution import conv
from jaxface.layers.local import locally_connected
from jaxface.layers.local_shared import locally_shared_conv
from jaxface.layers.pooling import max_pool

PATCHES, NETWORKS, BATCH = 64, 60, 128


def drawn(*shape: int) -> jax.Array:
  """Normal numbers."""
  return jnp.asarray(np.random.default_rng(0).normal(size=shape).astype(np.float32))


def busy_seconds(layer: Callable, *arrays: jax.Array) -> float:
  """Processor time of all gradients of a layer, the smallest of three."""
  step = jax.jit(jax.grad(lambda *given: (layer(*given) ** 2).sum(), argnums=tuple(range(len(arrays)))))
  jax.block_until_ready(step(*arrays))
  found = []
  for _ in range(3):
    begun = time.process_time()
    jax.block_until_ready(step(*arrays))
    found.append(time.process_time() - begun)
  return min(found)


def main() -> int:
  n = PATCHES
  layers: dict[str, tuple] = {
    "conv1": (lambda x, k: conv(x, k, padding="VALID"), drawn(n, 39, 31, 3), drawn(4, 4, 3, 20)),
    "conv2": (lambda x, k: conv(x, k, padding="VALID"), drawn(n, 18, 14, 20), drawn(3, 3, 20, 40)),
    "conv3": (lambda x, k: locally_shared_conv(x, k, 2), drawn(n, 8, 6, 40), drawn(3, 2, 3, 3, 40, 60)),
    "conv4": (locally_connected, drawn(n, 3, 2, 60), drawn(2, 1, 2, 2, 60, 80)),
    "pool1": (lambda x: max_pool(x, (2, 2), (2, 2)), drawn(n, 36, 28, 20)),
    "pool2": (lambda x: max_pool(x, (2, 2), (2, 2)), drawn(n, 16, 12, 40)),
  }
  total = 0.0
  for name, (layer, *arrays) in layers.items():
    total += (seconds := busy_seconds(layer, *arrays))
    print(f"{name}: {seconds:.4f} s")
  print(f"{NETWORKS} networks, {BATCH} images: {total * NETWORKS * BATCH / n:.2f} s of processor time a step")
  return 0


if __name__ == "__main__":
  sys.exit(main())
