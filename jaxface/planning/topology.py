"""Devices that a run may be planned for: memory, peak speed and connections, by a name such as `v5e:16x16`.

The figures are published ones, per chip. TPU: Google Cloud's pages of system architecture, and Austin et al., "How to Scale Your
Model", 2025, chapter 2 (bandwidth of one link in one direction); memory is what the compiler lets a program use. GPU: NVIDIA's data sheets of the SXM forms, products without sparsity.
"""

import math
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
  """A kind of device.

  Attributes:
    name: as in a topology.
    memory: bytes of its main memory that a program may use.
    bandwidth: bytes per second of that memory.
    flops: floating-point operations per second in products, by the type of the numbers.
    link: bytes per second of one link in one direction; of a GPU, of all its links within a host.
    axes: axes of the network of chips, 2 or 3; 0 if it is no torus.
    outer: bytes per second of a GPU's connection to other hosts, in one direction.
    per_host: GPUs of a host.
  """

  name: str
  memory: float
  bandwidth: float
  flops: dict[str, float]
  link: float
  axes: int = 0
  outer: float = 0.0
  per_host: int = 0


def _tpu(name: str, memory: float, bandwidth: float, flops: float, link: float, axes: int) -> Chip:
  # XLA multiplies float32 numbers on a TPU as bfloat16 unless a higher precision is asked for.
  return Chip(name, memory * 2**30, bandwidth, {"bfloat16": flops, "float32": flops}, link, axes)


def _gpu(name: str, memory: float, bandwidth: float, flops: tuple[float, float], link: float) -> Chip:
  # XLA multiplies float32 numbers on a GPU as TF32.
  return Chip(name, memory, bandwidth, {"bfloat16": flops[0], "float32": flops[1]}, link, outer=50e9, per_host=8)


TPUS = {
  chip.name: chip for chip in (
    _tpu("v4", 30.75, 1.2e12, 275e12, 45e9, 3),
    _tpu("v5e", 15.75, 0.82e12, 197e12, 45e9, 2),
    _tpu("v5p", 95.73, 2.765e12, 459e12, 90e9, 3),
    _tpu("v6e", 31.24, 1.64e12, 918e12, 90e9, 2),
  )
}
GPUS = {
  chip.name: chip for chip in (
    _gpu("a100", 80e9, 2.039e12, (312e12, 156e12), 300e9),
    _gpu("h100", 80e9, 3.35e12, (989.5e12, 494.7e12), 450e9),
    _gpu("h200", 141e9, 4.8e12, (989.5e12, 494.7e12), 450e9),
    _gpu("b200", 180e9, 8e12, (2250e12, 1100e12), 900e9),
  )
}
# Forced devices of one machine, which share its cores and memory: no figures of their own.
CPU = Chip("cpu", 0.0, 0.0, {}, 0.0)
# Length of an axis from which it is a ring. Shorter ones are lines, which have half the bandwidth.
_RING = {2: 16, 3: 4}
EXAMPLES = "v4:4x4x4, v5e:16x16, v5p:4x4x4, v6e:16x16, cpu:8, gpu:h100x8"


@dataclass(frozen=True)
class Topology:
  """Devices of a run.

  Attributes:
    name: as given.
    platform: "tpu", "cpu" or "gpu".
    chip: kind of each device.
    shape: devices along each axis of their network.
  """

  name: str
  platform: str
  chip: Chip
  shape: tuple[int, ...]

  @property
  def count(self) -> int:
    """Number of devices."""
    return math.prod(self.shape)

  @property
  def exchange(self) -> float:
    """Bytes per second at which a device can send in a collective over all devices; 0 if it is not known."""
    chip = self.chip
    if self.platform == "gpu":
      return chip.link if self.count <= chip.per_host else chip.outer
    if self.platform == "cpu":
      return 0.0
    return chip.link * sum(2 if length >= _RING[chip.axes] else 1 for length in self.shape if length > 1)


def parse_topology(text: str) -> Topology:
  """The topology of a name.

  Args:
    text: KIND:LENGTHxLENGTH for a TPU, such as "v5e:16x16"; "cpu:N" for forced devices of this machine; "gpu:KINDxN".
  Raises:
    ValueError: unknown, with the valid names.
  """
  if match := re.fullmatch(r"cpu:(\d{1,4})", text):
    if int(match[1]):
      return Topology(text, "cpu", CPU, (int(match[1]),))
  elif match := re.fullmatch(r"gpu:([a-z]+\d+)x(\d{1,5})", text):
    chip, count = GPUS.get(match[1]), int(match[2])
    if chip and count and (count <= chip.per_host or count % chip.per_host == 0):
      return Topology(text, "gpu", chip, (count,))
    if chip:
      raise ValueError(f"topology {text!r}: needs 1 to {chip.per_host} GPUs, or a multiple of {chip.per_host}")
  elif match := re.fullmatch(r"(v\d\w*):(\d+(?:x\d+)*)", text):
    chip, shape = TPUS.get(match[1]), tuple(map(int, match[2].split("x")))
    if chip and len(shape) == chip.axes and 0 < math.prod(shape) <= 10_000:
      return Topology(text, "tpu", chip, shape)
    if chip:
      raise ValueError(f"topology {text!r}: {chip.name} needs {chip.axes} lengths such as {chip.name}:{'x'.join(['4'] * chip.axes)}")
  raise ValueError(
    f"unknown topology {text!r}: takes KIND:LENGTHxLENGTH of the TPUs {', '.join(TPUS)}, cpu:N, or gpu:KINDxN of {', '.join(GPUS)};"
    f" for example {EXAMPLES}"
  )


__all__ = ["CPU", "EXAMPLES", "GPUS", "TPUS", "Chip", "Topology", "parse_topology"]
