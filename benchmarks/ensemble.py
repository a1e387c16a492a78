"""DeepID's stacks, vmapped in one `jit`, against one network after the other.

  python -m benchmarks.ensemble [--nets N] [--rounds N] [--json FILE]

A step is value and gradient of softmax over 1,000 identities on the patches of 128 faces, for every network: of one stack (39×31×3,
15 networks), and of all four (60). In turn, the networks of a shape share one compiled step and are called one after the other;
mapped, all of them are one call.
"""

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import equal_malloc, interleave, machine, speedup
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.worker import Worker, cores

SHAPES = ("39x31x3", "39x31x1", "31x31x3", "31x31x1")
BATCH, IDENTITIES, SIZE = 128, 1000, 160

NOTES = [
  "Ratios are medians over rounds, with quartiles in brackets; the ratio of processor time is more reliable if other programs"
  " used the cores.",
  "Both sides have the same initial parameters and patches; the sums of all losses are compared.",
  "On a CPU a single network already fills the cores, and arrays of fifteen no longer fit its caches: a stack then saves"
  " compilations and calls, not time.",
  "Cropping the patches and the update are excluded: they are the same for both.",
]


def patches_of(shape: str, nets: int) -> np.ndarray:
  """[nets, BATCH, height, width, channels] float32 in -1..1, the same for both sides."""
  height, width, channels = map(int, shape.split("x"))
  return np.random.default_rng(SHAPES.index(shape)).uniform(-1, 1, (nets, BATCH, height, width, channels)).astype(np.float32)


def ready(shapes: tuple[str, ...], nets: int, mapped: bool) -> tuple[Callable[[], float], dict[str, Any]]:
  """Steps of `nets` networks of each shape; the work returns the sum of their losses."""
  import jax
  import jax.numpy as jnp

  from jaxface.heads.classification import Classification
  from jaxface.losses.margins import Softmax
  from jaxface.models.registry import create

  label_b = jnp.arange(BATCH, dtype=jnp.int32) * 7 % IDENTITIES
  term, networks = Classification(Softmax()), {shape: create("deepid", input=shape) for shape in shapes}
  inputs: dict[str, Any] = {"label_b": label_b, "weight_b": jnp.ones(BATCH)}

  def begin(shape: str, number: int) -> dict[str, Any]:
    keys = jax.random.split(jax.random.key(number))
    net = networks[shape].init(keys[0], jnp.zeros(patches_of(shape, 1).shape[1:]), train=False)
    return {"net": net["params"], "term": term.init(keys[1], SIZE, IDENTITIES)[0]}

  def loss(shape: str) -> Callable:
    def one(params: dict[str, Any], patch_bhwc: jax.Array) -> jax.Array:
      embedding_bd: Any = networks[shape].apply({"params": params["net"]}, patch_bhwc, train=True)
      loss_b, _, _ = term(params["term"], {**inputs, "embedding_bd": embedding_bd}, state={}, step=0, key=None)
      return loss_b.mean()

    return one

  def stack(shape: str) -> Callable:
    return lambda params, patch_mbhwc: jax.vmap(loss(shape))(params, patch_mbhwc).sum()

  params = {shape: jax.jit(jax.vmap(lambda number, shape=shape: begin(shape, number)))(jnp.arange(nets)) for shape in shapes}
  patches = {shape: jnp.asarray(patches_of(shape, nets)) for shape in shapes}
  if mapped:
    start = time.perf_counter()
    together = jax.value_and_grad(lambda p, x: sum(stack(shape)(p[shape], x[shape]) for shape in shapes))
    step = jax.jit(together).lower(params, patches).compile()

    def work() -> float:
      return float(jax.block_until_ready(step(params, patches))[0])

  else:
    each = [
      (shape, jax.tree.map(lambda leaf, at=number: leaf[at], params[shape]), patches[shape][number])
      for shape in shapes for number in range(nets)
    ]
    start = time.perf_counter()
    steps = {
      shape: jax.jit(jax.value_and_grad(loss(shape))).lower(own, patch).compile() for shape, own, patch in each[::nets]
    }

    def work() -> float:
      return math.fsum(float(jax.block_until_ready(steps[shape](own, patch))[0]) for shape, own, patch in each)

  return work, {"compile": time.perf_counter() - start}


def compare(name: str, shapes: tuple[str, ...], nets: int, rounds: int) -> dict[str, Any]:
  """A row of the table: both sides in their own processes, alternating."""
  sides = {"mapped": Worker(ready, shapes, nets, True), "in turn": Worker(ready, shapes, nets, False)}
  values = {side: work() for side, work in sides.items()}
  if not np.allclose(values["mapped"], values["in turn"], rtol=1e-4):
    raise AssertionError(f"{name}: the sides are not the same networks: {values}")
  timing = interleave(sides, rounds=rounds)
  compiled = {side: work.facts["compile"] for side, work in sides.items()}
  peak = {side: work.close() for side, work in sides.items()}
  row: dict[str, Any] = {"networks": name}
  for side in sides:
    row |= {
      f"{side} ms": 1e3 * float(np.median(timing.wall[side])), f"{side} compile s": compiled[side],
      f"{side} peak MB": peak[side] / 1e6,
    }
  faster = speedup(timing.wall, "mapped", "in turn")
  return row | {"times as fast": str(faster), "by CPU time": f"{speedup(timing.cpu, 'mapped', 'in turn').middle:.2f}"}


def main() -> int:
  """Measures and prints."""
  parser = benchmark_parser(__doc__, 7)
  parser.add_argument("--nets", type=int, default=15, help="of each shape (default: %(default)s)")
  options = parse_for_cpu(parser)
  plan = {f"{options.nets} of {SHAPES[0]}": SHAPES[:1], f"{options.nets} of each shape": SHAPES}
  rows = []
  for name, shapes in plan.items():
    announce(name)
    rows.append(compare(name, shapes, options.nets, options.rounds))
  facts = {"batch": BATCH, "identities": IDENTITIES, "threads": cores()}
  Findings("Ensemble: DeepID's stacks", machine("jax", "jaxlib"), facts, rows, NOTES).publish(options.json)
  return 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
