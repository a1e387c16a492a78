"""The training step of a network on an accelerator, against PyTorch."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.accelerator.sides import (
  OURS,
  Place,
  device_peak,
  our_jax,
  program_bytes,
  steps_for,
  torch_device,
  torch_wait,
  work_of,
)
from benchmarks.common import speedup
from benchmarks.nets import Net, multiply_adds, same_parameters
from benchmarks.torch_sides import COMPILED, EAGER

STEP, BY_PART = "Training step", "Time by part, ms per step"
# Steps in a trace.
TRACED = 5


def jaxface_side(net: Net, classes: int, batch: int, round_seconds: float, profile: bool) -> tuple[Callable[[], None], dict[str, Any]]:
  """Our step in bfloat16.

  Args:
    net: the network.
    classes: identities.
    batch: images.
    round_seconds: least time of a round.
    profile: also take the time of its parts.
  """
  jax = our_jax()
  from benchmarks.accelerator.trace import step_parts
  from benchmarks.net_step import ready

  made = ready(net, classes, "bfloat16", batch)
  state, metrics = made.state, {}

  def run(steps: int) -> None:
    nonlocal state, metrics
    for _ in range(steps):
      state, metrics = made.compiled(state, made.batch)
    jax.block_until_ready((state, metrics))

  steps = steps_for(run, round_seconds)
  parts = step_parts(run, TRACED, made.compiled.as_text()) if profile else {}
  if int(metrics["bad_steps"]):
    raise RuntimeError("a step was not finite and was skipped: the timing is not of training")
  return work_of(run, steps), {
    "steps": steps, "parameters": made.parameters, "compile s": made.seconds, "program bytes": program_bytes(made.compiled),
    "peak bytes": device_peak(jax), "loss": float(metrics["loss"]), "parts": parts,
    # Forward and backward; the head's product too. A step that recomputes does more.
    "flops": 6 * (multiply_adds(net) + classes * _embedding_size(state)) * batch,
  }


def _embedding_size(state: Any) -> int:
  return state.params["terms"][0]["center_cd"].shape[1]


def pytorch_side(net: Net, classes: int, batch: int, round_seconds: float, compiled: bool) -> tuple[Callable[[], None], dict[str, Any]]:
  """PyTorch's step: bfloat16 by autocast, channels last."""
  import torch

  from benchmarks.torch_step import ready

  device = torch_device(torch)
  step, facts = ready(net, classes, "bfloat16", batch, compiled, device)

  def run(steps: int) -> None:
    for _ in range(steps):
      step()
    torch_wait(torch, device)

  steps = steps_for(run, round_seconds)
  peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
  return work_of(run, steps), {**facts, "steps": steps, "peak bytes": peak}


def measure(
  name: str, net: Net, batch: int, place: Place, peers: list[str], *, identities: int, round_seconds: float, flops_peak: float | None,
  profile: bool,
) -> dict[str, list[dict[str, Any]]]:
  """Rows of the tables `STEP` and, with `profile`, `BY_PART`.

  Args:
    name: of the network.
    net: the network.
    batch: images.
    place: where.
    peers: sides of PyTorch.
    identities: classes of the head.
    round_seconds: least time of a round.
    flops_peak: published peak of the device; None if it is unknown.
    profile: also the time of the parts.
  """
  common = (net, identities, batch, round_seconds)
  sides = {OURS: (jaxface_side, (*common, profile))}
  sides |= {peer: (pytorch_side, (*common, peer == COMPILED)) for peer in peers}
  found = place.compare(sides)
  ours = found.facts[OURS]
  parameters = same_parameters(name, {side: facts["parameters"] for side, facts in found.facts.items()})
  row: dict[str, Any] = {"network": name, "batch": batch, "parameters": parameters}
  seconds = {side: float(np.median(taken)) for side, taken in found.seconds.items()}
  rate = ours["flops"] / seconds[OURS]
  row |= {
    "images/s": batch / seconds[OURS], "TFLOP/s": rate / 1e12,
    "share of peak": f"{100 * rate / flops_peak:.1f} %" if flops_peak else "",
    "memory GB": gigabytes(ours["peak bytes"] or ours["program bytes"]), "compile s": ours["compile s"],
  }
  for peer in (EAGER, COMPILED):
    row[f"{peer} images/s"] = batch / seconds[peer] if peer in seconds else found.failed.get(peer, "")
    row[f"speed / {peer}"] = str(speedup(found.seconds, OURS, peer)) if peer in seconds else ""
    row[f"{peer} memory GB"] = gigabytes(found.facts[peer]["peak bytes"]) if peer in seconds else ""
  tables = {STEP: [row]}
  if ours["parts"]:
    total = 1e3 * seconds[OURS]
    tables[BY_PART] = [{"network": name, "batch": batch, "step": total, **ours["parts"]}]
  return tables


def gigabytes(count: int | None) -> float | str:
  """Bytes as GB; "" for None."""
  return "" if count is None else count / 1e9


__all__ = ["BY_PART", "STEP", "gigabytes", "jaxface_side", "measure", "pytorch_side"]
