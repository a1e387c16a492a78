"""A run that takes seconds: sixteen grey blobs as identities, a network of one small unit."""

import os
import signal
from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.data.augmentation import AugmentConfig
from jaxface.data.config import DataConfig
from jaxface.heads.classification import Classification
from jaxface.losses.margins import CosFace
from jaxface.models.config import ModelConfig
from jaxface.training.config import Experiment, MeshConfig
from jaxface.training.logs import read_metrics
from jaxface.training.loop import train
from jaxface.training.optimizer import OptimizerConfig
from jaxface.training.parts import Network, Objective
from jaxface.training.resolve import resolve_batches, resolve_optimizer, resolve_plan
from jaxface.training.schedule import ScheduleConfig
from jaxface.training.step import TrainStep
from jaxface.training.workdir import Workdir


class ArraySource:
  """Noisy copies of one random pattern per identity, held in memory."""

  def __init__(self, identities: int = 16, images: int = 8, size: int = 16, seed: int = 0):
    rng = np.random.default_rng(seed)
    pattern = rng.integers(40, 215, (identities, 1, size, size, 3))
    noise = rng.integers(-40, 41, (identities, images, size, size, 3))
    self._image = (pattern + noise).reshape(-1, size, size, 3).clip(0, 255).astype(np.uint8)
    self.label_n = np.repeat(np.arange(identities, dtype=np.int32), images)
    self.num_records, self.num_identities = identities * images, identities
    self.image_shape, self.template = (size, size, 3), "arcface112"

  def names(self):
    return [f"p{label}/p{label}_{row}" for row, label in enumerate(self.label_n)]

  def read(self, record_n, out):
    out[:] = self._image[record_n]
    return []


@pytest.fixture(scope="session")
def source():
  return ArraySource()


@pytest.fixture(scope="session")
def experiment():
  return Experiment(
    name="tiny",
    steps=12,
    batch_size=16,
    log_every=3,
    checkpoint_every=5,
    data=DataConfig(),
    augment=AugmentConfig(mirror=0.5, shift=1),
    model=ModelConfig("iresnet", size=16, embedding_size=8, options={"units": (1, 0, 0, 0), "width": 0.125}),
    terms=(Classification(CosFace(m=0.1, scale=16.0, warmup_steps=6)),),
    optimizer=OptimizerConfig(learning_rate=0.05),
    schedule=ScheduleConfig(warmup_steps=2),
    mesh=MeshConfig(devices=1),
    ema=0.9,
  )


@pytest.fixture(scope="session")
def with_devices():
  """The same experiment on another mesh."""

  def change(experiment, devices):
    return replace(experiment, mesh=MeshConfig(devices=devices))

  return change


@pytest.fixture(scope="session")
def step_of():
  """The step of an experiment with another network, for so many classes."""

  def step_of(experiment, module, preprocess, num_classes, mesh=None):
    network = Network(module, preprocess, name=experiment.model.name)
    return TrainStep(
      network, Objective(experiment.terms, num_classes), resolve_optimizer(experiment), resolve_batches(experiment),
      resolve_plan(experiment), mesh,
    )

  return step_of


TIMING = {"time", "images_per_second", "wait_share", "dispatch_share", "device_share", "log_share", "goodput"}


@pytest.fixture(scope="session")
def run():
  def run(experiment, source, folder, hooks=()):
    """Variables and logged rows of a run."""
    trained = train(experiment, Workdir(folder), source, hooks)
    rows = [{key: value for key, value in row.items() if key not in TIMING} for row in read_metrics(folder)]
    return trained, rows

  return run


class StopAt:
  """Asks the run to stop, as SIGTERM does, after a step."""

  def __init__(self, step):
    self.step = step

  def due(self, step, last):
    return step == self.step

  def __call__(self, step, variables):
    os.kill(os.getpid(), signal.SIGTERM)
    return {}


@pytest.fixture(scope="session")
def stop_at():
  return StopAt


class KeepFirst:
  """Keeps the variables of the network before the first step, and ends the run there if told to."""

  def __init__(self, *, stop=False):
    self.stop = stop

  def due(self, step, last):
    return step == 0

  def __call__(self, step, variables):
    self.variables = jax.tree.map(np.asarray, variables)
    if self.stop:
      raise InterruptedError
    return {}


@pytest.fixture(scope="session")
def keep_first():
  return KeepFirst


class Plain(nn.Module):
  """A network without batch statistics."""

  @nn.compact
  def __call__(self, x, train):
    x = nn.relu(nn.Dense(16)(x.reshape(x.shape[0], -1)))
    return nn.Dense(8)(x)


@pytest.fixture(scope="session")
def plain():
  return Plain()


@pytest.fixture(scope="session")
def batch_of():
  def batch_of(size, seed=0, side=8, identities=5):
    rng = np.random.default_rng(seed)
    return {
      "image": jnp.asarray(rng.integers(0, 256, (size, side, side, 3)), jnp.uint8),
      "label": jnp.asarray(rng.integers(0, identities, size), jnp.int32),
      "weight": jnp.ones(size, jnp.float32),
      "position": jnp.arange(size, dtype=jnp.uint32),
    }

  return batch_of
