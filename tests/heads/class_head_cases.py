"""Batches and centres for tests of the class head, and meshes of some of the forced devices."""

from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from jaxface.heads.draw import draw
from jaxface.heads.padding import pad_classes

B, D, STEP = 16, 5, 3
DEVICES = (1, 2, 4, 8)


class Case(NamedTuple):
  """One batch against some classes."""

  params: dict
  x_bd: np.ndarray
  label_b: np.ndarray
  weight_b: np.ndarray
  bars: dict


def mesh_of(devices):
  """A mesh of so many devices, of two axes where they allow: a head spreads over all of them."""
  shape = (devices // 2, 2) if devices > 2 else (devices, 1)
  return Mesh(np.asarray(jax.devices()[:devices]).reshape(shape), ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def make_case(margin, classes, labels, seed, dtype=np.float64):
  """Labels in every shard, of few classes, or with rows that are no class or padding."""
  rng = np.random.default_rng(seed)
  params = {"center_cd": rng.normal(size=(classes * margin.geometry.subcenters, D)).astype(dtype)}
  if margin.geometry.bias:
    params["bias_c"] = 0.3 * rng.normal(size=classes).astype(dtype)
  label_b = {
    "everywhere": np.linspace(0, classes - 1, B).round().astype(np.int32),
    "repeated": rng.choice(rng.integers(0, classes, 3), B).astype(np.int32),
    "padded": rng.integers(0, classes, B).astype(np.int32),
  }[labels]
  weight_b = np.ones(B, dtype)
  if labels == "padded":
    weight_b[rng.permutation(B)[: B // 3]] = 0.0
    label_b[weight_b == 0] = rng.choice([-1, classes, 2**31 - 1, -(2**31)], B // 3)
  rows = rng.normal(size=(B, D))
  bars = {name: rng.normal(size=B).astype(dtype) * weight_b for name in ("loss_b", "target_b", "norm_b")}
  return Case(params, (rng.uniform(1, 4, (B, 1)) * rows).astype(dtype), label_b, weight_b, bars)


def padded(params, classes, rows):
  """Centres with room for `rows` classes; what stands behind the classes must not matter."""
  padding = pad_classes(params, classes, rows)
  return {name: np.concatenate([leaf, 7.0 + np.zeros_like(padding[name][len(leaf):])]) for name, leaf in params.items()}


# Nobody waits for these programs to run, but for their compilation.
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def value_and_bars(head, margin):
  """Compiled, its results as NumPy arrays: loss and state, and gradients of centres, biases, embeddings through loss, own score, length and state."""

  def run(params, x_bd, label_b, weight_b, bars, **given):
    state = jax.tree.map(lambda leaf: leaf.astype(x_bd.dtype), margin.init_state())
    # Unknown to the compiler, for which a share of a warm-up is a constant in one program and float32 in another.
    step = jax.lax.optimization_barrier(STEP)

    def total(params, x_bd):
      result = head(params, x_bd, label_b, weight_b, state=state, step=step, key=jax.random.key(2), **given)
      value = sum((getattr(result, name) * bar).sum() for name, bar in bars.items())
      return value + 0.1 * sum(leaf.sum() for leaf in jax.tree.leaves(result.state)), result

    return jax.value_and_grad(total, (0, 1), has_aux=True)(params, x_bd)

  compiled = jax.jit(run, compiler_options=QUICKLY)
  return lambda *args, **given: jax.device_get(compiled(*args, **given))


@partial(jax.jit, static_argnums=(1, 2), compiler_options=QUICKLY)
def _picks(key, groups, size):
  return draw(key, 0, groups, size)


def drawn_classes(key, rows, size, classes):
  """Those of the first `classes` classes, of room for `rows`, that a step draws."""
  drawn_g = np.arange(0, rows, size) + np.asarray(_picks(key, rows // size, size))
  return drawn_g[drawn_g < classes]
