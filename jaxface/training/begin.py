"""The state before the first step: a new network or a saved one, its norms calibrated, its class centres in place."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import Mesh

from jaxface.data.augmentation import augment
from jaxface.data.loader import Loader, Order
from jaxface.data.source import identity_names
from jaxface.heads.classification import Classification
from jaxface.layers.norm_control import norm_paths
from jaxface.models.calibration import CALIBRATION_IMAGES, calibrate, folded_norms
from jaxface.models.preprocess import Preprocess
from jaxface.training.class_centers import MEAN_IMAGES, centers_file, mean_embeddings, start_centers
from jaxface.training.config import Experiment
from jaxface.training.initial import Begun, begin_from, keep_origin, with_network
from jaxface.training.mesh import batch_sharding
from jaxface.training.state import TrainState


def begin(
  experiment: Experiment, model: nn.Module, preprocess: Preprocess, source: Any, order: Order, mesh: Mesh, state: TrainState,
  workdir: Path,
) -> Begun:
  """What a run begins with.

  Args:
    experiment: the run.
    model, preprocess: its network.
    source, order: its training set.
    mesh: its devices.
    state: a new one, with random numbers.
    workdir: of the run.
  Returns:
    The state, and lines that say what was taken from `model.init_from`, what was done to the norms, and where class
    centres begin.
  """
  path = experiment.model.init_from
  lines: list[str] = []
  if path:
    if jax.process_index() == 0:
      keep_origin(experiment.model, workdir)
    state, lines = _calibrated(begin_from(path, state, preprocess, getattr(model, "grows_from", ())), experiment, model,
                               preprocess, source, order, mesh)
  origin = _centers_of(path, experiment)
  wanted = any(isinstance(term, Classification) and term.center_init == "mean_embedding" for term in experiment.terms)
  if not wanted and origin is None:
    return Begun(state, lines)
  variables = {"params": state.params["model"], "batch_stats": state.batch_stats}
  means = mean_embeddings(model, preprocess, variables, source, mesh, experiment.batch_size, experiment.data.on_damage)
  state, told = start_centers(experiment, state, mesh, means, identity_names(source), origin)
  if wanted:
    told.append(f"mean embeddings are those of the first {MEAN_IMAGES} images of each identity, at most")
  return Begun(state, lines + told)


def _centers_of(path: str, experiment: Experiment) -> Path | None:
  """The folder in which a run has left class centres, if `path` is its workdir, or the model in it."""
  if not path:
    return None
  for folder in (Path(path), Path(path).parent):
    if any(folder.glob(centers_file(folder, "*").name)):
      return folder
  return None


def _calibrated(
  begun: Begun, experiment: Experiment, model: nn.Module, preprocess: Preprocess, source: Any, order: Order, mesh: Mesh
) -> tuple[TrainState, list[str]]:
  """Statistics for norms that were folded into convolutions, measured on the first training images as the step sees them."""
  state, lines = begun.state, begun.lines
  variables = {"params": state.params["model"], "batch_stats": jax.device_get(state.batch_stats)}
  norms = len(norm_paths(variables["batch_stats"]))
  if not norms:
    return state, lines
  if experiment.model.freeze_norm:
    line = f"batch norms: all {norms} use their running statistics and stay as they are (model.freeze_norm)"
    return state, [*lines, line]
  # A network inside of another stays in inference; its norms are never in the way.
  folded = [path for path in folded_norms(variables) if path[0] != "frozen"]
  if not folded:
    return state, [*lines, f"batch norms: {norms}, which go on from the running statistics of the model"]
  size = experiment.batch_size // experiment.accumulate
  steps = -(-CALIBRATION_IMAGES // size)

  def prepare(batch: Any) -> Any:
    return preprocess.apply(augment(batch["image"], experiment.seed, batch["position"], experiment.augment))

  with Loader(
    source, order, size, steps=steps, sharding=batch_sharding(mesh), on_damage=experiment.data.on_damage
  ) as loader:
    variables = calibrate(model, variables, loader, prepare, folded)
  line = (
    f"batch norms: {len(folded)} of {norms} had no statistics (folded into convolutions): calibrated on {steps * size:,}"
    " training images, the network computes the same"
  )
  return with_network(state, variables), [*lines, line]


__all__ = ["begin"]
