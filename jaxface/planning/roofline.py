"""Time of a step by the speed of a device's products, of its memory and of its connections.

Each operation takes the longer of its products at peak speed and its bytes at the memory's full speed; collectives follow each other and
nothing overlaps with them. No program is faster than the first without the second; real ones are slower.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from jaxface.planning.topology import Chip, Topology

# Seconds of a collective for each step of the network that its data pass, beside the time of its bytes.
HOP = 1e-6
ASSUMPTIONS = (
  "each operation takes the longer of its products at peak speed and its bytes at the memory's full speed",
  "collectives overlap with nothing; each goes around a ring, at the speed of all links of a chip in one direction, and takes 1 µs more"
  " for each chip along an axis",
  "reading of data, the log and saved states cost nothing",
)


class Exchange(NamedTuple):
  """Collectives of a step with one kind and one group of devices.

  Attributes:
    kind: such as "all-reduce".
    axis: of the mesh, over which devices exchange.
    members: devices of a group.
    times: how many a step has.
    nbytes: of all their results on each device.
    seconds: of all of them.
  """

  kind: str
  axis: str
  members: int
  times: int
  nbytes: int
  seconds: float


class StepTime(NamedTuple):
  """Seconds of a step.

  Attributes:
    products: of all products at peak speed.
    memory: of all bytes at the memory's full speed.
    operations: of the operations, each at the slower of the two.
    exchange: of the collectives.
  """

  products: float
  memory: float
  operations: float
  exchange: float

  @property
  def step(self) -> float:
    """All of it."""
    return self.operations + self.exchange

  @property
  def bound(self) -> str:
    """What takes longest: "products", "memory" or "exchange"."""
    return max(("products", "memory", "exchange"), key=lambda name: getattr(self, name))


def collective_seconds(kind: str, nbytes: float, members: int, speed: float, hops: int) -> float:
  """Seconds of a collective around a ring.

  Args:
    kind: of the collective.
    nbytes: of its result on each device.
    members: devices that take part.
    speed: bytes per second that a device can send.
    hops: chips that data pass, one after the other.
  """
  share = (members - 1) / members
  sent = {
    "all-reduce": 2 * nbytes * share, "all-gather": nbytes * share, "reduce-scatter": nbytes * (members - 1), "all-to-all": nbytes * share,
  }.get(kind, nbytes)
  return sent / speed + HOP * hops if members > 1 else 0.0


def exchanges(sent: Iterable[tuple[str, int, int, int]], topology: Topology, axis: str = "data") -> tuple[Exchange, ...]:
  """Collectives by kind and group, the largest first.

  Args:
    sent: kind, bytes of the result on each device, devices of a group, and how often, of each collective. 0 devices stand for all.
    topology: devices.
    axis: name of the mesh's axis.
  """
  counts: Counter[tuple[str, int]] = Counter()
  sizes: Counter[tuple[str, int]] = Counter()
  seconds: defaultdict[tuple[str, int], float] = defaultdict(float)
  for kind, nbytes, members, times in sent:
    key = kind, members or topology.count
    if key[1] == 1:
      continue
    counts[key] += times
    sizes[key] += nbytes * times
    if topology.exchange:
      seconds[key] += times * collective_seconds(kind, nbytes, key[1], topology.exchange, sum(topology.shape))
  return tuple(
    Exchange(kind, axis if members == topology.count else f"part of {axis}", members, counts[kind, members], sizes[kind, members], seconds[kind, members])
    for kind, members in sorted(counts, key=lambda key: -sizes[key])
  )


def step_time(tasks: Sequence[Any], found: Sequence[Exchange], chip: Chip, dtype: str) -> StepTime | None:
  """The time of a step; None for a device without figures.

  Args:
    tasks: with `flops`, `nbytes` and `times`.
    found: collectives.
    chip: kind of device.
    dtype: of the products.
  """
  peak = chip.flops.get(dtype)
  if not peak:
    return None
  return StepTime(
    sum(one.times * one.flops for one in tasks) / peak, sum(one.times * one.nbytes for one in tasks) / chip.bandwidth,
    sum(one.times * max(one.flops / peak, one.nbytes / chip.bandwidth) for one in tasks), sum(one.seconds for one in found),
  )


__all__ = ["ASSUMPTIONS", "HOP", "Exchange", "StepTime", "collective_seconds", "exchanges", "step_time"]
