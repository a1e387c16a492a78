"""Semi-hard mining and locally connected layers on an accelerator, against PyTorch."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.accelerator.nets import gigabytes
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
from benchmarks.accelerator.sizes import Sizes
from benchmarks.common import speedup
from benchmarks.local_layers import Layer
from benchmarks.torch_sides import COMPILED, EAGER
from benchmarks.triplets import IMAGES, MARGIN, batch_of

MINING, LOCAL = "Semi-hard triplets, value and gradient", "Locally connected layers, value and gradients"
XLA = "XLA"
# Two orders of summing, and products in TF32 on some devices.
_TOLERANCE = 1e-2


def _ready(function: Callable, arguments: tuple, round_seconds: float) -> tuple[Callable[[], None], dict[str, Any]]:
  """A compiled function; its results' norms are facts."""
  jax = our_jax()
  arguments = jax.block_until_ready(jax.device_put(arguments))
  compiled = jax.jit(function).lower(*arguments).compile()

  def run(count: int) -> Any:
    result = None
    for _ in range(count):
      result = compiled(*arguments)
    return jax.block_until_ready(result)

  steps = steps_for(run, round_seconds)
  figures = [_norm(np.asarray(leaf)) for leaf in jax.tree.leaves(run(1))]
  return work_of(run, steps), {
    "steps": steps, "figures": figures, "peak bytes": device_peak(jax) or program_bytes(compiled)
  }


def _norm(part: np.ndarray) -> float:
  return float(np.linalg.norm(part.astype(np.float64)))


def triplets_side(size: int, round_seconds: float) -> tuple[Callable[[], None], dict[str, Any]]:
  """Our semi-hard triplet loss and its gradient."""
  jax = our_jax()
  from jaxface.losses.triplets import triplet_loss

  loss = jax.value_and_grad(lambda x_bd, label_b: triplet_loss(x_bd, label_b, mining="semi_hard", margin=MARGIN).mean())
  return _ready(loss, batch_of(size), round_seconds)


def torch_triplets_side(size: int, round_seconds: float, compiled: bool) -> tuple[Callable[[], None], dict[str, Any]]:
  """The same in PyTorch: each anchor's negatives sorted by distance, and a binary search for every positive."""
  import torch

  device = torch_device(torch)
  x, label = (torch.from_numpy(array).to(device) for array in batch_of(size))
  x.requires_grad_()
  other = label[:, None] != label[None, :]
  pair = ~other & ~torch.eye(size, dtype=torch.bool, device=device)

  def loss_of(x: Any) -> Any:
    unit = torch.nn.functional.normalize(x)
    distance = (2.0 - 2.0 * unit @ unit.t()).clamp(min=0.0)
    farther, _ = torch.where(other, distance, torch.inf).sort(1)
    place = torch.searchsorted(farther.detach(), distance.detach(), right=True).clamp(max=size - 1)
    violation = distance - farther.gather(1, place) + MARGIN
    active = pair & (violation > 0)
    return torch.where(active, violation, 0.0).sum() / active.sum().clamp(min=1)

  if compiled:
    loss_of = torch.compile(loss_of, dynamic=False)

  def run(count: int) -> Any:
    value = None
    for _ in range(count):
      x.grad = None
      value = loss_of(x)
      value.backward()
    torch_wait(torch, device)
    return value

  steps = steps_for(run, round_seconds)
  value = run(1)
  figures = [abs(value.item()), _norm(x.grad.cpu().numpy())]
  peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
  return work_of(run, steps), {"steps": steps, "figures": figures, "peak bytes": peak}


def layer_arrays(layer: Layer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Input [B, H, W, C], kernels [R, S, kh, kw, C, O] and gradient of the output [B, H', W', O]."""
  random = np.random.default_rng(0)
  x = random.standard_normal((layer.batch, *layer.size, layer.channels), np.float32)
  shape = (*layer.out, layer.kernel, layer.kernel, layer.channels, layer.features)
  kernel = random.standard_normal(shape, np.float32) / np.sqrt(np.float32(layer.taps))
  return x, kernel, random.standard_normal((layer.batch, *layer.out, layer.features), np.float32)


def layer_side(layer: Layer, round_seconds: float, xla: bool) -> tuple[Callable[[], None], dict[str, Any]]:
  """Our layer, or with `xla` `jax.lax.conv_general_dilated_local`, whose kernels are [R, S, C · kh · kw, O]."""
  jax = our_jax()
  from jaxface.layers.local import locally_connected

  x, kernel, slope = layer_arrays(layer)
  strides = (layer.stride, layer.stride)
  function = partial(locally_connected, strides=strides)
  if xla:
    kernel = np.ascontiguousarray(kernel.transpose(0, 1, 4, 2, 3, 5).reshape(*kernel.shape[:2], layer.taps, layer.features))
    function = partial(
      jax.lax.conv_general_dilated_local, window_strides=strides, padding="VALID", filter_shape=(layer.kernel, layer.kernel),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

  def both(x: Any, kernel: Any, slope: Any) -> tuple:
    y, pull = jax.vjp(function, x, kernel)
    return (y, *pull(slope))

  return _ready(both, (x, kernel, slope), round_seconds)


def torch_layer_side(layer: Layer, round_seconds: float, compiled: bool) -> tuple[Callable[[], None], dict[str, Any]]:
  """The same in PyTorch: `unfold`, then a batched matrix product."""
  import torch
  from torch.nn.functional import unfold

  device = torch_device(torch)
  positions = layer.out[0] * layer.out[1]
  x, kernel, slope = layer_arrays(layer)
  x = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).to(device).requires_grad_()
  kernel = torch.from_numpy(kernel.transpose(0, 1, 5, 4, 2, 3).reshape(positions, layer.features, layer.taps).copy()).to(device)
  kernel.requires_grad_()
  slope = torch.from_numpy(slope.transpose(0, 3, 1, 2).reshape(layer.batch, layer.features, positions).copy()).to(device)

  def forward(x: Any, kernel: Any) -> Any:
    return torch.bmm(kernel, unfold(x, layer.kernel, stride=layer.stride).permute(2, 1, 0)).permute(2, 1, 0)

  if compiled:
    forward = torch.compile(forward, dynamic=False)

  def run(count: int) -> Any:
    y = None
    for _ in range(count):
      x.grad = kernel.grad = None
      y = forward(x, kernel)
      y.backward(slope)
    torch_wait(torch, device)
    return y.detach()

  steps = steps_for(run, round_seconds)
  figures = [_norm(part.cpu().numpy()) for part in (run(1), x.grad, kernel.grad)]
  peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
  return work_of(run, steps), {"steps": steps, "figures": figures, "peak bytes": peak}


def _row(about: dict[str, Any], place: Place, sides: dict[str, Any], others: tuple[str, ...]) -> dict[str, Any]:
  found = place.compare(sides)
  ours = found.facts[OURS]["figures"]
  for side, facts in found.facts.items():
    if not np.allclose(facts["figures"], ours, rtol=_TOLERANCE):
      raise RuntimeError(f"{about}: norms of the results differ: {ours} here, {facts['figures']} in {side}")
  seconds = {side: float(np.median(taken)) for side, taken in found.seconds.items()}
  row = {**about, "ms": 1e3 * seconds[OURS], "memory GB": gigabytes(found.facts[OURS]["peak bytes"])}
  for side in others:
    row[f"{side} ms"] = 1e3 * seconds[side] if side in seconds else found.failed.get(side, "")
    row[f"speed / {side}"] = str(speedup(found.seconds, OURS, side)) if side in seconds else ""
  return row


def mining(size: int, place: Place, sizes: Sizes, peers: list[str]) -> dict[str, list[dict[str, Any]]]:
  """A row of the table `MINING`."""
  sides = {OURS: (triplets_side, (size, sizes.round_seconds))}
  sides |= {peer: (torch_triplets_side, (size, sizes.round_seconds, peer == COMPILED)) for peer in peers}
  about = {"batch": size, "images per identity": IMAGES}
  return {MINING: [_row(about, place, sides, (EAGER, COMPILED))]}


def local(name: str, place: Place, sizes: Sizes, peers: list[str]) -> dict[str, list[dict[str, Any]]]:
  """A row of the table `LOCAL`."""
  layer = sizes.local[name]
  sides = {OURS: (layer_side, (layer, sizes.round_seconds, False)), XLA: (layer_side, (layer, sizes.round_seconds, True))}
  sides |= {peer: (torch_layer_side, (layer, sizes.round_seconds, peer == COMPILED)) for peer in peers}
  return {LOCAL: [_row({"layer": name, "batch": layer.batch}, place, sides, (XLA, EAGER, COMPILED))]}


__all__ = ["LOCAL", "MINING", "layer_side", "local", "mining", "torch_layer_side", "torch_triplets_side", "triplets_side"]
