"""`jaxface doctor --cluster`: whether the processes of a run fit together, before it is paid for."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxface.pipeline.cluster_facts import Facts, equal_facts, folder_faults, machine, write_access
from jaxface.pipeline.cluster_page import cluster_lines
from jaxface.training.bandwidth import bus_rate, measure_all_reduce
from jaxface.training.config import Experiment, MeshConfig
from jaxface.training.custom import CustomExperiment
from jaxface.training.host_facts import by_value, short
from jaxface.training.hosts import gather, host_name, join_hosts, stand_at, together
from jaxface.training.links import Expected, expected_rate
from jaxface.training.mesh import make_mesh
from jaxface.training.watchdog import watched

# Share of the expected bandwidth, or of the other processes' median, below which a link counts as slow.
LEAST = 0.5
# How often a slow link is measured again.
AGAIN = 2
MEGABYTES = {"cpu": 4.0}
MEGABYTES_ELSEWHERE = 64.0
# Facts that must be equal before a collective is tried: with others it could hang.
NEEDED = ("package jax", "package jaxlib", "devices", "devices of the process")


@dataclass(frozen=True)
class Link:
  """An all-reduce over some devices.

  Attributes:
    name: axis of the mesh, or the processes between which it was.
    devices: how many took part.
    size: bytes on each device.
    seconds: of the slowest process.
    expected: what it should reach, see `jaxface.training.links`.
    right: whether all processes had the right sum.
  """

  name: str
  devices: int
  size: int
  seconds: float
  expected: Expected
  right: bool

  @property
  def rate(self) -> float:
    """Bus bandwidth in GB/s."""
    return bus_rate(self.devices, self.size, self.seconds)


@dataclass(frozen=True)
class ClusterReport:
  """What `check_cluster` found; the same on all processes.

  Attributes:
    processes: host, devices and memory of each, by number.
    mesh: size of each axis.
    rows: images of a batch that each process reads; empty without an experiment.
    links: the measured all-reduces.
    faults: a sentence for each fault, with the process that differs and what it has.
    notes: what was not checked, and why.
  """

  processes: Sequence[Facts]
  mesh: Mapping[str, int] = field(default_factory=dict)
  rows: Sequence[int] = ()
  links: Sequence[Link] = ()
  faults: Sequence[str] = ()
  notes: Sequence[str] = ()

  def __str__(self) -> str:
    return "\n".join(cluster_lines(self))

  def to_json(self) -> dict[str, Any]:
    """The report as JSON values."""
    links = [
      {"name": one.name, "devices": one.devices, "bytes": one.size, "seconds": one.seconds, "gigabytes_per_second": one.rate,
       "expected": one.expected.rate, "source": one.expected.why, "right": one.right} for one in self.links
    ]
    return {
      "processes": list(self.processes), "mesh": dict(self.mesh), "rows": list(self.rows), "links": links,
      "faults": list(self.faults), "notes": list(self.notes),
    }


def check_cluster(
  experiment: Experiment | CustomExperiment | None = None, workdir: str | Path | None = None, *, mesh: MeshConfig | None = None,
  expect: Mapping[str, float] | None = None, megabytes: float = 0.0,
) -> ClusterReport:
  """Compares the processes of a run and measures the links between their devices; a collective call.

  Args:
    experiment: the experiment that is to run; without one its fields and data are not compared.
    workdir: the folder of the run, to which all must be able to write; None does not try.
    mesh: how the processes find each other; the experiment's by default.
    expect: GB/s of bus bandwidth that an axis should reach, by its name, or by "" for all; in place of the published figures.
    megabytes: bytes of an all-reduce on each device, in 1e6; 0 for 64, and 4 on CPUs.
  Raises:
    HostsApart: a process is missing, or does not arrive.
    ValueError: options of the mesh that are impossible.
  """
  config = mesh or (experiment.mesh if isinstance(experiment, Experiment) else MeshConfig())
  join_hosts(config)
  with together(), watched(config.stall_seconds):
    return _check(experiment, None if workdir is None else Path(workdir).absolute(), config, dict(expect or {}), megabytes)


def _check(
  experiment: Experiment | CustomExperiment | None, workdir: Path | None, config: MeshConfig, expect: dict[str, float], megabytes: float,
) -> ClusterReport:
  machines = _exchange("the machines", machine())
  notes: list[str] = []
  stand_at("reading versions, code and data")
  found = _exchange("versions, code and data", equal_facts(experiment))
  faults = odd_ones(found)
  if workdir is not None:
    faults += folder_faults(_exchange("access to the folder", write_access(workdir)))
  unlike = [name for name in NEEDED if len({json.dumps(one.get(name)) for one in found}) > 1]
  if unlike:
    notes.append(f"no collective was tried, since these differ and it could hang: {', '.join(unlike)}")
    return ClusterReport(machines, faults=faults, notes=notes)
  axes: dict[str, int] = {}
  rows: list[int] = []
  links: list[Link] = []
  try:
    made = make_mesh(config)
    axes = dict(made.shape)
    if isinstance(experiment, Experiment):
      rows, wrong_rows = _rows(experiment.batch_size, made)
      faults += wrong_rows
    network = min(sum(one.get("network interfaces, GB/s") or [0.0]) for one in found)
    size = int(1e6 * (megabytes or MEGABYTES.get(machines[0]["platform"], MEGABYTES_ELSEWHERE)))
    links = _measure(made.devices, list(axes), size, network, expect)
  except ValueError as error:  # the same on all: the mesh cannot be made
    faults.append(str(error))
  unknown = set(expect) - {"", *(link.name for link in links)}
  if unknown:
    raise ValueError(f"--expect names {', '.join(sorted(unknown))}, but measured are: {', '.join(link.name for link in links) or 'none'}")
  return ClusterReport(machines, axes, rows, links, [*faults, *slow_ones(links)], notes)


def _exchange(what: str, facts: Facts) -> list[Facts]:
  return [json.loads(text) for text in gather(what, json.dumps(facts, sort_keys=True, default=str))]


def odd_ones(found: Sequence[Facts]) -> list[str]:
  """A sentence for each fact that is not equal everywhere: which process has what.

  If most processes have one value, the others are named; otherwise each value is given with its processes.

  Args:
    found: facts of the processes, by number.
  """
  lines = []
  for name, whose in by_value(found):
    if len(whose) == 1:
      value = next(iter(whose))
      if "cannot be read: " in value:
        lines.append(f"all processes: {name}: {short(value)}")
      continue
    most = max(whose, key=lambda value: len(whose[value]))
    if 2 * len(whose[most]) > len(found):
      lines += [
        f"{', '.join(map(host_name, indices))}: {name} is {short(value)}, the others have {short(most)}"
        for value, indices in whose.items() if value != most
      ]
    else:
      lines.append(f"{name}: " + "; ".join(f"{short(value)} on {', '.join(map(host_name, indices))}" for value, indices in whose.items()))
  return lines


def _rows(batch: int, mesh: Any) -> tuple[list[int], list[str]]:
  """Images of a batch for each process, or why they cannot be divided."""
  if batch % mesh.size:
    return [], [f"batch_size {batch} is not divisible by the {mesh.size} devices"]
  owners = [device.process_index for device in mesh.devices.flat]
  return [batch // mesh.size * owners.count(index) for index in range(jax.process_count())], []


def _measure(devices: np.ndarray, axes: list[str], size: int, network: float, expect: dict[str, float]) -> list[Link]:
  """All-reduces over each axis of the mesh; between slices; within each process; and between neighbours of more than two processes."""
  hosts = gather("names of hosts", host_name(jax.process_index()).partition("(host ")[2].rstrip(")"))
  groups: list[tuple[str, np.ndarray, int]] = [(name, devices, axis) for axis, name in enumerate(axes) if devices.shape[axis] > 1]
  flat = list(devices.flat)
  slices = sorted({getattr(device, "slice_index", 0) for device in flat})
  if len(slices) > 1:
    rows = [[device for device in flat if device.slice_index == one] for one in slices]
    groups.append(("between slices", np.asarray(rows, object), 0))
  own = {index: [device for device in flat if device.process_index == index] for index in range(jax.process_count())}
  if jax.process_count() > 1 and len(own[0]) > 1:
    groups += [(f"within {index}", np.asarray(each, object), 0) for index, each in own.items()]
  # Chips of a TPU slice are not connected by processes, and a program for some hosts alone is not supported everywhere.
  if jax.process_count() > 2 and flat[0].platform != "tpu":
    pairs = [(index, index + 1) for start in (0, 1) for index in range(start, jax.process_count() - 1, 2)]
    groups += [(f"between {a} and {b}", np.asarray(own[a] + own[b], object), 0) for a, b in pairs]
  made = {name: (group, axis) for name, group, axis in groups}
  found = {name: _link(name, *made[name], size, network, expect, hosts) for name in made}
  # Other work on a host disturbs a measurement; a slow link is slow each time.
  for _ in range(AGAIN):
    for name in [one for one, slow in _slow(list(found.values())).items() if slow]:
      again = _link(name, *made[name], size, network, expect, hosts)
      found[name] = min(found[name], again, key=lambda link: (link.right, link.seconds))
  return list(found.values())


def _link(
  name: str, group: np.ndarray, axis: int, size: int, network: float, expect: dict[str, float], hosts: list[str]
) -> Link:
  stand_at(f"measuring {name}")
  mine: dict[str, Any] = {}
  if any(device.process_index == jax.process_index() for device in group.flat):
    found = measure_all_reduce(group, size, axis=axis)
    mine = {"size": found.size, "seconds": found.seconds, "right": found.right}
  said = [one for one in map(json.loads, gather(f"measured {name}", json.dumps(mine))) if one]
  flat = list(group.flat) if axis == 0 and group.ndim == 1 else list(np.moveaxis(group, axis, 0)[:, 0])
  rate = expect.get(name, expect.get(""))
  expected = Expected(rate, "--expect") if rate is not None else expected_rate(
    [device.device_kind for device in flat], [hosts[device.process_index] for device in flat],
    [tuple(getattr(device, "coords", ())) for device in flat], [getattr(device, "slice_index", 0) for device in flat], network,
  )
  return Link(name, group.shape[axis], said[0]["size"], max(one["seconds"] for one in said), expected, all(one["right"] for one in said))


def slow_ones(links: Sequence[Link]) -> list[str]:
  """A sentence for each link with a wrong sum, below half of what is expected, or below half of the median of its like."""
  wrong = [f"{_named(link.name)}: the sum over the devices is wrong: a device, its memory or the network is faulty" for link in links if not link.right]
  return wrong + [f"{_named(name)}: {why}" for name, reasons in _slow(links).items() for why in reasons]


def _slow(links: Sequence[Link]) -> dict[str, list[str]]:
  """Why each link counts as slow, by its name."""
  found: dict[str, list[str]] = {link.name: [] for link in links}
  for link in links:
    if link.expected.rate is not None and link.rate < LEAST * link.expected.rate:
      found[link.name].append(f"{link.rate:.3g} GB/s, less than half of the expected {link.expected.rate:.3g} GB/s ({link.expected.why})")
  for kind in ("within ", "between "):
    like = [link for link in links if link.name.startswith(kind) and link.name != "between slices"]
    median = statistics.median([link.rate for link in like]) if like else 0.0
    for link in like:
      if len(like) > 2 and link.rate < LEAST * median:
        found[link.name].append(f"{link.rate:.3g} GB/s, less than half of the median {median:.3g} GB/s of its like")
  return found


def _named(name: str) -> str:
  """A link with the hosts of its processes."""
  return " ".join(host_name(int(word)) if word.isdecimal() else word for word in name.split())


__all__ = ["ClusterReport", "Link", "check_cluster", "odd_ones", "slow_ones"]
