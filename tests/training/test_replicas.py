"""Checksums of copies: those of the definition, changed by each bit; two processes are played by two halves of the devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxface.checkpoint import shapes_with_shardings
from jaxface.training import replicas
from jaxface.training.host_facts import HostsDiffer
from jaxface.training.replicas import Replicas, checksum, different

TYPES = ["float32", "bfloat16", "float16", "int32", "uint32", "int8", "uint8", "bool"]
SHAPES = [(), (1,), (7,), (3, 5), (2, 3, 4), (0, 4)]
sums = jax.jit(checksum)


def by_hand(array):
  array = np.asarray(array)
  words = array.astype(np.uint8) if array.dtype == bool else np.frombuffer(array.tobytes(), f"u{min(array.dtype.itemsize, 4)}")
  return sum(int(word) * (2 * place + 1) for place, word in enumerate(words.reshape(-1))) % 2**32


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_checksum_is_that_of_the_definition(dtype, shape):
  array = jnp.asarray(np.random.default_rng(0).normal(0, 30, shape)).astype(dtype)
  assert int(sums(array)) == by_hand(array)


def test_keys_and_doubles_are_summed_by_words():
  key = jax.random.key(3)
  assert int(sums(key)) == by_hand(jax.random.key_data(key))
  with jax.enable_x64(True):
    array = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5)))
    assert array.dtype == jnp.float64 and int(jax.jit(checksum)(array)) == by_hand(array)


@given(st.sampled_from(["float32", "bfloat16", "int8"]), st.integers(0, 59), st.integers(0, 31))
def test_each_bit_counts(dtype, place, bit):
  array = np.array(jnp.arange(60).astype(dtype).reshape(3, 20))
  words = array.reshape(-1).view(f"u{array.dtype.itemsize}")
  before = int(sums(jnp.asarray(array)))
  words[place] ^= words.dtype.type(1 << bit % (8 * words.dtype.itemsize))
  assert int(sums(jnp.asarray(array))) != before


@functools.cache
def mesh():
  return jax.make_mesh((4, 2), ("data", "class"), axis_types=(AxisType.Auto,) * 2)


@pytest.fixture
def halves(monkeypatch):
  """Values on eight devices of two processes, and the same with one device's copy changed."""
  monkeypatch.setattr(replicas, "process_of", lambda device: device.id // 4)
  specs = {"bias": P(), "center": P("class"), "rows": P(("data", "class"))}
  values = {"bias": jnp.arange(3.0), "center": jnp.arange(24.0).reshape(4, 6), "rows": jnp.arange(16.0)}
  placed = {name: jax.device_put(value, NamedSharding(mesh(), specs[name])) for name, value in values.items()}

  def change(name, device):
    leaf = placed[name]
    parts = [shard.data + (shard.device.id == device) for shard in leaf.addressable_shards]
    return {**placed, name: jax.make_array_from_single_device_arrays(leaf.shape, leaf.sharding, parts)}

  shapes = shapes_with_shardings(jax.eval_shape(lambda: values), {name: leaf.sharding for name, leaf in placed.items()})
  return Replicas(shapes), placed, change


def test_what_two_processes_hold_is_summed_by_part(halves):
  held, placed, _ = halves
  center = np.arange(24, dtype=np.float32).reshape(4, 6)
  expected = {"bias": np.arange(3, dtype=np.float32), "center[0:2, :]": center[:2], "center[2:4, :]": center[2:]}
  assert held.own(placed) == {name: f"{by_hand(array):08x}" for name, array in expected.items()}
  held.check(placed, "a test", "")


@pytest.mark.parametrize(("name", "part"), [("bias", "bias"), ("center", r"center\[2:4, :\]")])
def test_a_copy_that_differs_is_refused_by_name(halves, name, part):
  held, _, change = halves
  with pytest.raises(HostsDiffer, match=rf"different values \(a test\); checksums:\n  {part}: [0-9a-f]{{8}} and [0-9a-f]{{8}} on process 0\nmend it"):
    held.check(change(name, 5), "a test", "mend it")
  held.check(change("rows", 5), "a test", "")  # only one process holds it


def test_one_process_has_nothing_to_compare():
  leaf = jax.ShapeDtypeStruct((3,), jnp.float32, sharding=NamedSharding(mesh(), P()))
  assert Replicas({"a": leaf}).own({"a": jnp.zeros(3)}) == {}


def test_parts_are_compared_between_their_holders_alone():
  found = [{"a": "01", "b[0:2]": "02"}, {"a": "01", "b[2:4]": "03"}, {"a": "09", "b[0:2]": "02", "b[2:4]": "04"}]
  assert different(found) == ["  a: 01 on process 0, process 1; 09 on process 2", "  b[2:4]: 03 on process 1; 04 on process 2"]
  assert different([{"a": "01 and 02"}, {"a": "01 and 02"}]) == ["  a: 01 and 02 on process 0, process 1"]
