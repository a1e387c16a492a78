"""What happens between two steps of a run: logging, hooks, saving, requests to stop or for a profile."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax

from jaxface.checkpoint import Checkpoints
from jaxface.data.loader import Loader
from jaxface.training.fsdp import whole
from jaxface.training.goodput import Lives
from jaxface.training.host_facts import compare_hosts
from jaxface.training.host_monitor import AGAIN
from jaxface.training.hosts import gather, stand_at
from jaxface.training.parts import Plan
from jaxface.training.profile import Capture, ProfileRequest
from jaxface.training.replicas import Replicas
from jaxface.training.run_log import RunLog
from jaxface.training.speed_meter import SpeedMeter
from jaxface.training.state import TrainState, model_variables
from jaxface.training.tracking import Trackers
from jaxface.training.watchdog import InFlight
from jaxface.training.workdir import Workdir

Tree = Any
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


class BetweenSteps:
  """What happens between steps: logging, hooks and saving, each when it is due."""

  def __init__(
    self, plan: Plan, batch_size: int, workdir: Workdir, checkpoints: Checkpoints, hooks: Sequence[Hook], start: int,
    facts: Mapping[str, Any], replicas: Replicas | None, lives: Lives | None,
    trackers: Trackers | None = None,
  ):
    self.plan, self.workdir, self.checkpoints, self.hooks = plan, workdir, checkpoints, hooks
    self.facts, self.replicas = facts, replicas
    self.log = RunLog(plan, workdir.path, start, trackers)
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
      # The interval ends at the reading, before anything that counts as logging: that is time of the next interval.
      speed = self.speed.read(number, loader.wait_seconds)
      began, blocked = time.perf_counter(), self.log.blocked_seconds
      self.workdir.check_owner()
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


__all__ = ["BetweenSteps", "Hook"]
