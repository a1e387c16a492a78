"""The training step of an experiment with shapes in place of arrays, for devices that need not be here."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType

from jaxface.training.config import Experiment
from jaxface.training.initial import resolve_model
from jaxface.training.mesh import batch_sharding, make_mesh
from jaxface.training.parts import Objective
from jaxface.training.resolve import resolve_batches, resolve_network, resolve_optimizer, resolve_plan
from jaxface.training.step import TrainStep, compile_step

Tree = Any


class AbstractStep(NamedTuple):
  """A step with the shapes of what it takes.

  Attributes:
    step: the step of `jaxface train`.
    mesh: its devices.
    state: shapes of its state, with shardings.
    batch: shapes of a batch, with shardings.
  """

  step: TrainStep
  mesh: Any
  state: Tree
  batch: dict[str, Any]

  def jitted(self) -> Any:
    """The step as `jaxface train` compiles it."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, self.state)
    return compile_step(self.step, shardings, {name: leaf.sharding for name, leaf in self.batch.items()})


def abstract_step(experiment: Experiment, identities: int, devices: Sequence[jax.Device] | int) -> AbstractStep:
  """The step of an experiment.

  Args:
    experiment: the run. What its mesh says of processes and numbers of devices is left out.
    identities: of the training set, C.
    devices: of the mesh; a number for devices that are nowhere, with which the step can be traced and not compiled.
  Raises:
    ValueError: the batch does not spread over the devices, or as of `jaxface.training.resolve_run`.
  """
  config = replace(experiment.mesh, devices=0, distributed=False, coordinator="")
  mesh: Any
  if isinstance(devices, int):
    mesh = AbstractMesh((devices,), ("data",), axis_types=(AxisType.Auto,))
  else:
    mesh = make_mesh(config, devices)
  size, part = experiment.batch_size, experiment.batch_size // experiment.accumulate
  if part % mesh.size:
    raise ValueError(
      f"batch_size {size} in {experiment.accumulate} part(s) does not spread over {mesh.size} devices: set --batch_size to a multiple of"
      f" {mesh.size * experiment.accumulate}, such as {-(-size // (mesh.size * experiment.accumulate)) * mesh.size * experiment.accumulate}"
    )
  # Nothing is read from a workdir: there is none yet.
  experiment = replace(experiment, mesh=config, model=resolve_model(experiment.model, Path("/")))
  network = resolve_network(experiment)
  step = TrainStep(
    network, Objective(experiment.terms, identities), resolve_optimizer(experiment), resolve_batches(experiment),
    resolve_plan(experiment), mesh,
  )
  shapes = step.shapes
  state = jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, step.shardings(shapes)
  )
  rows = {
    "image": ((size, *network.preprocess.size, 3), np.uint8), "label": ((size,), np.int32), "weight": ((size,), np.float32),
    "position": ((size,), np.uint32), "damaged": ((size,), np.int32),
  }
  layout = batch_sharding(mesh)
  batch = {name: jax.ShapeDtypeStruct(shape, dtype, sharding=layout) for name, (shape, dtype) in rows.items()}
  return AbstractStep(step, mesh, state, batch)


__all__ = ["AbstractStep", "abstract_step"]
