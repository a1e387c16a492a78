"""How many images per second a network embeds and learns from here."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxface.models.registry import create, model_options
from jaxface.models.summary import summarise

# Larger nets get smaller batches, so that a step stays in seconds.
_WORK = 60e9
_BATCHES = (4, 64)


@dataclass(frozen=True)
class Speed:
  """Images per second.

  Attributes:
    batch: images at a time.
    dtype: of the computation.
    forward: embedding alone.
    train: forward, backward and a step of gradient descent, without augmentation and classes.
  """

  batch: int
  dtype: str
  forward: float
  train: float


def measure_speed(name: str, multiply_adds: int = 0, *, dtype: str = "float32", seconds: float = 2.0) -> Speed:
  """Time a network at its own input size, with the formulation that is in force.

  Args:
    name: of the network.
    multiply_adds: of one image, which says how large a batch is bearable; 0 counts them.
    dtype: of the computation.
    seconds: how long each of the two is repeated, after a first call that compiles; five times at least.
  Returns:
    `Speed`.
  Raises:
    ValueError: no such network; the message lists near names.
  """
  multiply_adds = multiply_adds or summarise(name).multiply_adds
  if dtype != "float32" or "dtype" in model_options(name):
    module = create(name, dtype=dtype)
  else:
    module = create(name)
  low, high = _BATCHES
  batch = low
  while batch < high and 2 * batch * multiply_adds <= _WORK:
    batch *= 2
  least, most = module.convention.range
  shape = (batch, *module.convention.size, module.convention.channels)
  image_bhwc = jax.random.uniform(jax.random.key(0), shape, minval=least, maxval=most)
  # These random bits are quick to compile.
  key = jax.random.key(1, impl="rbg")
  variables = jax.jit(lambda key: module.init(key, jnp.zeros(shape), train=False))(key)
  forward = jax.jit(lambda v, x: module.apply(v, x, train=False))
  forward_seconds, _ = _repeat(lambda v: (v, forward(v, image_bhwc)), variables, seconds)

  def loss(params: Any, stats: Any, x: Any) -> Any:
    embedding_bd, moved = module.apply(
      {"params": params, **stats}, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(2)}
    )
    return jnp.square(embedding_bd).mean(), moved

  def step(v: Any, x: Any) -> Any:
    stats = {key: value for key, value in v.items() if key != "params"}
    grads, moved = jax.grad(loss, has_aux=True)(v["params"], stats, x)
    return {"params": jax.tree.map(lambda p, g: p - 1e-6 * g, v["params"], grads), **stats, **moved}

  train = jax.jit(step, donate_argnums=0)

  def train_once(v: Any) -> Any:
    v = train(v, image_bhwc)
    return v, v

  train_seconds, _ = _repeat(train_once, variables, seconds)
  return Speed(batch, dtype, batch / forward_seconds, batch / train_seconds)


def _repeat(call: Callable[[Any], tuple[Any, Any]], value: Any, seconds: float) -> tuple[float, Any]:
  """Median seconds of a call whose first result is its next argument and whose second one is waited for.

  Of five at least: one that finds its memory given back to the system can take six times as long.
  """
  value, result = call(value)
  jax.block_until_ready(result)
  taken: list[float] = []
  while len(taken) < 5 or sum(taken) < seconds:
    start = time.perf_counter()
    value, result = call(value)
    jax.block_until_ready(result)
    taken.append(time.perf_counter() - start)
  return statistics.median(taken), value


__all__ = ["Speed", "measure_speed"]
