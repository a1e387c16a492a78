"""Steps of small runs for the benchmarks of plans, and processes with forced devices."""

import os
import re
from typing import Any

from benchmarks.worker import Worker

CLASSES = 5000
# Identities and features of a linear network.
LINEAR = (100_000, 256)
MARGIN, SCALE = 0.35, 64.0


def experiment(model: str, options: dict[str, Any], side: int, batch: int, dtype: str = "float32") -> Any:
  """A run with CosFace over `CLASSES` identities and SGD with momentum and weight decay, without augmentation."""
  from jaxface.data.augmentation import AugmentConfig
  from jaxface.heads.classification import Classification
  from jaxface.losses.margins import CosFace
  from jaxface.models.config import ModelConfig
  from jaxface.training.config import Experiment
  from jaxface.training.optimizer import OptimizerConfig

  return Experiment(
    name="planned", batch_size=batch, augment=AugmentConfig(mirror=0.0, shift=0, jitter=0.0),
    model=ModelConfig(model, size=side, embedding_size=0, dtype=dtype, options=options), optimizer=OptimizerConfig(learning_rate=1e-5),
    terms=(Classification(CosFace(m=MARGIN, scale=SCALE)),),
  )


def with_devices(count: int, build: Any, *arguments: Any) -> Worker:
  """A worker whose process has so many CPU devices."""
  flags = re.sub(r"--xla_force_host_platform_device_count=\S+", "", os.environ.get("XLA_FLAGS", ""))
  before = os.environ.get("XLA_FLAGS")
  os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={count}".strip()
  try:
    return Worker(build, *arguments)
  finally:
    if before is None:
      del os.environ["XLA_FLAGS"]
    else:
      os.environ["XLA_FLAGS"] = before


def step_on(model: str, options: dict[str, Any], side: int, batch: int, devices: Any) -> Any:
  """The abstract step of `experiment`, or with the model "linear" that of class centres alone, on devices or a number of them."""
  from jaxface.planning.abstract_step import AbstractStep, abstract_step

  if model != "linear":
    return abstract_step(experiment(model, options, side, batch), CLASSES, devices)
  from jax.sharding import AbstractMesh, AxisType

  from benchmarks.head_step import head_step
  from jaxface.training.config import MeshConfig
  from jaxface.training.mesh import make_mesh

  mesh: Any = make_mesh(MeshConfig(), devices) if not isinstance(devices, int) else AbstractMesh((devices,), ("data",), axis_types=(AxisType.Auto,))
  head = head_step(*LINEAR, batch, mesh)
  return AbstractStep(head.step, mesh, head.state, head.batch)


def start(step: Any) -> tuple[Any, Any, Any]:
  """An abstract step on devices of this process, compiled, and functions that make its first state and a batch."""
  import jax
  import numpy as np

  shardings = jax.tree.map(lambda leaf: leaf.sharding, step.state)
  key = jax.random.key(0)
  init = jax.jit(step.step.init, out_shardings=shardings).lower(key).compile()
  compiled = step.jitted().lower(step.state, step.batch).compile()
  random = np.random.default_rng(0)
  (size,) = step.batch["label"].shape

  def batch() -> Any:
    rows = {
      "image": random.integers(0, 256, step.batch["image"].shape, np.uint8), "label": random.integers(0, CLASSES, size).astype(np.int32),
      "weight": np.ones(size, np.float32), "position": np.arange(size, dtype=np.uint32), "damaged": np.zeros(size, np.int32),
    }
    return {name: jax.device_put(rows[name], leaf.sharding) for name, leaf in step.batch.items()}

  return compiled, lambda: jax.block_until_ready(init(key)), batch
