"""Our training step of a network, compiled for the first device: CosFace, SGD with momentum and weight decay, no augmentation."""

import time
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.head_settings import DECAY, LEARNING_RATE, MARGIN, MOMENTUM, SCALE
from benchmarks.nets import Net, images, labels
from jaxface.data.augmentation import AugmentConfig
from jaxface.heads.classification import Classification
from jaxface.losses.margins import CosFace
from jaxface.models.preprocess import get_preprocess
from jaxface.models.registry import create
from jaxface.training.config import MeshConfig
from jaxface.training.mesh import batch_sharding, make_mesh
from jaxface.training.optimizer import OptimizerConfig
from jaxface.training.parts import Batches, Network, Objective, Optimizer, Plan
from jaxface.training.schedule import ScheduleConfig
from jaxface.training.step import TrainStep, compile_step

STEPS = 2000


class NetStep(NamedTuple):
  """A step that is ready to run.

  Attributes:
    compiled: called with state and batch, gives the next state, in place of the old one, and metrics.
    state: the first state.
    batch: a batch on the device.
    parameters: number of parameters.
    seconds: of tracing, lowering and compiling, without a persistent cache if the caller turned that off.
  """

  compiled: Any
  state: Any
  batch: dict[str, jax.Array]
  parameters: int
  seconds: float


def train_step(
  net: Net, classes: int, dtype: str, batch_size: int, devices: list[jax.Device], *, augment: AugmentConfig | None = None,
  learning_rate: float = LEARNING_RATE,
) -> TrainStep:
  """The step of `jaxface train`, not compiled.

  Args:
    net: the network.
    classes: identities.
    dtype: "float32" or "bfloat16".
    batch_size: images.
    devices: over which the batch is sharded.
    augment: augmentation; None for none.
    learning_rate: of all parameters.
  """
  optimizer = OptimizerConfig(learning_rate=learning_rate, momentum=MOMENTUM, weight_decay=DECAY)
  return TrainStep(
    Network(create(net.model, dtype=dtype, **net.options), replace(get_preprocess("unit"), size=(net.side, net.side))),
    Objective((Classification(margin=CosFace(m=MARGIN, scale=SCALE)),), classes),
    Optimizer.make(optimizer, ScheduleConfig(name="constant"), steps=STEPS),
    Batches(batch_size, augment=augment or AugmentConfig(mirror=0.0, shift=0, jitter=0.0)),
    Plan(steps=STEPS), make_mesh(MeshConfig(), devices),
  )


def rows_of(image: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
  """A batch for the step."""
  return {
    "image": image, "label": label.astype(np.int32), "weight": np.ones(len(label), np.float32),
    "position": np.arange(len(label), dtype=np.uint32),
  }


def ready(net: Net, classes: int, dtype: str, batch_size: int) -> NetStep:
  """The compiled step on one device with its first state and a batch; arguments as for `train_step`."""
  step = train_step(net, classes, dtype, batch_size, jax.devices()[:1])
  # These random bits are quick to compile; the initial values change nothing of the speed.
  key, mesh = jax.random.key(0, impl="rbg"), step.mesh
  assert mesh is not None
  shardings = step.shardings(step.shapes)
  state = jax.jit(step.init, out_shardings=shardings)(key)
  batch = jax.device_put(rows_of(images(net.side, batch_size), labels(classes, batch_size)), batch_sharding(mesh))
  start = time.perf_counter()
  compiled = compile_step(step, shardings, batch_sharding(mesh)).lower(state, batch).compile()
  seconds = time.perf_counter() - start
  return NetStep(compiled, state, batch, sum(leaf.size for leaf in jax.tree.leaves(state.params)), seconds)
