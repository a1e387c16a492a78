"""Single convolutions by XLA and by oneDNN: value and both gradients, alternating in one run.

  python -m benchmarks.convolution [--batch N] [--rounds N] [--json FILE]

Each figure is one call of `jaxface.layers.convolution.conv`, or of its gradient with respect to the images or the kernel, under
`jit`: in float32 by XLA's convolution and by oneDNN, by oneDNN on float32 arrays multiplied as bfloat16
(`precision="bfloat16"`), and by oneDNN on bfloat16 arrays. There is no bar.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import equal_malloc, interleave, machine
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.worker import cores


class Shape(NamedTuple):
  """A square convolution with half a kernel of padding: kernel, stride, side length of its input, channels, features, groups."""

  kernel: int
  stride: int
  side: int
  channels: int
  features: int
  groups: int = 1

  def __str__(self) -> str:
    name = f"{self.kernel}×{self.kernel}" + (f" stride {self.stride}" if self.stride > 1 else "")
    name += " depthwise" if self.groups == self.channels else ""
    return f"{name}, {self.side}², {self.channels}→{self.features}"


# Shapes from iresnet; the last two from mobilefacenet.
SHAPES = (
  Shape(3, 1, 56, 64, 64), Shape(3, 1, 28, 128, 128), Shape(3, 1, 14, 256, 256), Shape(3, 2, 112, 64, 64),
  Shape(1, 1, 28, 64, 128), Shape(3, 1, 28, 128, 128, 128),
)
# By name: the formulation, the dtype of the arrays, and the precision.
SIDES = {
  "XLA": ("xla", "float32", None),
  "oneDNN": ("onednn", "float32", None),
  "oneDNN, bfloat16 products": ("onednn", "float32", "bfloat16"),
  "oneDNN, bfloat16": ("onednn", "bfloat16", None),
}
WORK = ("value", "images", "kernel")

NOTES = [
  "Milliseconds for the value / the gradient with respect to the images / the gradient with respect to the kernel: medians"
  " over the rounds. Layouts are NHWC and HWIO; the figures of oneDNN include its reorders.",
  "oneDNN / XLA: speed of oneDNN in float32 relative to XLA, for all three together.",
]


def calls(shape: Shape, batch_size: int, name: str) -> dict[str, Callable[[], Any]]:
  """Compiled functions of one side, by "side work"."""
  import jax
  import jax.numpy as jnp

  from jaxface.layers.convolution import conv
  from jaxface.layers.formulation import formulation

  way, dtype, precision = SIDES[name]
  kernel, stride, side, channels, features, groups = shape
  random = np.random.default_rng(0)
  x = jnp.asarray(random.standard_normal((batch_size, side, side, channels)), dtype)
  k = jnp.asarray(random.standard_normal((kernel, kernel, channels // groups, features)) / kernel, dtype)
  pads = ((kernel // 2, kernel // 2),) * 2

  def value(x, k):
    return conv(x, k, strides=(stride, stride), padding=pads, groups=groups, precision=precision)

  dy = jnp.asarray(random.standard_normal(jax.eval_shape(value, x, k).shape), dtype)
  functions = {
    "value": value,
    "images": lambda x, k, dy: jax.vjp(lambda x: value(x, k), x)[1](dy),
    "kernel": lambda x, k, dy: jax.vjp(lambda k: value(x, k), k)[1](dy),
  }
  arguments = {"value": (x, k), "images": (x, k, dy), "kernel": (x, k, dy)}
  made = {}
  with formulation(way):
    for work in WORK:
      compiled = jax.jit(functions[work]).lower(*arguments[work]).compile()
      made[f"{name} {work}"] = lambda call=compiled, given=arguments[work]: jax.block_until_ready(call(*given))
  return made


def compare(shape: Shape, batch_size: int, rounds: int) -> dict[str, Any]:
  """A row of the table."""
  made: dict[str, Callable[[], Any]] = {}
  for name in SIDES:
    made |= calls(shape, batch_size, name)
  wall = interleave(made, rounds=rounds, warmup=2).wall
  ms = {key: 1e3 * float(np.median(seconds)) for key, seconds in wall.items()}
  row: dict[str, Any] = {"convolution": str(shape)}
  row |= {name: " / ".join(f"{ms[f'{name} {work}']:.1f}" for work in WORK) for name in SIDES}
  xla, onednn = (sum(ms[f"{name} {work}"] for work in WORK) for name in ("XLA", "oneDNN"))
  return row | {"oneDNN / XLA": xla / onednn}


def main() -> int:
  """Measures and prints."""
  parser = benchmark_parser(__doc__, 15, "timed calls of each")
  parser.add_argument("--batch", type=int, default=32, help="images at a time (default: %(default)s)")
  options = parse_for_cpu(parser)
  rows = []
  for shape in SHAPES:
    announce(shape)
    rows.append(compare(shape, options.batch, options.rounds))
  facts = {"batch": options.batch, "threads": cores(), "rounds": options.rounds}
  Findings("Convolutions", machine("jax", "jaxlib", "onednn-cpu-gomp"), facts, rows, NOTES).publish(options.json)
  return 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
