"""Weak scaling from 1 to 8 forced CPU devices: the step, its collectives alone, and the input, with as many images for each device.

  python -m benchmarks.weak_scaling [--rounds N] [--json FILE]

Forced devices share the cores of this machine: with twice the devices there is twice the work and no more to do it with. So the step's time
can at best grow with the work; the share says how near it comes, and what is lost is the cost of more devices: exchange, waiting for each
other, smaller pieces. Whether a pod scales, this cannot show. Sides take turns. There is no peer.
"""

import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import equal_malloc, machine
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.planned import CLASSES, start, step_on, with_devices
from benchmarks.worker import cores

DEVICES = (1, 2, 4, 8)
# A network of few layers: each number of devices compiles its own step.
MODEL, OPTIONS, SIDE, EACH = "smallresnet", {"widths": (64, 128), "units": (1, 1)}, 64, 16
PARTS = ("step", "exchange", "input")
BATCHES = 8  # of a measurement of the input


def parts(count: int, records: str) -> tuple[Callable[[], dict[str, tuple[float, float]]], dict[str, Any]]:
  """Calls of the step, the collectives and the input on `count` devices, each with its seconds of wall and processor time."""
  runs, facts = [], {}
  for build, given in ((step, (count,)), (exchange, (count,)), (reading, (count, records))):
    run, more = build(*given)
    runs.append(run)
    facts |= more

  def work() -> dict[str, tuple[float, float]]:
    found = {}
    for name, run in zip(PARTS, runs):
      start, processor = time.perf_counter(), time.process_time()
      run()
      found[name] = (time.perf_counter() - start, time.process_time() - processor)
    return found

  return work, facts


def step(count: int) -> tuple[Callable[[], None], dict[str, Any]]:
  """A training step on `count` devices."""
  import jax

  jax.config.update("jax_enable_compilation_cache", False)
  compiled, init, batch = start(step_on(MODEL, OPTIONS, SIDE, EACH * count, jax.devices("cpu")[:count]))
  state, rows = init(), batch()

  def run() -> None:
    nonlocal state
    state, _ = jax.block_until_ready(compiled(state, rows))

  return run, {"temporaries": compiled.memory_analysis().temp_size_in_bytes}


def exchange(count: int) -> tuple[Callable[[], None], dict[str, Any]]:
  """The collectives of that step alone, on arrays of their kinds and sizes."""
  import jax
  import jax.numpy as jnp
  from jax import lax
  from jax.sharding import NamedSharding
  from jax.sharding import PartitionSpec as P

  from jaxface.planning.estimate import estimate, exchanged, traced
  from jaxface.training.config import MeshConfig
  from jaxface.training.mesh import make_mesh

  sent = [one for one in estimate(*traced(lambda: step_on(MODEL, OPTIONS, SIDE, EACH * count, count))).sent if one.array.shape]
  mesh = make_mesh(MeshConfig(), jax.devices("cpu")[:count])

  def local(arrays: list[Any]) -> list[Any]:
    return [
      lax.all_gather(one, "data", tiled=True) if kind == "all-gather"
      else lax.psum_scatter(one, "data", tiled=True) if kind == "reduce-scatter" else lax.psum(one, "data")
      for kind, one in zip([one.kind for one in sent], arrays)
    ]

  shapes = [
    one.array.shape if one.kind == "all-gather" else (one.array.shape[0] * count * (count if one.kind == "reduce-scatter" else 1), *one.array.shape[1:])
    for one in sent
  ]
  place = NamedSharding(mesh, P("data"))
  arrays = [jax.device_put(jnp.zeros(shape, one.array.dtype), place) for shape, one in zip(shapes, sent)]
  specs = [P() if one.kind != "reduce-scatter" else P("data") for one in sent]
  run = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=([P("data")] * len(sent),), out_specs=specs, check_vma=False))
  kinds = exchanged(sent)

  def work() -> None:
    jax.block_until_ready(run(arrays))

  return work, {"bytes": sum(kinds.values()), "count": sum(one.times for one in sent)}


def reading(count: int, records: str) -> tuple[Callable[[], None], dict[str, Any]]:
  """Batches of packed JPEGs, decoded and laid onto the devices, none of them read ahead of the call."""
  import jax

  from jaxface.data.config import open_records
  from jaxface.data.loader import Loader
  from jaxface.data.order import UniformOrder
  from jaxface.training.config import MeshConfig
  from jaxface.training.mesh import batch_sharding, make_mesh

  source = open_records(records)
  mesh = make_mesh(MeshConfig(), jax.devices("cpu")[:count])
  order, layout, first = UniformOrder(source.num_records, 0), batch_sharding(mesh), itertools.count(0, BATCHES)

  def run() -> None:
    with Loader(source, order, EACH * count, sharding=layout, start_step=next(first), steps=BATCHES) as loader:
      for batch in loader:
        jax.block_until_ready(batch)

  return run, {}


def main() -> int:
  """Measures and prints."""
  parser = benchmark_parser(__doc__, 9, "timed calls of each side")
  options = parse_for_cpu(parser)
  from jaxface.data.synthetic_folder import synthesize
  from jaxface.formats.packing import pack

  with tempfile.TemporaryDirectory() as folder:
    synthesize(Path(folder, "faces"), identities=20, images=8, size=SIDE)
    pack(Path(folder, "faces"), Path(folder, "records"), template="arcface112", processes=1)
    sides = {}
    for count in DEVICES:
      announce(f"{count} devices")
      sides[count] = with_devices(count, parts, count, str(Path(folder, "records")))
    announce("measuring in turns")
    found: dict[int, list[dict[str, tuple[float, float]]]] = {count: [] for count in DEVICES}
    for number in range(options.rounds + 2):
      for count in [*DEVICES[number % 4 :], *DEVICES[: number % 4]]:
        one = sides[count]()
        found[count] += [one] if number >= 2 else []  # the first two warm up
    for side in sides.values():
      side.close()

  def middle(name: str, count: int, which: int = 0) -> float:
    return float(np.median([one[name][which] for one in found[count]]))

  rows = [
    {
      "devices": count, "images": EACH * count, "step ms": 1e3 * middle("step", count),
      "share of time by work": f"{count * middle('step', 1) / middle('step', count):.2f}",
      "share of processor time by work": f"{count * middle('step', 1, 1) / middle('step', count, 1):.2f}",
      "collectives ms": 1e3 * middle("exchange", count), "exchanged MB": sides[count].facts["bytes"] / 1e6,
      "input images/s": BATCHES * EACH * count / middle("input", count), "temporaries of a device MB": sides[count].facts["temporaries"] / 1e6,
    }
    for count in DEVICES
  ]
  notes = [
    f"Forced devices share {cores()} cores: the work of a step grows with them and its time with the work. The share is devices × the time on one"
    " device / the time on all of them: 1 would be no loss. The share of processor time is less touched by other programs.",
    "Collectives alone are those that the plan lists for the step, one after the other with nothing else to do; in memory, not over a network.",
    f"Input is {BATCHES} batches, read, decoded and laid onto the devices in one go, with no step beside it.",
  ]
  facts = {"network": f"{MODEL} of two stages, {SIDE} × {SIDE}", "images per device": EACH, "identities": CLASSES, "rounds": options.rounds}
  Findings("Weak scaling on forced devices", machine("jax", "jaxlib"), facts, rows, notes).publish(options.json)
  return 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
