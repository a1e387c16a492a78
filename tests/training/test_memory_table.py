"""The table of memory: every array in one group, its bytes in all and on each device, and what a step needs."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxface.training.config import MeshConfig
from jaxface.training.logs import read_metrics
from jaxface.training.memory_table import device_bytes, memory_table, size_text
from jaxface.training.mesh import batch_sharding, make_mesh

EVERYWHERE = P()


@pytest.fixture
def state():
  mesh = make_mesh(MeshConfig())

  def leaf(shape, spec=EVERYWHERE, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))

  network = {"stem": leaf((10, 5)), "wide": leaf((16, 1000), P(None, ("data",)))}
  centers = ({"center_cd": leaf((80, 100), P("data"))},)
  stats = {"stem": {"mean": leaf((5,))}}
  state = {
    "params": {"model": network, "terms": centers}, "batch_stats": stats, "terms": ({},),
    "optimizer": ({"trace": {"model": network, "terms": centers}}, {"count": leaf((), dtype=jnp.int32)}),
    "ema": {"params": network, "batch_stats": stats}, "step": leaf((), dtype=jnp.int32),
  }
  batch = {"image": jax.ShapeDtypeStruct((16, 10, 10, 3), jnp.uint8, sharding=batch_sharding(mesh))}
  return state, batch


def test_groups_bytes_and_layouts(state):
  lines = memory_table(*state)
  cells = [[part.strip() for part in line.split("  ") if part.strip()] for line in lines]
  mixed = "1 replicated, 1 over data"
  assert cells == [
    ["memory", "in all", "per device", "layout"],
    ["network", "64.2 kB", "8.2 kB", mixed],
    ["network, optimizer", "64.2 kB", "8.2 kB", mixed],
    ["network, running average", "64.2 kB", "8.2 kB", mixed],
    ["batch statistics", "40 B", "40 B", "replicated"],
    ["class centres", "32.0 kB", "4.0 kB", "over data"],
    ["class centres, optimizer", "32.0 kB", "4.0 kB", "over data"],
    ["other", "8 B", "8 B", "replicated"],
    ["batch", "4.8 kB", "600 B", "over data"],
    ["together", "261.4 kB", "33.2 kB"],
  ]
  assert len({line.find(" kB") for line in lines[1:4]}) == 1  # columns


@pytest.mark.parametrize(
  ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2.55e6, "2.5 MB"), (9.9e10, "99.0 GB"), (5e15, "5000.0 TB")]
)
def test_sizes_in_decimal_units(count, text):
  assert size_text(count) == text


def test_a_step_is_counted_without_what_it_does_in_place(state):
  memory = SimpleNamespace(
    argument_size_in_bytes=5000, temp_size_in_bytes=2000, output_size_in_bytes=4100, alias_size_in_bytes=4000
  )
  assert memory_table(*state, SimpleNamespace(memory_analysis=lambda: memory))[-1] == (
    "a step needs 7.1 kB per device: 5.0 kB for state and batch, 2.0 kB for temporaries and 100 B for results that are not in place"
  )
  assert memory_table(*state, SimpleNamespace(memory_analysis=lambda: None)) == memory_table(*state)


def test_bytes_on_a_device_are_those_that_it_holds():
  mesh = make_mesh(MeshConfig())
  for spec in (P(), P("data"), P(None, ("data",))):
    array = jax.device_put(np.zeros((8, 24), np.float32), NamedSharding(mesh, spec))
    assert {device_bytes(array)} == {shard.data.nbytes for shard in array.addressable_shards}


def test_a_run_prints_the_table_before_its_first_step(experiment, source, tmp_path, run, capsys):
  run(experiment, source, tmp_path)
  notes = (tmp_path / "notes.txt").read_text()
  printed = capsys.readouterr().err
  for start in ("memory ", "network, running average ", "class centres, optimizer ", "together ", "a step needs "):
    assert f"\n{start}" in f"\n{notes}" and start in printed
  assert printed.index("a step needs") < printed.index("3/12")
  assert read_metrics(tmp_path)
