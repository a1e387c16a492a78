"""Sides of a comparison on an accelerator: each in its own process, in turns, with a time limit.

A side is a function that returns the work of a round and facts, see `benchmarks.worker.Worker`. The fact "steps" is how many steps a
round has, since on an accelerator steps are only started by the host and waited for together.
"""

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.common import interleave
from benchmarks.torch_sides import COMPILED, EAGER
from benchmarks.worker import Build, Worker

OURS = "jaxface"


class Inline:
  """A side in this process, for tests: it has no time limit."""

  def __init__(self, build: Build, *arguments: Any):
    self._work, self.facts = build(*arguments)

  def __call__(self) -> Any:
    return self._work()

  def close(self) -> int:
    return 0


class Measured(NamedTuple):
  """A comparison.

  Attributes:
    facts: of each side.
    seconds: of a step of each side, by round.
    failed: why a side could not be measured.
  """

  facts: dict[str, dict[str, Any]]
  seconds: dict[str, list[float]]
  failed: dict[str, str]


class Place(NamedTuple):
  """Where and how long sides run.

  Attributes:
    deadline: in seconds of `time.monotonic`, when they are ended.
    inline: in this process.
    together: whether several processes can use the device at the same time; on a TPU they cannot, and sides run one after another.
    rounds: timed calls of each side.
  """

  deadline: float
  inline: bool
  together: bool
  rounds: int

  def open(self, build: Build, *arguments: Any) -> Inline | Worker:
    """A side that is ready to run."""
    return Inline(build, *arguments) if self.inline else Worker(build, *arguments, deadline=self.deadline)

  def compare(self, sides: Mapping[str, tuple[Build, tuple[Any, ...]]], *, needed: Sequence[str] = (OURS,)) -> Measured:
    """Measures sides in turns.

    Args:
      sides: function and arguments of each.
      needed: sides without which there is no comparison: their failure is the caller's. Others may fail, such as for want of memory.
    Raises:
      RuntimeError, TimeoutError: a side that is needed failed.
    """
    measured = Measured({}, {}, {})
    if self.together:
      self._round(sides, measured, needed)
    else:
      for name, side in sides.items():
        self._round({name: side}, measured, needed)
    return measured

  def _round(self, sides: Mapping[str, tuple[Build, tuple[Any, ...]]], measured: Measured, needed: Sequence[str]) -> None:
    opened: dict[str, Inline | Worker] = {}
    try:
      for name, (build, arguments) in sides.items():
        try:
          opened[name] = self.open(build, *arguments)
        except (RuntimeError, TimeoutError, ImportError) as error:
          if name in needed:
            raise
          measured.failed[name] = reason(error)
      wall = interleave(opened, rounds=self.rounds).wall
    finally:
      for side in opened.values():
        with contextlib.suppress(RuntimeError, TimeoutError, OSError):  # of a side that has failed already
          side.close()
    for name, side in opened.items():
      measured.facts[name] = side.facts
      measured.seconds[name] = [seconds / side.facts["steps"] for seconds in wall[name]]


def reason(error: BaseException) -> str:
  """The last line of an error, at most 200 characters."""
  lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
  return lines[-1].strip()[:200]


def steps_for(run: Callable[[int], Any], least_seconds: float) -> int:
  """How many steps a round has: one warm step is timed.

  Args:
    run: runs so many steps and waits for them.
    least_seconds: how long a round lasts at least, up to 200 steps.
  """
  run(1)
  start = time.perf_counter()
  run(2)
  seconds = (time.perf_counter() - start) / 2
  return max(1, min(200, round(least_seconds / seconds)))


def work_of(run: Callable[[int], Any], steps: int) -> Callable[[], None]:
  """The work of a round: so many steps, without their result, which would go through a pipe."""

  def work() -> None:
    run(steps)

  return work


def torch_peers(eager: bool) -> list[str]:
  """PyTorch's sides on this machine's device: none if it has no PyTorch, or one without this kind of device.

  Args:
    eager: without `torch.compile`.
  """
  import importlib.util

  if importlib.util.find_spec("torch") is None:
    return []
  return [EAGER] if eager else [EAGER, COMPILED]


def device_settings() -> None:
  """Environment of all JAX processes: memory is taken as needed, since several share a device; the CPU is there to compare with."""
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.95")
  # On a CPU the formulation that accelerators have.
  os.environ.setdefault("JAXFACE_CPU_CONV", "xla")
  platforms = os.environ.get("JAX_PLATFORMS", "")
  if platforms and "cpu" not in platforms.split(","):
    os.environ["JAX_PLATFORMS"] = f"{platforms},cpu"


def our_jax() -> Any:
  """JAX without a persistent cache, so that times to compile are of a first start."""
  import jax

  jax.config.update("jax_enable_compilation_cache", False)
  return jax


def device_peak(jax: Any) -> int | None:
  """Peak of the device memory of this process in bytes; None where the device tells none."""
  return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def program_bytes(compiled: Any) -> int:
  """Memory of a compiled program: arguments, results that are not in place, and temporaries."""
  memory = compiled.memory_analysis()
  return (
    memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes + memory.temp_size_in_bytes
  )


def torch_device(torch: Any) -> str:
  """"cuda" where PyTorch has it, otherwise "cpu"; with the settings that users of PyTorch take for speed."""
  if not torch.cuda.is_available():
    torch.set_flush_denormal(True)
    return "cpu"
  torch.backends.cudnn.benchmark = True
  torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
  return "cuda"


def torch_wait(torch: Any, device: str) -> None:
  """Waits for all work on the device."""
  if device == "cuda":
    torch.cuda.synchronize()


__all__ = [
  "OURS", "Inline", "Measured", "Place", "device_peak", "device_settings", "our_jax", "program_bytes", "reason", "steps_for", "torch_device",
  "torch_peers", "torch_wait", "work_of",
]
