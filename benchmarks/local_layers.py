"""Locally connected layers, value and gradients, against XLA and PyTorch; weights shared by region against repeated weights.

  python -m benchmarks.local_layers [--layers NAME ...] [--rounds N] [--eager] [--json FILE]

DeepFace's L4, L5 and L6 at batch 32 (bars: 5 × `jax.lax.conv_general_dilated_local`; 3 × PyTorch's `unfold` with `einsum` or
`bmm`, and with windows that are views; less than 50 MB beyond arguments and results), then conv3 of DeepID's networks at batch
128 (bar: 4 × `conv_general_dilated_local` with its weights repeated). Each side has its kernels in its preferred order, and computes
the output and the gradients with respect to input and kernels, in float32. Exits with 1 if a bar was missed.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import equal_malloc, interleave, machine, speedup
from benchmarks.matrix_peak import NOTE, PRODUCT, product_side, share
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.torch_sides import COMPILED, EAGER, MEMORY, torch_sides
from benchmarks.worker import Worker, beyond, cores

BAR_XLA, BAR_TORCH, GOAL_TORCH, BAR_MB, BAR_REPEATED = 5.0, 3.0, 4.0, 50.0, 4.0
# Tolerance for two orders of summing up to 1,296 products.
TOLERANCE = 1e-3


class Layer(NamedTuple):
  """A layer: images, size of the input, channels, kernel size, stride, channels of the output, size of a region."""

  batch: int
  size: tuple[int, int]
  channels: int
  kernel: int
  stride: int
  features: int
  block: int = 1

  @property
  def out(self) -> tuple[int, int]:
    height, width = ((n - self.kernel) // self.stride + 1 for n in self.size)
    return height, width

  @property
  def taps(self) -> int:
    return self.kernel * self.kernel * self.channels


LAYERS = {
  "deepface L4": Layer(32, (63, 63), 16, 9, 1, 16),
  "deepface L5": Layer(32, (55, 55), 16, 7, 2, 16),
  "deepface L6": Layer(32, (25, 25), 16, 5, 1, 16),
  "deepid conv3 39×31": Layer(128, (8, 6), 40, 3, 1, 60, 2),
  "deepid conv3 31×31": Layer(128, (6, 6), 40, 3, 1, 60, 2),
  "deepid2 conv3": Layer(128, (12, 10), 40, 3, 1, 60, 2),
}


def arrays(layer: Layer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Input [B, H, W, C], kernels [R, S, kh, kw, C, O] and gradient of the output [B, H', W', O]."""
  random = np.random.default_rng(0)
  regions = tuple(n // layer.block for n in layer.out)
  x = random.standard_normal((layer.batch, *layer.size, layer.channels), np.float32)
  shape = (*regions, layer.kernel, layer.kernel, layer.channels, layer.features)
  kernel = random.standard_normal(shape, np.float32) / np.sqrt(np.float32(layer.taps))
  return x, kernel, random.standard_normal((layer.batch, *layer.out, layer.features), np.float32)


def length(part: Any) -> float:
  """Euclidean norm of all numbers; by rows first, since one sum of 63 million squares is inaccurate in float32."""
  part = np.asarray(part)
  return float(np.linalg.norm(np.linalg.norm(part.reshape(len(part), -1), axis=1).astype(np.float64)))


def ready(name: str, function: Callable, kernel_of: Callable[[np.ndarray], np.ndarray]) -> tuple[Callable, dict[str, Any]]:
  """Output and gradients of a layer (input, kernel), compiled; with norms of the results and memory use."""
  import jax

  x, kernel, slope = arrays(LAYERS[name])

  def both(x: Any, kernel: Any, slope: Any) -> tuple:
    y, pull = jax.vjp(function, x, kernel)
    return (y, *pull(slope))

  arguments = jax.block_until_ready([jax.device_put(array) for array in (x, kernel_of(kernel), slope)])
  compiled = jax.jit(both).lower(*arguments).compile()

  def run() -> list:
    return jax.block_until_ready(compiled(*arguments))

  parts, extra = beyond(run)
  return lambda: bool(run()), {"figures": [length(part) for part in parts], "extra": extra}


def jaxface_layer(name: str, form: str = "", low_memory: bool | None = None) -> tuple[Callable, dict[str, Any]]:
  """Our layer: native code if built, or another form."""
  from jaxface.layers.formulation import current_formulation, formulation
  from jaxface.layers.local import locally_connected
  from jaxface.layers.local_shared import locally_shared_conv

  layer = LAYERS[name]
  strides = (layer.stride, layer.stride)
  with formulation(form or current_formulation()):
    if layer.block > 1:
      return ready(name, partial(locally_shared_conv, block=layer.block, strides=strides), lambda kernel: kernel)
    return ready(name, partial(locally_connected, strides=strides, low_memory=low_memory), lambda kernel: kernel)


def all_at_once(name: str) -> tuple[Callable, dict[str, Any]]:
  """Our layer in pure JAX, in one product."""
  return jaxface_layer(name, "pure", low_memory=False)


def low_memory(name: str) -> tuple[Callable, dict[str, Any]]:
  """Our layer in pure JAX, a few rows at a time."""
  return jaxface_layer(name, "pure", low_memory=True)


def pure(name: str) -> tuple[Callable, dict[str, Any]]:
  """Our layer in pure JAX."""
  return jaxface_layer(name, "pure")


def repeated(name: str, kernel: Any) -> Any:
  """The kernel of a region repeated for each of its positions."""
  import jax.numpy as jnp

  block = LAYERS[name].block
  return kernel if block == 1 else jnp.repeat(jnp.repeat(kernel, block, 0), block, 1)


def repeated_layer(name: str) -> tuple[Callable, dict[str, Any]]:
  """Our locally connected layer, with weights repeated."""
  from jaxface.layers.local import locally_connected

  return ready(name, lambda x, kernel: locally_connected(x, repeated(name, kernel)), lambda kernel: kernel)


def xla_layer(name: str) -> tuple[Callable, dict[str, Any]]:
  """`conv_general_dilated_local`, whose kernels are [R, S, C · kh · kw, O]; shared weights are repeated."""
  import jax

  layer = LAYERS[name]

  def function(x: Any, kernel: Any) -> Any:
    sides, strides = (layer.kernel, layer.kernel), (layer.stride, layer.stride)
    return jax.lax.conv_general_dilated_local(
      x, repeated(name, kernel), strides, "VALID", sides, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  def kernel_of(kernel: np.ndarray) -> np.ndarray:
    return kernel.transpose(0, 1, 4, 2, 3, 5).reshape(*kernel.shape[:2], layer.taps, layer.features)

  return ready(name, function, kernel_of)


def pytorch_ready(name: str, ways: dict[str, Callable], eager: bool) -> tuple[Callable, dict[str, Any]]:
  """The fastest of several implementations, each also with `torch.compile` unless `eager`, which take images [B, C, H, W] and kernels [H' · W', O, C · kh · kw]."""
  import torch

  torch.set_num_threads(cores())
  layer = LAYERS[name]
  x, kernel, slope = arrays(layer)
  positions = layer.out[0] * layer.out[1]
  x = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
  kernel = torch.from_numpy(kernel.transpose(0, 1, 5, 4, 2, 3).reshape(positions, layer.features, layer.taps).copy())
  kernel.requires_grad_()
  slope = torch.from_numpy(slope.transpose(0, 3, 1, 2).reshape(layer.batch, layer.features, positions).copy())
  if not eager:
    ways = ways | {f"{way} compiled".strip(): torch.compile(function, dynamic=False) for way, function in ways.items()}

  def run(way: str) -> tuple:
    x.grad = kernel.grad = None
    y = ways[way](x, kernel)
    y.backward(slope)
    return y.detach(), x.grad, kernel.grad

  parts, extra = beyond(lambda: run(next(iter(ways))))
  seconds = {}
  for way in ways:
    run(way)
    start = time.perf_counter()
    run(way)
    seconds[way] = time.perf_counter() - start
  faster = min(ways, key=lambda way: seconds[way])
  return lambda: bool(run(faster)), {"figures": [length(part) for part in parts], "how": faster, "extra": extra}


def pytorch_unfold(name: str, eager: bool) -> tuple[Callable, dict[str, Any]]:
  """The usual implementation: `unfold`, then one of two products."""
  import torch
  from torch.nn.functional import unfold

  layer = LAYERS[name]

  def by_einsum(x: Any, kernel: Any) -> Any:
    return torch.einsum("nkp,pok->nop", unfold(x, layer.kernel, stride=layer.stride), kernel)

  def by_bmm(x: Any, kernel: Any) -> Any:
    return torch.bmm(kernel, unfold(x, layer.kernel, stride=layer.stride).permute(2, 1, 0)).permute(2, 1, 0)

  return pytorch_ready(name, {"einsum": by_einsum, "bmm": by_bmm}, eager)


def pytorch_windows(name: str, eager: bool) -> tuple[Callable, dict[str, Any]]:
  """The fastest in PyTorch: windows as views, which `einsum` copies into its order."""
  import torch

  layer = LAYERS[name]
  height, width = layer.out

  def by_view(x: Any, kernel: Any) -> Any:
    seen = x.unfold(2, layer.kernel, layer.stride).unfold(3, layer.kernel, layer.stride)
    kernel = kernel.view(height, width, layer.features, layer.channels, layer.kernel, layer.kernel)
    return torch.einsum("nchwij,hwocij->nohw", seen, kernel).reshape(layer.batch, layer.features, -1)

  return pytorch_ready(name, {"": by_view}, eager)


def peers_of(name: str, sides: list[str]) -> dict[str, tuple[Callable, float | None]]:
  """Peers of a layer: their constructors, and the bars."""
  if LAYERS[name].block > 1:
    return {"pure": (pure, None), "repeated": (repeated_layer, None), "xla repeated": (xla_layer, BAR_REPEATED)}
  eager = COMPILED not in sides
  torch = {f"{EAGER} unfold": (partial(pytorch_unfold, eager=eager), BAR_TORCH), f"{EAGER} windows": (partial(pytorch_windows, eager=eager), BAR_TORCH)}
  forms = {"all at once": (all_at_once, None), "low memory": (low_memory, None)}
  return forms | (torch if sides else {}) | {"xla": (xla_layer, BAR_XLA)}


def compare(name: str, peer: str, build: Callable, bar: float | None, rounds: int) -> dict[str, Any]:
  """A row of the table: two sides in their own processes, alternating."""
  sides = {"jaxface": Worker(jaxface_layer, name), peer: Worker(build, name)}
  ours, theirs = (side.facts["figures"] for side in sides.values())
  if not np.allclose(ours, theirs, rtol=TOLERANCE):
    raise AssertionError(f"{name}: lengths of output and gradients differ: jaxface has {ours}, {peer} {theirs}")
  product = Worker(product_side, "float32")
  timing = interleave({**sides, PRODUCT: product}, rounds=rounds)
  product.close()
  layer = LAYERS[name]
  flops = 6 * layer.batch * layer.out[0] * layer.out[1] * layer.taps * layer.features
  extra = {side: worker.facts["extra"] / 1e6 for side, worker in sides.items()}
  how = sides[peer].facts.get("how", "")
  peak = {side: worker.close() / 1e6 for side, worker in sides.items()}
  middle, low, high = speedup(timing.wall, "jaxface", peer)
  verdict = "" if bar is None else f"{bar:g} × {'met' if middle >= bar else 'MISSED'}"
  if peer.startswith(EAGER) and peak["jaxface"] > MEMORY * peak[peer]:
    verdict += ", memory MISSED"
  if peer == "low memory":
    verdict = f"{BAR_MB:g} MB {'met' if max(extra.values()) < BAR_MB else 'MISSED'}"
  return {
    "layer": name,
    "jaxface ms": 1e3 * float(np.median(timing.wall["jaxface"])),
    "extra MB": extra["jaxface"],
    "peak MB": peak["jaxface"],
    "peer": " ".join([peer, how]).strip(),
    "peer ms": 1e3 * float(np.median(timing.wall[peer])),
    "peer extra MB": extra[peer],
    "peer peak MB": peak[peer],
    "times as fast": f"{middle:.1f} ({low:.1f}–{high:.1f})",
    "by CPU time": f"{speedup(timing.cpu, 'jaxface', peer)[0]:.1f}",
    "peak memory / peer's": f"{peak['jaxface'] / peak[peer]:.2f}",
    f"share of {PRODUCT}": f"{100 * share(flops, timing.wall['jaxface'], product.facts['flops'], timing.wall[PRODUCT]):.0f} %",
    "bar": verdict,
  }


NOTES = [
  "Times as fast: the peer's time divided by jaxface's, per round: median, and quartiles in brackets; the ratio of processor"
  " time is more reliable if other programs used the cores.",
  "jaxface is the native form if built. All at once and low memory are its forms in pure JAX: all positions in one product, or a"
  " few rows of the output at a time and again in the backward pass; pure: the form that is chosen by size.",
  "Extra: maximum increase of the process's resident memory during the first call, without its results; for PyTorch's `unfold` that of `einsum`. Peak: of the process.",
  NOTE,
  f"PyTorch is `unfold` and the faster of `einsum` and `bmm`, eager or compiled, and windows as views by `Tensor.unfold` with one `einsum`, the"
  f" fastest form that we found (goal {GOAL_TORCH:g} ×); kernels are in its fastest order.",
  "XLA is `conv_general_dilated_local`; its kernels, and those of our locally connected layer, can share weights only by repeating"
  " the weights of a region for each of its positions. The number of products is the same, so compared with our own layer only"
  " memory traffic of weights is saved.",
  "Norms of the output and of both gradients are compared between the sides before timing.",
]


def main() -> int:
  """Measures and prints; 1 if a bar was missed."""
  parser = benchmark_parser(__doc__, 5, "of DeepFace's layers, others four times as many", eager=True)
  parser.add_argument("--layers", nargs="+", choices=list(LAYERS), default=list(LAYERS), metavar="NAME", help="default: all")
  options = parse_for_cpu(parser)
  torch = torch_sides(options.eager)
  rows = []
  for name in options.layers:
    for peer, (build, bar) in peers_of(name, torch).items():
      announce(f"{name}, {peer}")
      rows.append(compare(name, peer, build, bar, options.rounds * (4 if LAYERS[name].block > 1 else 1)))
  facts = {"batch of deepface": LAYERS["deepface L4"].batch, "batch of deepid": LAYERS["deepid2 conv3"].batch, "threads": cores()}
  Findings("Locally connected layers", machine("jax", "jaxlib", "torch"), facts, rows, NOTES).publish(options.json)
  return int(any("MISSED" in row["bar"] for row in rows))


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
