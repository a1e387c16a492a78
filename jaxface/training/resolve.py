"""Resolves an experiment once into one small object per part of the run. Checks that need several parts are here."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from jaxface.data.augment_own import check_augmentation
from jaxface.data.config import make_order
from jaxface.models.config import make_model
from jaxface.training.checks import check_mates
from jaxface.training.choices import kinds
from jaxface.training.config import Experiment
from jaxface.training.embed import device_scope
from jaxface.training.initial import resolve_model
from jaxface.training.mesh import make_mesh
from jaxface.training.overrides import field_values
from jaxface.training.parts import Batches, Data, Network, Objective, Optimizer, Plan, Run


def resolve_run(experiment: Experiment, source: Any, folder: Path) -> Run:
  """The parts of a run.

  Args:
    experiment: the run.
    source: the training set (see `jaxface.data`).
    folder: workdir of the run, which keeps a description of `model.init_from` for resuming.
  Raises:
    ValueError: a batch that is not divisible by the devices, an order without pairs for a term that compares them, or an
      invalid value of a single part.
    FileNotFoundError: there is no model at `model.init_from`, and the run has not started.
  """
  mesh = make_mesh(experiment.mesh)
  batches = resolve_batches(experiment)
  _check_spread(batches, mesh)
  experiment = replace(experiment, model=resolve_model(experiment.model, folder))
  order = make_order(experiment.data, source, batches.size, seed=batches.seed)
  check_mates(experiment.terms, experiment.data.order, batches.size, source.label_n)
  for index, own in enumerate(batches.augment.own):
    check_augmentation(own, f"augment.own.{index}", source.image_shape)
  network = resolve_network(experiment, source.template)
  _check_norms(network, batches, mesh)
  return Run(
    name=experiment.name,
    network=network,
    data=Data(source, order, experiment.data.on_damage),
    batches=batches,
    objective=Objective(experiment.terms, source.num_identities),
    optimizer=resolve_optimizer(experiment),
    plan=resolve_plan(experiment),
    mesh=mesh,
    config=describe(experiment),
  )


def resolve_network(experiment: Experiment, template: str | None = None) -> Network:
  """The network, for images aligned to `template`."""
  config, mesh = experiment.model, experiment.mesh
  module, options, preprocess = make_model(config, template)
  return Network(
    module, preprocess, options, config.name, config.init_from, config.freeze_norm, config.norm_groups, config.remat, mesh.fsdp,
    mesh.gradient_dtype,
  )


def resolve_batches(experiment: Experiment) -> Batches:
  """Batch size, accumulation and augmentation."""
  return Batches(experiment.batch_size, experiment.accumulate, experiment.augment, experiment.seed)


def resolve_optimizer(experiment: Experiment) -> Optimizer:
  """How gradients become updates."""
  return Optimizer.make(experiment.optimizer, experiment.schedule, steps=experiment.steps, ema=experiment.ema)


def resolve_plan(experiment: Experiment) -> Plan:
  """Length of the run, intervals, and limits on skipped steps."""
  return Plan(
    steps=experiment.steps, log_every=experiment.log_every, checkpoint_every=experiment.checkpoint_every,
    keep_checkpoints=experiment.keep_checkpoints, max_bad_steps=experiment.max_bad_steps,
    max_bad_share=experiment.max_bad_share, best=experiment.use == "best",
    stall_seconds=experiment.mesh.stall_seconds,
    compare_values=experiment.mesh.compare_values,
  )


def describe(experiment: Experiment) -> dict[str, Any]:
  """Every field by dotted name, and the class of each nested config that is one of several, for JSON."""
  leaves = {**field_values(experiment), **kinds(experiment)}
  return json.loads(json.dumps(leaves, default=str))


def _check_spread(batches: Batches, mesh: Mesh) -> None:
  if batches.part_size % mesh.size:
    raise ValueError(
      f"batch_size {batches.size} in {batches.accumulate} part(s) does not spread over {mesh.size} devices"
    )


def _check_norms(network: Network, batches: Batches, mesh: Mesh) -> None:
  if batches.part_size % network.norm_groups:
    raise ValueError(f"model.norm_groups is {network.norm_groups}: needs a divisor of the {batches.part_size} images of a part")
  if network.gradient_dtype != "float32":
    device_scope(network.norm_groups, mesh)


__all__ = ["describe", "resolve_batches", "resolve_network", "resolve_optimizer", "resolve_plan", "resolve_run"]
