"""Weak scaling from 1 to 8 forced CPU devices: the step, its collectives alone, and the input, with as many images for each device.

  python -m benchmarks.weak_scaling [--rounds N] [--json FILE]

Forced devices share the cores of this machine: with twice the devices there is twice the work and no more to do it with. So the step's time
can at best grow with the work; the share says how near it comes, and what is lost is the cost of more devices: exchange, waiting for each
other, smaller pieces. Whether a pod scales, this cannot show. Sides take turns. There is no peer.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import equal_malloc, interleave, machine
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.planned import CLASSES, experiment, start, with_devices
from benchmarks.worker import cores

DEVICES = (1, 2, 4, 8)
MODEL, OPTIONS, SIDE, EACH = "iresnet18", {"width": 0.25}, 64, 16


def step(count: int) -> tuple[Callable[[], None], dict[str, Any]]:
  """A training step on `count` devices."""
  import jax

  jax.config.update("jax_enable_compilation_cache", False)
  _, compiled, init, batch = start(experiment(MODEL, OPTIONS, SIDE, EACH * count), count)
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

  from jaxface.planning.abstract_step import abstract_step
  from jaxface.planning.estimate import estimate, exchanged, traced
  from jaxface.training.config import MeshConfig
  from jaxface.training.mesh import make_mesh

  given = experiment(MODEL, OPTIONS, SIDE, EACH * count)
  sent = [one for one in estimate(*traced(lambda: abstract_step(given, CLASSES, count))).sent if one.array.shape]
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
  return lambda: jax.block_until_ready(run(arrays)) and None, {"bytes": sum(kinds.values()), "count": sum(one.times for one in sent)}


def reading(count: int, records: str) -> tuple[Callable[[], None], dict[str, Any]]:
  """The next batch of packed JPEGs, decoded and laid onto the devices."""
  import jax

  from jaxface.data.config import open_records
  from jaxface.data.loader import Loader
  from jaxface.data.order import UniformOrder
  from jaxface.training.config import MeshConfig
  from jaxface.training.mesh import batch_sharding, make_mesh

  source = open_records(records)
  mesh = make_mesh(MeshConfig(), jax.devices("cpu")[:count])
  loader = iter(Loader(source, UniformOrder(source.num_records, 0), EACH * count, sharding=batch_sharding(mesh)).__enter__())
  return lambda: jax.block_until_ready(next(loader)) and None, {}


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
      sides[f"step {count}"] = with_devices(count, step, count)
      sides[f"exchange {count}"] = with_devices(count, exchange, count)
      sides[f"input {count}"] = with_devices(count, reading, count, str(Path(folder, "records")))
    announce("measuring in turns")
    timing = interleave(sides, rounds=options.rounds, warmup=2)
    for side in sides.values():
      side.close()
  wall = {name: float(np.median(seconds)) for name, seconds in timing.wall.items()}
  processor = {name: float(np.mean(seconds)) for name, seconds in timing.cpu.items()}
  rows = [
    {
      "devices": count, "images": EACH * count, "step ms": 1e3 * wall[f"step {count}"],
      "share of time by work": f"{count * wall['step 1'] / wall[f'step {count}']:.2f}",
      "share of processor time by work": f"{count * processor['step 1'] / processor[f'step {count}']:.2f}",
      "collectives ms": 1e3 * wall[f"exchange {count}"], "exchanged MB": sides[f"exchange {count}"].facts["bytes"] / 1e6,
      "input images/s": EACH * count / wall[f"input {count}"], "temporaries of a device MB": sides[f"step {count}"].facts["temporaries"] / 1e6,
    }
    for count in DEVICES
  ]
  notes = [
    f"Forced devices share {cores()} cores: the work of a step grows with them and its time with the work. The share is devices × the time on one"
    " device / the time on all of them: 1 would be no loss. The share of processor time is less touched by other programs.",
    "Collectives alone are those that the plan lists for the step, one after the other with nothing else to do; in memory, not over a network.",
    "Input is reading, decoding and laying onto the devices; one process reads for all of them, as one host of a pod does for its own.",
  ]
  facts = {"network": f"{MODEL} with a quarter of the channels, {SIDE} × {SIDE}", "images per device": EACH, "identities": CLASSES, "rounds": options.rounds}
  Findings("Weak scaling on forced devices", machine("jax", "jaxlib"), facts, rows, notes).publish(options.json)
  return 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
