"""Whether a run fits devices that need not be here, how fast it should be, and what it costs."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxface.data.config import has_records, open_source
from jaxface.models.own import load_networks
from jaxface.planning.abstract_step import abstract_step
from jaxface.planning.compiled import Compiled, Request, compile_for
from jaxface.planning.costs import program_costs
from jaxface.planning.estimate import Estimate, estimate, traced
from jaxface.planning.hlo import read_program
from jaxface.planning.roofline import Exchange, StepTime, exchanges, step_time
from jaxface.planning.settings import Setting, settings_of
from jaxface.planning.topology import Topology, parse_topology
from jaxface.training.config import Experiment, load_experiment
from jaxface.training.memory_table import group_bytes, size_text

TEMPORARIES, RESULTS, CODE, PADDING = "activations and other temporaries", "results not in place", "program", "padding of state and batch"



@dataclass(frozen=True)
class Tried:
  """A setting that was tried.

  Attributes:
    setting: the change.
    memory: bytes of each device by the estimate; 0 where the setting is not possible.
    note: why it is not possible.
  """

  setting: Setting
  memory: int
  note: str = ""


@dataclass(frozen=True)
class Plan:
  """A plan. Bytes, operations and arrays are of each device.

  Attributes:
    experiment: its name.
    overrides: fields that differ from it.
    topology: devices.
    identities: of the training set.
    batch: images of a step, over all devices.
    compiled: what the compiler says; None for a plan by estimate.
    parts: bytes by part.
    limit: bytes that a device has; 0 if it is not known.
    estimated: memory by the estimate.
    flops: operations of products in a step.
    nbytes: bytes to and from memory in a step.
    exchanges: collectives of a step.
    time: of a step; None if the device's speed is not known.
    peak: operations per second of a device at its best.
    images: images of an epoch; 0 if it is not known.
    price: of a device for an hour; 0 if it is not known.
    tried: settings that were tried.
    enough: settings that together make it fit; None if it fits, or if none does.
    fitting: memory with them by the estimate.
    notes: remarks.
  """

  experiment: str
  overrides: Mapping[str, str]
  topology: Topology
  identities: int
  batch: int
  compiled: Compiled | None
  parts: Mapping[str, int]
  limit: float
  estimated: int
  flops: float
  nbytes: float
  exchanges: Sequence[Exchange]
  time: StepTime | None
  peak: float = 0.0
  images: int = 0
  price: float = 0.0
  tried: Sequence[Tried] = ()
  enough: Setting | None = None
  fitting: int = 0
  notes: Sequence[str] = field(default_factory=tuple)

  @property
  def memory(self) -> int:
    """Bytes that a device needs."""
    return self.compiled.memory if self.compiled else sum(self.parts.values())

  @property
  def fits(self) -> bool | None:
    """Whether that is no more than a device has; None if it is not known."""
    return self.memory <= self.limit and not (self.compiled and self.compiled.refused) if self.limit else None

  @property
  def images_per_second(self) -> float:
    """Of all devices."""
    return self.batch / self.time.step if self.time else 0.0

  @property
  def share_of_peak(self) -> float:
    """Operations of products per second beside the device's peak."""
    return self.flops / (self.time.step * self.peak) if self.time else 0.0

  @property
  def hours_per_epoch(self) -> float:
    """0 if it is not known."""
    return self.images / self.images_per_second / 3600 if self.images and self.time else 0.0

  @property
  def cost_per_epoch(self) -> float:
    """In the currency of the price; 0 if it is not known."""
    return self.hours_per_epoch * self.topology.count * self.price


def plan(
  experiment: str, topology: str, *, identities: int = 0, images: int = 0, price: float = 0.0, small: bool = False,
  overrides: Mapping[str, str] | None = None, network: str = "", compiling: bool = True, settings: bool | None = None,
  cache: str | Path | None = None, say: Callable[[str], object] = lambda line: None,
) -> Plan:
  """Plans a run.

  Args:
    experiment: name or path.
    topology: devices, see `parse_topology`.
    identities: of the training set; 0 takes those of synthetic data.
    images: of an epoch; 0 takes those of synthetic data, or leaves epochs out.
    price: of one device for an hour.
    small: the experiment's small form.
    overrides: fields by dotted name, as text.
    network: Python file of own networks.
    compiling: compile the step; False gives an estimate.
    settings: try all settings that need less memory; None tries them until one is enough, if the run does not fit.
    cache: folder that keeps what compilers said; None for one in the user's cache.
    say: called with lines of progress.
  Raises:
    ValueError: unknown topology or experiment, or a value of one of them.
    CannotCompile: the step cannot be compiled for the topology here.
  """
  devices = parse_topology(topology)
  if network:
    load_networks(network)
  given = dict(overrides or {})
  config = load_experiment(experiment, small=small)[0].with_overrides(given)
  identities, images = _sizes(config, identities, images)
  request = Request(experiment, identities, topology, small, given, network)
  compiled = None
  if compiling and devices.platform != "gpu":
    compiled = compile_for(request, config, devices, say=say, cache=None if cache is None else Path(cache))
  say("tracing the step for an estimate")
  guess, parts = _estimated(config, identities, devices)
  found = _from_compiled(config, devices, compiled, guess, parts)
  first = Plan(
    config.name, given, devices, identities, config.batch_size, compiled, limit=_limit(devices), estimated=guess.memory, images=images,
    price=price, peak=devices.chip.flops.get(config.model.dtype, 0.0), notes=_notes(devices, compiled, given, config), **found,
  )
  if settings or (settings is None and first.fits is False):
    return _with_settings(first, config, bool(settings), say)
  return first


def _sizes(config: Experiment, identities: int, images: int) -> tuple[int, int]:
  """Identities, and images of an epoch, of the data where they are known."""
  data = config.data
  packed = data.mixture or ((data.records,) if data.records else ())
  if identities and (images or data.unpacked or packed):
    return identities, images
  if data.unpacked or not all(map(has_records, packed)):
    raise ValueError("the number of identities is not known before the data are packed: give --identities N")
  if packed:
    source = open_source(data)[0]
    return source.num_identities, images or source.num_records
  known = identities or max(1, round(data.synthetic.identities * (1 - data.holdout)))
  return known, images or known * data.synthetic.images_per_identity


def _limit(devices: Topology) -> float:
  """Bytes of a device; forced devices share the machine's."""
  if devices.platform == "cpu":
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / devices.count
  return devices.chip.memory


def _estimated(config: Experiment, identities: int, devices: Topology) -> tuple[Estimate, dict[str, int]]:
  step, jaxpr = traced(lambda: abstract_step(config, identities, devices.count))
  return estimate(step, jaxpr, tpu=devices.platform == "tpu"), group_bytes(step.state, step.batch)


def _from_compiled(
  config: Experiment, devices: Topology, compiled: Compiled | None, guess: Estimate, parts: dict[str, int]
) -> dict[str, Any]:
  """Fields of a plan: those of the compiled program where there is one, else of the estimate."""
  if compiled is None or compiled.refused:
    sent = exchanges(((one.kind, one.array.nbytes, 0, one.times) for one in guess.sent), devices)
    tasks: Sequence[Any] = guess.tasks
    parts = {**parts, TEMPORARIES: guess.temporaries, **({CODE: guess.program} if guess.program else {})}
  else:
    costs = program_costs(read_program(compiled.text))
    tasks = costs.work
    # A collective of several arrays is one.
    sent = exchanges((
      (work.exchanged[0].kind, sum(one.nbytes for one in work.exchanged), work.exchanged[0].members or 0, work.times)
      for work in costs.work if work.exchanged
    ), devices)
    more = {
      PADDING: compiled.arguments - sum(parts.values()), TEMPORARIES: compiled.temporaries, RESULTS: compiled.results, CODE: compiled.code,
    }
    parts = {**parts, **{name: nbytes for name, nbytes in more.items() if nbytes > 0}}
  return {
    "parts": parts, "flops": sum(one.times * one.flops for one in tasks), "nbytes": sum(one.times * one.nbytes for one in tasks),
    "exchanges": sent, "time": step_time(tasks, sent, devices.chip, config.model.dtype),
  }


def _notes(devices: Topology, compiled: Compiled | None, given: Mapping[str, str], config: Experiment) -> list[str]:
  notes = []
  if compiled and compiled.refused:
    notes.append(
      f"the compiler refused the step, which would use at least {size_text(compiled.refused)} of a device; parts, work and time are estimates"
    )
  elif compiled:
    notes.append(
      "the compiler measured memory by part and the arrays that devices exchange; operations and bytes are counted in its program, without"
      " its prefetches twice and buffers on the chip; time is a bound computed from them, nothing was run"
    )
  else:
    notes.append("everything is estimated from the traced step, nothing was compiled; bytes to and from memory are an upper figure")
  if devices.platform == "cpu":
    notes.append("forced devices share the cores and the memory of one machine: no time is computed (python -m benchmarks.step_model measures)")
  if devices.platform != "cpu" and config.model.dtype == "float32" and "model.dtype" not in given:
    notes.append("the network computes in float32: --model.dtype bfloat16 halves its activations")
  return notes


def _with_settings(first: Plan, config: Experiment, every: bool, say: Callable[[str], object]) -> Plan:
  """The plan with settings tried one by one until one is enough, or all; if none is enough, one after the other together."""
  def memory(overrides: Mapping[str, str]) -> int:
    changed = config.with_overrides(dict(overrides))
    return _estimated(changed, first.identities, first.topology)[0].memory

  tried: list[Tried] = []
  for setting in settings_of(config, first.topology.count):
    if tried and not every and 0 < tried[-1].memory <= first.limit:
      break  # this one is enough
    say(f"estimating with {setting.text}")
    try:
      tried.append(Tried(setting, memory(setting.overrides)))
    except ValueError as error:
      tried.append(Tried(setting, 0, str(error)))
  if first.fits is not False:
    return replace(first, tried=tried)
  before = first.memory
  alone = next((one for one in tried if 0 < one.memory <= first.limit), None)
  if alone:
    return replace(first, tried=tried, enough=alone.setting, fitting=alone.memory)
  together: dict[str, str] = {}
  for one in tried:
    if not 0 < one.memory < before:
      continue
    together |= one.setting.overrides
    say(f"estimating with {Setting(together, '').text}")
    try:
      needed = memory(together)
    except ValueError:
      together = {name: value for name, value in together.items() if name not in one.setting.overrides}
      continue
    if needed <= first.limit:
      return replace(first, tried=tried, enough=Setting(together, "together"), fitting=needed)
  return replace(first, tried=tried)


__all__ = ["CODE", "PADDING", "RESULTS", "TEMPORARIES", "Plan", "Tried", "plan"]
