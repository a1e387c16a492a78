"""Learning rate as a pure function of the step."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from jax import Array

from jaxface.losses.ranges import check_choice, check_range

SCHEDULES = ("cosine", "polynomial", "step", "constant")


@dataclass(frozen=True)
class ScheduleConfig:
  """How the learning rate changes over a run.

  Attributes:
    name: "cosine", "polynomial", "step" or "constant", for the steps after the warm-up.
    warmup_steps: steps of linear warm-up; the rate of step i is (i + 1)/warmup_steps of the peak.
    warmup_fraction: length of the warm-up as a share of the run, rounded down to steps; set at most one of the two.
    power: exponent of "polynomial".
    end_value: learning rate that "cosine" and "polynomial" reach at the end of the run.
    milestones: shares of the whole run (warm-up included) at which "step" multiplies the rate by `gamma`.
    gamma: factor at each milestone.
  """

  name: Literal["cosine", "polynomial", "step", "constant"] = "cosine"
  warmup_steps: int = 0
  warmup_fraction: float = 0.0
  power: float = 2.0
  end_value: float = 0.0
  milestones: tuple[float, ...] = (0.5, 0.75, 0.9)
  gamma: float = 0.1

  def __post_init__(self) -> None:
    check_choice(self, "name", SCHEDULES)
    check_range(self, "warmup_steps", 0, what="optimizer steps")
    check_range(self, "warmup_fraction", 0.0, 1.0, open_high=True, what="share of the run")
    check_range(self, "power", 0.0, open_low=True, what="exponent")
    check_range(self, "end_value", 0.0, what="learning rate")
    check_range(self, "gamma", 0.0, 1.0, open_low=True, what="factor at each milestone")
    if self.warmup_steps and self.warmup_fraction:
      raise ValueError(
        f"ScheduleConfig: warmup_steps = {self.warmup_steps} and warmup_fraction = {self.warmup_fraction} are both"
        " set: keep one, and 0 for the other"
      )
    if not all(isinstance(milestone, (int, float)) for milestone in self.milestones):
      raise ValueError(f"ScheduleConfig.milestones = {self.milestones!r}: they must be numbers, such as 0.5,0.75")
    rising = all(a < b for a, b in itertools.pairwise(self.milestones))
    if not rising or not all(0 < milestone < 1 for milestone in self.milestones):
      raise ValueError(
        f"ScheduleConfig.milestones = {self.milestones!r}: they must increase, each a share of the run between 0 and 1"
      )


def warmup_length(config: ScheduleConfig, total_steps: int) -> int:
  """Steps of warm-up in a run of `total_steps`."""
  return config.warmup_steps or int(config.warmup_fraction * total_steps)


def learning_rate_at(config: ScheduleConfig, step: Array | int, *, peak: float, total_steps: int) -> Array:
  """Learning rate of one step.

  Args:
    config: the schedule.
    step: number of the step, from 0; scalar or array.
    peak: learning rate at the end of the warm-up.
    total_steps: length of the run; later steps get its last rate.
  Returns:
    float32, the shape of `step`.
  """
  warmup = warmup_length(config, total_steps)
  step = jnp.asarray(step, jnp.float32)
  done = jnp.clip((step - warmup) / max(total_steps - warmup, 1), 0.0, 1.0)
  if config.name == "cosine":
    rate = config.end_value + (peak - config.end_value) * 0.5 * (1.0 + jnp.cos(math.pi * done))
  elif config.name == "polynomial":
    rate = config.end_value + (peak - config.end_value) * (1.0 - done) ** config.power
  elif config.name == "step":
    # Milestones as integer steps: comparing share × length in float32 could round either way.
    passed = sum(step >= round(milestone * total_steps) for milestone in config.milestones)
    rate = peak * config.gamma ** jnp.asarray(passed, jnp.float32)
  else:
    rate = jnp.full_like(step, peak)
  return jnp.where(step < warmup, peak * (step + 1.0) / max(warmup, 1), rate)


def make_schedule(config: ScheduleConfig, peak: float, total_steps: int) -> Callable[[Array | int], Array]:
  """`learning_rate_at` as a function of the step alone."""
  return lambda step: learning_rate_at(config, step, peak=peak, total_steps=total_steps)


__all__ = ["SCHEDULES", "ScheduleConfig", "learning_rate_at", "make_schedule", "warmup_length"]
