"""The training loop: read, step, log one interval late, call hooks, save; a killed run continues exactly where it was."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxface.checkpoint import Checkpoints, shapes_with_shardings
from jaxface.models.preprocess import Preprocess
from jaxface.training.begin import begin
from jaxface.training.between_steps import BetweenSteps, Hook
from jaxface.training.center_table import CenterTable
from jaxface.training.class_centers import read_out
from jaxface.training.config import Experiment
from jaxface.training.fsdp import whole
from jaxface.training.goodput import Lives, run_identity
from jaxface.training.host_facts import compare_hosts, data_facts, run_facts
from jaxface.training.hosts import join_hosts, stand_at, tell_hosts, together
from jaxface.training.interrupt import Interrupted, StopSignal
from jaxface.training.memory_table import memory_table
from jaxface.training.mesh import batch_sharding
from jaxface.training.parts import Run
from jaxface.training.rates import rate_lines
from jaxface.training.replicas import Replicas
from jaxface.training.resolve import resolve_run
from jaxface.training.resume import describe_data
from jaxface.training.run_log import TrainingDiverged
from jaxface.training.state import TrainState, model_variables
from jaxface.training.step import TrainStep, compile_step
from jaxface.training.tracking import Trackers
from jaxface.training.watchdog import watched
from jaxface.training.workdir import Workdir, environment

Tree = Any
# What to do if the processes of a run have different values, by when it is found.
MADE_APART = (
  "Every host computes the initial values: use hosts with the same kind of processor, and the same versions and files on all of"
  " them (--mesh.compare_values false allows a difference)"
)
READ_APART = "All hosts must read the same files of the state: check that the folder of the states is the same on all of them"


@dataclass(frozen=True)
class Trained:
  """What a finished run leaves in memory.

  Attributes:
    step: steps that made the model.
    variables: {"params", "batch_stats"} of the network that is to be used (the running average if there is one).
    options: of the network, for `create`.
    preprocess: its input convention.
    traces: how often the step was traced (0 when nothing was left to do).
    damaged: records that could not be read and were replaced, on all hosts and in all lives of the run.
    skipped: steps of the whole run that a non-finite loss or gradient made void.
    centers: class centres by term, still on their devices.
    chosen: whether the state was chosen as the best on the first evaluation set.
  """

  step: int
  variables: Tree
  options: dict[str, Any]
  preprocess: Preprocess
  traces: int
  damaged: int
  skipped: int
  centers: dict[str, CenterTable]
  chosen: bool = False


def train(experiment: Experiment, workdir: Workdir, source: Any, hooks: Sequence[Hook] = ()) -> Trained:
  """Run `experiment` on `source`, or what is left of it.

  Args:
    experiment: the run.
    workdir: where states, logs and config go; a state found there is continued.
    source: the training set (see `jaxface.data`).
    hooks: called when due, at step 0 and after the last step too if they say so.
  Raises:
    Interrupted: SIGTERM or SIGINT came; the state is saved, the same call goes on.
    TrainingDiverged: `max_bad_steps` non-finite steps in a row, or more than `max_bad_share` of the last ones.
    FolderInUse: another process is at work in the workdir, or took it over.
    ValueError: the workdir holds a run with other values, or on other data.
    WrongCheckpoint: the workdir's states, or what `model.init_from` names, are of another model.
    HostsDiffer, HostsApart: of several processes one has another experiment, code, data or folder, or is missing.
  """
  join_hosts(experiment.mesh)
  workdir.keep_states_in(experiment.checkpoints)
  with together(), watched(experiment.mesh.stall_seconds), workdir.own():
    return train_run(resolve_run(experiment, source, workdir.path), workdir, hooks)


def train_run(run: Run, workdir: Workdir, hooks: Sequence[Hook] = (), trackers: Trackers | None = None) -> Trained:
  """`train` for an experiment that is resolved already, see `resolve_run`; it also opens `trackers`, which receive the rows."""
  with together(), watched(run.plan.stall_seconds), workdir.own():
    return _train(run, workdir, hooks, trackers or Trackers())


def _train(run: Run, workdir: Workdir, hooks: Sequence[Hook], trackers: Trackers) -> Trained:
  plan, mesh = run.plan, run.mesh
  stand_at("comparing experiment and data")
  data = describe_data(run.data, hooks)
  facts, data_now = run_facts(run.config), data_facts(data)
  compare_hosts("the experiment", facts)
  compare_hosts("the data", data_now)
  resumed = workdir.holds_states
  workdir.save_config(run.config, data, best=plan.best)
  trackers.open(run.name, workdir.path, run.config, environment(), resumed=resumed)
  stand_at("building the network and the training step")
  step = TrainStep(run.network, run.objective, run.optimizer, run.batches, plan, mesh)

  shapes = step.shapes
  shardings = step.shardings(shapes)
  # What is restored goes where it shall lie: a state to restore into would be a second one.
  into = shapes_with_shardings(shapes, shardings)
  state: TrainState
  checkpoints = Checkpoints(workdir.checkpoints, keep=plan.keep_checkpoints)
  lines = rate_lines(run.optimizer.rates, shapes.params)
  compare_hosts("the state to go on from", {"newest saved step": checkpoints.latest_step})
  if checkpoints.latest_step is not None:
    stand_at(f"restoring the state of step {checkpoints.latest_step}")
    state = checkpoints.restore(into, least=step.unpadded())
    if plan.best:
      checkpoints.check_best()
  else:
    stand_at("compiling and running the initialisation")
    state = jax.jit(step.init, out_shardings=shardings)(run.key)
    jax.block_until_ready(state)
    stand_at("loading initial values: the model that the run begins with, norms and class centres")
    begun = begin(run.network, run.data, run.batches, run.objective, mesh, state, workdir.path)
    state, lines = begun.state, [*begun.lines, *lines]
  start = int(state.step)
  lines = [*checkpoints.take_notes(), *lines]
  replicas = Replicas(into) if plan.compare_values and jax.process_count() > 1 else None
  if replicas is not None:
    replicas.check(state, f"the state of step {start}", READ_APART if start else MADE_APART)

  lives = None
  if start < plan.steps:  # a finished run has no further life
    writes = jax.process_index() == 0
    lives = Lives(workdir.path, run_identity(run.config), workdir.began, start, writes=writes)
  between = BetweenSteps(plan, run.batches.size, workdir, checkpoints, hooks, start, {**facts, **data_now}, replicas, lives, trackers)
  between.log.note(lines)
  jitted = compile_step(step, shardings, batch_sharding(mesh))
  compiled: jax.stages.Compiled | None = None
  try:
    if start == 0:
      between.call_hooks(0, state)
    with StopSignal() as stop, between.profiles, run.data.loader(
      run.batches.size, mesh, start_step=start, steps=plan.steps - start
    ) as loader:
      for number, batch in enumerate(loader, start + 1):
        if compiled is None:
          stand_at(f"compiling the training step and running step {number}")
          compiled = jitted.lower(state, batch).compile()
          between.log.note(memory_table(state, batch, compiled))
          between.started()
        began = time.perf_counter()
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
          state, metrics = compiled(state, batch)
        between.speed.dispatched(began, metrics["loss"])
        between.after_step(number, state, metrics, loader)
        if number < plan.steps and between.may_stop(number) and between.asked_to_stop(number, stop.asked):
          between.save(number, state)
          raise Interrupted(number)
    between.log.flush()
    between.tell_goodput()
    damaged, skipped = int(state.damaged), int(state.bad_steps)  # of the whole run, whichever state is used
    chosen = plan.best and checkpoints.best_step is not None
    if chosen:
      del state
      state = checkpoints.restore(into, best=True, least=step.unpadded())
    elif plan.best:
      between.log.note(["use is 'best', but no evaluation of the first set has succeeded: the last state becomes the model"])
  except BaseException as error:
    tell_hosts(error)  # before anything here waits for them
    raise
  finally:
    between.close()
  if step.traces > 1:
    raise AssertionError(f"the training step was traced {step.traces} times: a shape or dtype changed between batches")
  variables = jax.tree.map(np.asarray, whole(model_variables(state)))
  centers = read_out(run.objective, state, mesh)
  return Trained(
    int(state.step), variables, dict(run.network.options), run.network.preprocess, step.traces, damaged, skipped, centers,
    chosen,
  )


__all__ = ["Hook", "Trained", "TrainingDiverged", "train", "train_run"]
