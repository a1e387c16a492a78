"""Time of a step by part, from the trace that `jax.profiler` writes; read with `jax.profiler.ProfileData`, without TensorBoard."""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.accelerator.hlo_parts import CONVOLUTIONS, EXCHANGE, OTHER, PARTS, PRODUCTS, parts_of

IDLE = "idle"
# Names of kernels of libraries, which an event without the name of an instruction is recognised by.
_KERNELS = (
  (EXCHANGE, re.compile(r"nccl|all_?reduce|all_?gather|reduce_?scatter", re.I)),
  (CONVOLUTIONS, re.compile(r"conv|fprop|dgrad|wgrad|implicit_gemm|winograd|cudnn", re.I)),
  (PRODUCTS, re.compile(r"gemm|cutlass|cublas|nvjet|matmul|xmma|dot", re.I)),
)


class Event(NamedTuple):
  """An operation on a device.

  Attributes:
    line: the queue or thread that it ran on.
    name: of the kernel.
    instruction: name of the instruction of the program; "" if the trace has none.
    start, end: in nanoseconds.
  """

  line: str
  name: str
  instruction: str
  start: float
  end: float


def step_parts(steps: Callable[[int], Any], count: int, text: str) -> dict[str, float]:
  """Milliseconds of a step by part, and idle ones; empty if the trace has no events of a device.

  Args:
    steps: runs so many steps and waits for them.
    count: how many.
    text: of the compiled step.
  """
  import jax

  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      steps(count)
    events = [event for file in Path(folder).rglob("*.xplane.pb") for event in read_events(file)]
  return {part: 1e-6 * spent / count for part, spent in by_part(events, parts_of(text)).items()}


def read_events(file: Path) -> list[Event]:
  """Operations of the first device of a trace: of an accelerator, or of the CPU where the trace has none."""
  from jax.profiler import ProfileData

  planes = {plane.name: plane for plane in ProfileData.from_file(str(file)).planes}
  devices = sorted(name for name in planes if name.startswith("/device:") and "CUSTOM" not in name)
  for name in devices:
    lines = [line for line in planes[name].lines]
    # A TPU's plane has lines of modules and steps too; a GPU's has a line for each stream, and may have lines made of those.
    operations = [line for line in lines if line.name == "XLA Ops"] or [line for line in lines if line.name.startswith("Stream")]
    if events := list(_events(operations, need_instruction=False)):
      return events
  return list(_events(planes["/host:CPU"].lines, need_instruction=True)) if "/host:CPU" in planes else []


def _events(lines: Iterable[Any], *, need_instruction: bool) -> Iterable[Event]:
  for line in lines:
    for event in line.events:
      stats = {key: value for key, value in event.stats if key == "hlo_op"}
      instruction = str(stats.get("hlo_op", ""))
      if event.duration_ns > 0 and (instruction or not need_instruction):
        yield Event(line.name, event.name, instruction, event.start_ns, event.start_ns + event.duration_ns)


def by_part(events: Iterable[Event], part_of: Mapping[str, str]) -> dict[str, float]:
  """Nanoseconds by part, in the order of `PARTS`, and those between the first and the last event in which nothing ran.

  An event inside another on the same line, such as the body of a loop, counts for itself alone. Lines of a device may run at the
  same time; then the sum of the parts is more than the time.

  Args:
    events: of one device.
    part_of: from `parts_of`.
  """
  events = sorted(events, key=lambda event: (event.start, -event.end))
  if not events:
    return {}
  # A kernel's name is that of its instruction, with underscores.
  by_kernel = {name.replace(".", "_").replace("-", "_"): part for name, part in part_of.items()}
  spent: Counter = Counter()
  open_events: dict[str, list[tuple[float, str]]] = {}
  idle, seen_until = 0.0, events[0].start
  for event in events:
    part = part_of.get(event.instruction) or by_kernel.get(event.name.replace(".", "_").replace("-", "_")) or _library(event.name)
    around = open_events.setdefault(event.line, [])
    while around and around[-1][0] <= event.start:
      around.pop()
    if around:
      spent[around[-1][1]] -= event.end - event.start
    around.append((event.end, part))
    spent[part] += event.end - event.start
    idle += max(0.0, event.start - seen_until)
    seen_until = max(seen_until, event.end)
  return {**{part: max(spent[part], 0.0) for part in PARTS if part in spent}, IDLE: idle}


def _library(kernel: str) -> str:
  return next((part for part, pattern in _KERNELS if pattern.search(kernel)), OTHER)


__all__ = ["IDLE", "Event", "by_part", "read_events", "step_parts"]
