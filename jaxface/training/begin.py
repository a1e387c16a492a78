"""The state before the first step: a new network or a saved one, its norms calibrated, its class centres in place."""

from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from jaxface.data.source import identity_names
from jaxface.heads.classification import Classification
from jaxface.layers.norm_control import norm_paths
from jaxface.models.calibration import CALIBRATION_IMAGES, calibrate, folded_norms
from jaxface.training.class_centers import MEAN_IMAGES, centers_file, mean_embeddings, start_centers
from jaxface.training.initial import Begun, begin_from, keep_origin, with_network
from jaxface.training.parts import Batches, Data, Network, Objective
from jaxface.training.state import TrainState


def begin(
  network: Network, data: Data, batches: Batches, objective: Objective, mesh: Mesh, state: TrainState, workdir: Path,
) -> Begun:
  """What a run begins with.

  Args:
    network, data, batches, objective: parts of the run.
    mesh: its devices.
    state: a new one, with random numbers.
    workdir: of the run.
  Returns:
    The state, and lines that say what was taken from `model.init_from`, what was done to the norms, and where class
    centres begin.
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
  state, told = start_centers(objective, state, mesh, means, identity_names(data.source), origin)
  if wanted:
    told.append(f"mean embeddings are those of the first {MEAN_IMAGES} images of each identity, at most")
  return Begun(state, lines + told)


def _centers_of(path: str) -> Path | None:
  """The folder in which a run has left class centres, if `path` is its workdir, or the model in it."""
  if not path:
    return None
  for folder in (Path(path), Path(path).parent):
    if any(folder.glob(centers_file(folder, "*").name)):
      return folder
  return None


def _calibrated(
  begun: Begun, network: Network, data: Data, batches: Batches, mesh: Mesh
) -> tuple[TrainState, list[str]]:
  """Statistics for norms that were folded into convolutions, measured on the first training images as the step sees them."""
  state, lines = begun.state, begun.lines
  variables = {"params": state.params["model"], "batch_stats": jax.device_get(state.batch_stats)}
  norms = len(norm_paths(variables["batch_stats"]))
  if not norms:
    return state, lines
  if network.freeze_norm:
    line = f"batch norms: all {norms} use their running statistics and stay as they are (model.freeze_norm)"
    return state, [*lines, line]
  # A network inside of another stays in inference; its norms are never in the way.
  folded = [path for path in folded_norms(variables) if path[0] != "frozen"]
  if not folded:
    return state, [*lines, f"batch norms: {norms}, which go on from the running statistics of the model"]
  size = batches.part_size
  steps = -(-CALIBRATION_IMAGES // size)

  def prepare(batch: Any) -> Any:
    return network.preprocess.apply(batches.augmented(batch))

  with data.loader(size, mesh, steps=steps) as loader:
    variables = calibrate(network.module, variables, loader, prepare, folded)
  line = (
    f"batch norms: {len(folded)} of {norms} had no statistics (folded into convolutions): calibrated on {steps * size:,}"
    " training images, the network computes the same"
  )
  return with_network(state, variables), [*lines, line]


__all__ = ["begin"]
