"""The class centres' training step on an accelerator: dense and sampled, up to as many classes as fit, against PyTorch."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.accelerator.nets import gigabytes
from benchmarks.accelerator.sides import (
  OURS,
  Place,
  device_peak,
  our_jax,
  steps_for,
  torch_device,
  torch_wait,
  work_of,
)
from benchmarks.accelerator.sizes import Sizes
from benchmarks.common import speedup
from benchmarks.torch_sides import COMPILED, EAGER

TABLE = "Class centres"
# Fields of `Classification`, and how many classes share a place in the sample.
CASES: dict[str, tuple[dict[str, Any], int]] = {
  "dense head": ({"sharded": False}, 1),
  "all, by rows": ({}, 1),
  "all, in blocks": ({"block": 4096}, 1),
  "a tenth": ({"sample_rate": 0.1}, 10),
  "a tenth, in blocks": ({"sample_rate": 0.1, "block": 4096}, 10),
}
# Of the search for as many classes as fit: share of the memory that the first try aims at, and of the classes if one fails.
_AIM, _LESS, _TRIES = 0.92, 0.9, 4
_MULTIPLE = 2560
# Relative, of first losses: their standard deviation is 0.4 % for 512 rows.
_TOLERANCE = 0.03


def jaxface_side(classes: int, size: int, batch: int, settings: dict[str, Any], round_seconds: float) -> tuple[Callable[[], float], dict[str, Any]]:
  """Our step.

  Args:
    classes: C.
    size: D.
    batch: B.
    settings: fields of `Classification`.
    round_seconds: least time of a round.
  """
  jax = our_jax()
  from benchmarks.head_step import start

  run, facts = start(classes, size, batch, **settings)
  loss = run()
  steps = steps_for(run, round_seconds)
  return work_of(run, steps), {"steps": steps, "loss": loss, "peak bytes": device_peak(jax) or facts["state"] + facts["temporaries"]}


def pytorch_side(
  classes: int, size: int, batch: int, group: int, round_seconds: float, compiled: bool
) -> tuple[Callable[[], None], dict[str, Any]]:
  """PyTorch's step, in float32 with TF32 products as ours."""
  import torch

  from benchmarks.torch_head import start

  device = torch_device(torch)
  step = start(classes, size, batch, group, device=device, compiled=compiled)
  loss = step().item()

  def run(steps: int) -> None:
    for _ in range(steps):
      step()
    torch_wait(torch, device)

  steps = steps_for(run, round_seconds)
  return work_of(run, steps), {"steps": steps, "loss": loss, "peak bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None}


def fitting(size: int, batch: int, settings: dict[str, Any], most_bytes: int, classes: tuple[int, int]) -> tuple[Callable[[], None], dict[str, Any]]:
  """How many classes should fit, from the memory of two compiled programs; nothing is run.

  Args:
    size: D.
    batch: B.
    settings: fields of `Classification`.
    most_bytes: memory to use; 0 for that of the device.
    classes: of the two programs.
  """
  jax = our_jax()
  from benchmarks.accelerator.sides import program_bytes
  from benchmarks.head_step import head_step
  from jaxface.training.config import MeshConfig
  from jaxface.training.mesh import make_mesh

  limit = most_bytes or (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
  if not limit:
    raise RuntimeError("the device does not tell how much memory it has")
  mesh = make_mesh(MeshConfig(), jax.devices()[:1])
  small, large = (program_bytes(head_step(count, size, batch, mesh, **settings).compiled()) for count in classes)
  slope = max((large - small) / (classes[1] - classes[0]), 1.0)
  most = classes[0] + (_AIM * limit - small) / slope
  return (lambda: None), {"steps": 1, "classes": max(_MULTIPLE, int(most) // _MULTIPLE * _MULTIPLE), "limit": limit}


def measure(case: str, classes: int, place: Place, sizes: Sizes, peers: list[str]) -> dict[str, list[dict[str, Any]]]:
  """A row of the table.

  Args:
    case: a key of `CASES`.
    classes: C.
    place: where.
    sizes: batch and embeddings.
    peers: sides of PyTorch.
  """
  settings, group = CASES[case]
  common = (classes, sizes.head_size, sizes.head_batch)
  sides = {OURS: (jaxface_side, (*common, settings, sizes.round_seconds))}
  sides |= {peer: (pytorch_side, (*common, group, sizes.round_seconds, peer == COMPILED)) for peer in peers}
  found = place.compare(sides)
  ours = found.facts[OURS]
  for side, facts in found.facts.items():
    # The sides draw their own numbers.
    if not np.isclose(facts["loss"], ours["loss"], rtol=_TOLERANCE):
      raise RuntimeError(f"{case}: the first loss is {ours['loss']} here, {facts['loss']} in {side}")
  seconds = {side: float(np.median(taken)) for side, taken in found.seconds.items()}
  rate = 6 * sizes.head_batch * (classes / group) * sizes.head_size / seconds[OURS]
  row: dict[str, Any] = {
    "classes": classes, "scored": case, "ms": 1e3 * seconds[OURS], "TFLOP/s": rate / 1e12, "memory GB": gigabytes(ours["peak bytes"]),
  }
  for peer in (EAGER, COMPILED):
    row[f"{peer} ms"] = 1e3 * seconds[peer] if peer in seconds else found.failed.get(peer, "")
    row[f"speed / {peer}"] = str(speedup(found.seconds, OURS, peer)) if peer in seconds else ""
    row[f"{peer} memory GB"] = gigabytes(found.facts[peer]["peak bytes"]) if peer in seconds else ""
  return {TABLE: [row]}


def most_classes(case: str, place: Place, sizes: Sizes) -> dict[str, list[dict[str, Any]]]:
  """The row of the largest number of classes that runs, to within a tenth of what the memory of the program says.

  Raises:
    RuntimeError: none of the tries ran.
  """
  settings, _ = CASES[case]
  probes = (4 * sizes.classes[0], 8 * sizes.classes[0])
  side = place.open(fitting, sizes.head_size, sizes.head_batch, settings, sizes.most_bytes, probes)
  classes = side.facts["classes"]
  side.close()
  for attempt in range(_TRIES):
    try:
      return measure(case, classes, place, sizes, [])
    except RuntimeError:
      if attempt == _TRIES - 1:
        raise
      classes = int(classes * _LESS) // _MULTIPLE * _MULTIPLE
  raise AssertionError("not reached")


__all__ = ["CASES", "TABLE", "fitting", "jaxface_side", "measure", "most_classes", "pytorch_side"]
