"""A training step whose cost is that of the class centres: a linear network of few inputs, CosFace, SGD with momentum."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from benchmarks.head_settings import DECAY, LEARNING_RATE, MARGIN, MOMENTUM, SCALE, SIDE, images_and_labels
from benchmarks.worker import peak_memory
from jaxface.data.augmentation import AugmentConfig
from jaxface.heads.classification import Classification
from jaxface.losses.margins import CosFace
from jaxface.models.preprocess import get_preprocess
from jaxface.training.config import MeshConfig
from jaxface.training.memory_table import device_bytes
from jaxface.training.mesh import batch_sharding, make_mesh
from jaxface.training.optimizer import OptimizerConfig
from jaxface.training.parts import Batches, Network, Objective, Optimizer, Plan
from jaxface.training.schedule import ScheduleConfig
from jaxface.training.step import TrainStep, compile_step


class Linear(nn.Module):
  """Pixels to an embedding of `size` numbers."""

  size: int

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    return nn.Dense(self.size)(x.reshape(x.shape[0], -1))


class HeadStep(NamedTuple):
  """A step, for `jit`.

  Attributes:
    step: the step of `jaxface train`.
    shardings: of its state.
    state: shapes of the state, with shardings.
    batch: shapes of a batch, with shardings.
  """

  step: TrainStep
  shardings: Any
  state: Any
  batch: Any

  def compiled(self) -> Any:
    """The compiled step; it donates the state."""
    layout = {name: leaf.sharding for name, leaf in self.batch.items()}
    return compile_step(self.step, self.shardings, layout).lower(self.state, self.batch).compile()


def head_step(classes: int, size: int, batch: int, mesh: Mesh, **settings: Any) -> HeadStep:
  """The step of a head.

  Args:
    classes: C.
    size: D, numbers of an embedding.
    batch: B, rows of the global batch.
    mesh: devices, here or elsewhere.
    settings: fields of `Classification`.
  """
  term = Classification(CosFace(m=MARGIN, scale=SCALE), **settings)
  optimizer = OptimizerConfig(learning_rate=LEARNING_RATE, momentum=MOMENTUM, weight_decay=DECAY)
  step = TrainStep(
    Network(Linear(size), get_preprocess("unit", size=SIDE)), Objective((term,), classes),
    Optimizer.make(optimizer, ScheduleConfig(name="constant"), steps=1000),
    Batches(batch, augment=AugmentConfig(mirror=0.0, shift=0, jitter=0.0)), Plan(1000), mesh,
  )
  state = step.shapes
  shardings = step.shardings(state)
  state = jax.tree.map(lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), state, shardings)
  rows = {
    "image": ((batch, SIDE, SIDE, 3), np.uint8), "label": ((batch,), np.int32), "weight": ((batch,), np.float32),
    "position": ((batch,), np.uint32),
  }
  layout = batch_sharding(mesh)
  given = {name: jax.ShapeDtypeStruct(shape, dtype, sharding=layout) for name, (shape, dtype) in rows.items()}
  return HeadStep(step, shardings, state, given)


def start(classes: int, size: int, batch: int, **settings: Any) -> tuple[Callable[..., float], dict[str, int]]:
  """A compiled step on one device of this machine with its first state, for a `Worker`.

  Args:
    classes: C.
    size: D.
    batch: B.
    settings: fields of `Classification`.
  Returns:
    A function that runs so many steps, one by default, and returns the last loss; and bytes: of the state, of the process's peak after the first state, and of
    the temporaries of a step.
  """
  head = head_step(classes, size, batch, make_mesh(MeshConfig(devices=1)), **settings)
  state = jax.block_until_ready(jax.jit(head.step.init, out_shardings=head.shardings)(jax.random.key(0)))
  peak = peak_memory()
  image, label = images_and_labels(classes, batch)
  given = {"image": image, "label": label, "weight": np.ones(batch), "position": np.arange(batch)}
  rows = {name: jax.device_put(given[name].astype(leaf.dtype), leaf.sharding) for name, leaf in head.batch.items()}
  compiled = head.compiled()

  def run(steps: int = 1) -> float:
    nonlocal state
    metrics: dict[str, jax.Array] = {}
    for _ in range(steps):
      state, metrics = compiled(state, rows)
    jax.block_until_ready((state, metrics))
    if int(metrics["bad_steps"]):
      raise AssertionError("a step was not finite and was skipped: the timing is not of training")
    return float(metrics["loss"])

  return run, {
    "state": sum(map(device_bytes, jax.tree.leaves(head.state))), "initial peak": peak,
    "temporaries": compiled.memory_analysis().temp_size_in_bytes,
  }
