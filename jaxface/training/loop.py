"""The training loop: read, step, log one interval late, call hooks, save; a killed run continues exactly where it was."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from jaxface.checkpoint import Checkpoints, shapes_with_shardings
from jaxface.data.loader import Loader
from jaxface.models.preprocess import Preprocess
from jaxface.training.begin import begin
from jaxface.training.center_table import CenterTable
from jaxface.training.class_centers import read_out
from jaxface.training.config import Experiment
from jaxface.training.fsdp import whole
from jaxface.training.goodput import Lives, run_identity
from jaxface.training.host_facts import compare_hosts, data_facts, run_facts
from jaxface.training.host_monitor import AGAIN
from jaxface.training.hosts import gather, join_hosts, stand_at, tell_hosts, together
from jaxface.training.interrupt import Interrupted, StopSignal
from jaxface.training.memory_table import memory_table
from jaxface.training.mesh import batch_sharding
from jaxface.training.parts import Plan, Run
from jaxface.training.profile import Capture, ProfileRequest
from jaxface.training.rates import rate_lines
from jaxface.training.replicas import Replicas
from jaxface.training.resolve import resolve_run
from jaxface.training.resume import describe_data
from jaxface.training.run_log import RunLog, TrainingDiverged
from jaxface.training.speed_meter import SpeedMeter
from jaxface.training.state import TrainState, model_variables
from jaxface.training.step import TrainStep, compile_step
from jaxface.training.watchdog import InFlight, watched
from jaxface.training.workdir import Workdir

Tree = Any
# What to do if the processes of a run have different values, by when it is found.
MADE_APART = (
  "Every host computes the initial values: use hosts with the same kind of processor, and the same versions and files on all of"
  " them (--mesh.compare_values false allows a difference)"
)
READ_APART = "All hosts must read the same files of the state: check that the folder of the states is the same on all of them"
GONE_APART = (
  "They were equal before, so a device, its memory or its network may be faulty, or a program gives varying results. This state is not"
  f" saved: {AGAIN}; if it happens again, leave out that host (--mesh.compare_values false allows a difference)"
)


class Hook(Protocol):
  """Called between steps with the network as it stands; returns metrics to log, and "score" to rank states by.

  Its exception ends the run. A hook that fails without ending it returns no "score": the best state stays what it was.
  """

  def due(self, step: int, last: int) -> bool:
    """Whether to call after `step` of `last` steps."""
    ...

  def __call__(self, step: int, variables: Tree) -> dict[str, float]: ...


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


def train_run(run: Run, workdir: Workdir, hooks: Sequence[Hook] = ()) -> Trained:
  """`train` for an experiment that is resolved already, see `resolve_run`."""
  with together(), watched(run.plan.stall_seconds), workdir.own():
    return _train(run, workdir, hooks)


def _train(run: Run, workdir: Workdir, hooks: Sequence[Hook]) -> Trained:
  plan, mesh = run.plan, run.mesh
  stand_at("comparing experiment and data")
  data = describe_data(run.data, hooks)
  facts, data_now = run_facts(run.config), data_facts(data)
  compare_hosts("the experiment", facts)
  compare_hosts("the data", data_now)
  workdir.save_config(run.config, data, best=plan.best)
  stand_at("building the network and the training step")
  step = TrainStep(run.network, run.objective, run.optimizer, run.batches, plan, mesh)

  shapes = jax.eval_shape(step.init, run.key)
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
  between = _BetweenSteps(plan, run.batches.size, workdir, checkpoints, hooks, start, {**facts, **data_now}, replicas, lives)
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


class _BetweenSteps:
  """What happens between steps: logging, hooks and saving, each when it is due."""

  def __init__(
    self, plan: Plan, batch_size: int, workdir: Workdir, checkpoints: Checkpoints, hooks: Sequence[Hook], start: int,
    facts: Mapping[str, Any], replicas: Replicas | None, lives: Lives | None,
  ):
    self.plan, self.workdir, self.checkpoints, self.hooks = plan, workdir, checkpoints, hooks
    self.facts, self.replicas = facts, replicas
    self.log = RunLog(plan, workdir.path, start)
    self.speed = SpeedMeter(batch_size, start)
    self.in_flight = InFlight()
    self.lives = lives
    self.profiles = ProfileRequest(workdir.path, reads_file=jax.process_index() == 0)
    self.capture = Capture(workdir.path, lambda line: self.log.note([line]))

  def started(self) -> None:
    """The step is compiled, the first one is about to begin."""
    if self.lives is not None:
      self.lives.started()

  def after_step(self, number: int, state: TrainState, metrics: dict[str, Any], loader: Loader) -> None:
    last = number == self.plan.steps
    self.in_flight.add(number, metrics["loss"])
    if number % self.plan.log_every == 0 or last:
      began, blocked = time.perf_counter(), self.log.blocked_seconds
      self.workdir.check_owner()
      speed = self.speed.read(number, loader.wait_seconds)
      if self.lives is not None:
        speed["goodput"] = self.lives.logged(loader.wait_seconds)
      self.log.later(number, metrics, speed)
      self.speed.log_seconds += time.perf_counter() - began - (self.log.blocked_seconds - blocked)
    self.speed.leave_out(self.capture.after(number, metrics["loss"]))
    # Hooks come before the state is saved: one that a crash cut short is called again.
    self.call_hooks(number, state)
    if number % self.plan.checkpoint_every == 0 or last:
      self.save(number, state)

  def may_stop(self, number: int) -> bool:
    """Whether to ask for signals after this step: several hosts must agree, which is too slow for every step."""
    return jax.process_count() == 1 or number % self.plan.log_every == 0

  def asked_to_stop(self, number: int, here: bool) -> bool:
    """Whether the run is to end after this step, according to any host; a profile that one asks for begins on all."""
    asked = [here, self.profiles.taken(look=number % self.plan.log_every == 0)]
    everywhere = [json.loads(text) for text in gather(f"stopping after step {number}", json.dumps(asked))]
    if steps := max(steps for _, steps in everywhere):
      self.capture.begin(number, steps)
    return any(stop for stop, _ in everywhere)

  def tell_goodput(self) -> None:
    """Log where the time went since the first start."""
    if self.lives is not None:
      self.lives.write()
      self.log.note([str(self.lives.total())])

  def call_hooks(self, number: int, state: TrainState) -> None:
    """Call the hooks that are due, log what they return, and keep the state if it is the best so far."""
    due = [hook for hook in self.hooks if hook.due(number, self.plan.steps)]
    if not due:
      return
    self.workdir.check_owner()
    self.log.flush()
    start = time.perf_counter()
    row: dict[str, float] = {}
    first_score: float | None = None
    variables = whole(model_variables(state))
    for hook in due:
      stand_at(f"calling a hook after step {number}")
      metrics = dict(hook(number, variables))
      score = metrics.pop("score", None)
      # States are ranked on one set: the figures of two cannot be compared.
      first_score = score if hook is self.hooks[0] else first_score
      row |= metrics
    stand_at(f"after the hooks of step {number}")
    self.log.figures(number, row)
    if number and first_score is not None:
      self._compare_values(number, state)
      self.checkpoints.save_if_best(number, state, first_score)
      self.log.note(self.checkpoints.take_notes())
    seconds = time.perf_counter() - start
    self.speed.leave_out(seconds)
    if self.lives is not None:
      self.lives.evaluated(seconds)

  def save(self, number: int, state: TrainState) -> None:
    """Save the state; the log is complete up to it, so that a continuation finds no gap."""
    self.log.flush()
    began = time.perf_counter()
    self.workdir.check_owner()
    compare_hosts(f"saving the state of step {number}", {**self.facts, "step": number})
    self._compare_values(number, state)
    stand_at(f"saving the state of step {number}")
    self.checkpoints.save(number, state)
    if self.lives is not None:
      self.lives.saved(number, time.perf_counter() - began)
    stand_at(f"after saving step {number}")

  def _compare_values(self, number: int, state: TrainState) -> None:
    if self.replicas is not None:
      self.replicas.check(state, f"the values of step {number}", GONE_APART)

  def close(self) -> None:
    stand_at("finishing the last state and closing the files")
    self.capture.end()
    self.speed.close()
    try:
      self.log.flush()
    finally:
      self.checkpoints.wait()
      self.checkpoints.close()
      self.log.close()


__all__ = ["Hook", "Trained", "TrainingDiverged", "train", "train_run"]
