"""The initial state: a new or saved network, with calibrated norms and initial class centres."""

from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from jaxface.data.source import identity_names
from jaxface.heads.classification import Classification
from jaxface.layers.norm_control import norm_paths
from jaxface.models.calibration import CALIBRATION_IMAGES, calibrate, folded_norms
from jaxface.training.class_centers import centers_file, start_centers
from jaxface.training.initial import Begun, begin_from, keep_origin, with_network
from jaxface.training.mean_embeddings import MEAN_IMAGES, mean_embeddings
from jaxface.training.parts import Batches, Data, Network, Objective
from jaxface.training.state import TrainState


def begin(
  network: Network, data: Data, batches: Batches, objective: Objective, mesh: Mesh, state: TrainState, workdir: Path,
) -> Begun:
  """The initial state of a run.

  Args:
    network, data, batches, objective: parts of the run.
    mesh: devices of the run.
    state: a new state, with random values.
    workdir: workdir of the run.
  Returns:
    The state, and notes on what was loaded from `model.init_from`, how norms are handled, and how class centres are
    initialised.
  """
  path = network.init_from
  lines: list[str] = []
  if path:
    if jax.process_index() == 0:
      keep_origin(path, workdir)
    begun = begin_from(path, state, network.preprocess, getattr(network.module, "grows_from", ()))
    state, lines = _calibrated(begun, network, data, batches, mesh)
  origin = _centers_of(path)
  wanted = any(isinstance(term, Classification) and term.center_init == "mean_embedding" for term in objective.terms)
  if not wanted and origin is None:
    return Begun(state, lines)
  variables = {"params": state.params["model"], "batch_stats": state.batch_stats}
  means = mean_embeddings(network, variables, data, mesh, batches.size)
  state, notes = start_centers(objective, state, mesh, means, identity_names(data.source), origin)
  if wanted:
    notes.append(f"mean embeddings use at most the first {MEAN_IMAGES} images of each identity")
  return Begun(state, lines + notes)


def _centers_of(path: str) -> Path | None:
  """The folder with saved class centres, if `path` is the workdir of a run, or the model in it."""
  if not path:
    return None
  for folder in (Path(path), Path(path).parent):
    if any(folder.glob(centers_file(folder, "*").name)):
      return folder
  return None


def _calibrated(
  begun: Begun, network: Network, data: Data, batches: Batches, mesh: Mesh
) -> tuple[TrainState, list[str]]:
  """Statistics for norms that were folded into convolutions, from the first training images, augmented as in a step."""
  state, lines = begun.state, begun.lines
  variables = {"params": state.params["model"], "batch_stats": jax.device_get(state.batch_stats)}
  norms = len(norm_paths(variables["batch_stats"]))
  if not norms:
    return state, lines
  if network.freeze_norm:
    line = f"batch norms: all {norms} use their running statistics and are not updated (model.freeze_norm)"
    return state, [*lines, line]
  # A network inside "frozen" runs in inference mode; its norms need no statistics of their own.
  folded = [path for path in folded_norms(variables) if path[0] != "frozen"]
  if not folded:
    return state, [*lines, f"batch norms: {norms}, which continue from the running statistics of the model"]
  size = batches.part_size
  steps = -(-CALIBRATION_IMAGES // size)

  def prepare(batch: Any) -> Any:
    return network.preprocess.apply(batches.augmented(batch)[0])

  with data.loader(size, mesh, steps=steps) as loader:
    variables = calibrate(network.module, variables, loader, prepare, folded)
  line = (
    f"batch norms: {len(folded)} of {norms} had no statistics (folded into convolutions): calibrated on {steps * size:,}"
    " training images, the output of the network does not change"
  )
  return with_network(state, variables), [*lines, line]


__all__ = ["begin"]
