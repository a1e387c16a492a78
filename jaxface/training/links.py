"""Published bandwidths of the links between devices, and what an all-reduce over them should reach.

All figures are GB/s (1e9 bytes per second) in one direction, per device unless it says otherwise; vendors often give the sum of both
directions. Bandwidth of an all-reduce is 2 (n − 1) / n · bytes / seconds ("bus bandwidth"), which a ring of links would carry, so it
can be compared with a link whatever the number of devices.

Source: NVIDIA, nccl-tests, doc/PERFORMANCE.md (bus bandwidth); the tables below name theirs.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Torus(NamedTuple):
  """Links of a TPU.

  Attributes:
    kind: pattern of JAX's `device_kind`.
    port: GB/s of one of the ports to a neighbour.
    dimensions: of the torus; a chip has two ports in each.
    closed: a dimension has links from its end to its begin when its size is a multiple of this.
    network: GB/s per chip of the data-centre network between slices; 0 if not published.
    source: where the figures are from.
  """

  kind: str
  port: float
  dimensions: int
  closed: int
  network: float
  source: str


class Gpu(NamedTuple):
  """Links of a GPU within a host.

  Attributes:
    kind: pattern of JAX's `device_kind`; the first that matches counts.
    link: GB/s to the other GPUs of its host.
    what: name of the link.
    source: where the figure is from.
  """

  kind: str
  link: float
  what: str
  source: str


# Google gives the bandwidth of a chip as a sum over its ports, of one direction in Gbit/s or of both in GB/s:
# v4 2,400 Gbit/s over 6 ports; v5e 400 GB/s over 4; v5p 1,200 GB/s over 6; v6e 800 GB/s (3,200 Gbit/s one way) over 4.
# Network per pod: v5e 6.4 Tbit/s, v6e 25.6 Tbit/s, of 256 chips; v5p 50 Gbit/s per chip.
# v5e and v6e close a dimension of 16; v4 and v5p are made of cubes of 4x4x4, whose multiples are closed.
TPUS = (
  Torus(r"TPU v4", 50.0, 3, 4, 0.0, "cloud.google.com/tpu/docs/v4"),
  Torus(r"TPU v5 ?lite|TPU v5e", 50.0, 2, 16, 3.125, "cloud.google.com/tpu/docs/v5e"),
  Torus(r"TPU v5p?$", 100.0, 3, 4, 6.25, "cloud.google.com/tpu/docs/v5p"),
  Torus(r"TPU v6 ?lite|TPU v6e", 100.0, 2, 16, 12.5, "cloud.google.com/tpu/docs/v6e"),
)
GPUS = (
  Gpu(r"GB200|B200|B300", 900.0, "NVLink 5", "nvidia.com/en-us/data-center/nvlink"),
  Gpu(r"H100 PCIe", 64.0, "PCIe 5 x16", "NVIDIA H100 data sheet"),
  Gpu(r"H100|H200|GH200|H800", 450.0, "NVLink 4", "NVIDIA H100 and H200 data sheets"),
  Gpu(r"A100.*PCI", 32.0, "PCIe 4 x16", "NVIDIA A100 data sheet"),
  Gpu(r"A100", 300.0, "NVLink 3", "NVIDIA A100 data sheet"),
  Gpu(r"V100.*SXM", 150.0, "NVLink 2", "NVIDIA V100 data sheet"),
  Gpu(r"V100|T4", 16.0, "PCIe 3 x16", "NVIDIA V100 and T4 data sheets"),
  Gpu(r"L4\b|L40|A10", 32.0, "PCIe 4 x16", "NVIDIA L4, L40S and A10 data sheets"),
)


class Expected(NamedTuple):
  """What an all-reduce should reach.

  Attributes:
    rate: GB/s of bus bandwidth; None if no figure is known.
    why: how it comes about, with the source; or why there is none.
  """

  rate: float | None
  why: str


def expected_rate(kinds: Sequence[str], hosts: Sequence[str], coords: Sequence[Sequence[int]], slices: Sequence[int], network: float) -> Expected:
  """What an all-reduce over some devices should reach.

  Args:
    kinds: JAX's `device_kind` of each device.
    hosts: name of the host of each device.
    coords: coordinates of each TPU in its slice, or empty ones.
    slices: slice of each TPU.
    network: GB/s of the interfaces of the slowest host, 0 if not known.
  """
  if len(set(kinds)) > 1:
    return Expected(None, f"devices of several kinds: {', '.join(sorted(set(kinds)))}")
  kind, several = kinds[0], len(set(hosts)) > 1
  if tpu := next((one for one in TPUS if re.match(one.kind, kind)), None):
    return _torus_rate(tpu, coords, slices)
  gpu = next((one for one in GPUS if re.search(rf"\b(?:{one.kind})", kind)), None)
  within = Expected(gpu.link, f"{gpu.what}, {gpu.source}") if gpu else Expected(None, f"no published figure for {kind!r}: give --expect")
  if not several:
    return within
  if not network:
    return Expected(None, "the hosts do not report the rate of their network: give --expect")
  if within.rate is not None and within.rate < network:
    return within
  return Expected(network, "network interfaces of a host, as it reports them")


def _torus_rate(tpu: Torus, coords: Sequence[Sequence[int]], slices: Sequence[int]) -> Expected:
  if len(set(slices)) > 1:
    return Expected(tpu.network or None, f"data-centre network between slices, {tpu.source}" if tpu.network else f"no figure in {tpu.source}: give --expect")
  if not all(len(one) for one in coords):
    return Expected(None, "the devices report no coordinates: give --expect")
  sizes = [len(set(axis)) for axis in np.asarray(coords).T if len(set(axis)) > 1][: tpu.dimensions]
  # Of v4 and v5p, slices that are not made of whole cubes are closed in no dimension.
  whole = tpu.dimensions < 3 or (len(sizes) == 3 and not any(size % tpu.closed for size in sizes))
  ports = sum(2 if whole and size % tpu.closed == 0 else 1 for size in sizes)
  shape = "x".join(map(str, sizes)) or "1"
  return Expected(ports * tpu.port, f"{ports} ports of {tpu.port:g} GB/s, slice of {shape}, {tpu.source}") if sizes else Expected(None, "one chip")


def network_interfaces(root: Path = Path("/sys/class")) -> dict[str, float]:
  """GB/s of each active network interface of this host by name, as the Linux kernel reports them: InfiniBand, or else Ethernet.

  Args:
    root: where the kernel lists classes of devices.
  """
  found: dict[str, float] = {}
  for port in sorted(root.glob("infiniband/*/ports/*")):
    if "ACTIVE" in _text(port / "state") and (rate := re.match(r"([\d.]+) Gb/sec", _text(port / "rate"))):
      found[f"{port.parts[-3]}/{port.name}"] = float(rate[1]) / 8
  if found:
    return found
  for interface in sorted(root.glob("net/*")):
    speed = _text(interface / "speed")
    # Virtual interfaces, such as bridges, have no device.
    if (interface / "device").exists() and _text(interface / "operstate") == "up" and speed.isdecimal() and int(speed) > 0:
      found[interface.name] = int(speed) / 8000
  return found


def _text(path: Path) -> str:
  try:
    return path.read_text().strip()
  except OSError:
    return ""


__all__ = ["GPUS", "TPUS", "Expected", "Gpu", "Torus", "expected_rate", "network_interfaces"]
