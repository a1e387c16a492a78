"""Batches: the rows of the order on any hosts and devices, damage replaced and counted, errors and closing never hang."""

import threading
import time
import warnings

import chex
import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxface.data.loader import Loader, batches
from jaxface.data.order import BalancedOrder, UniformOrder
from jaxface.data.records import RecordSource
from jaxface.data.source import UnreadableRow
from jaxface.formats.errors import DamagedData
from jaxface.formats.recordset import RecordSet


class NumberedSource:
  """Faces whose pixels are their record number; records of `bad` cannot be read."""

  image_shape = (2, 3, 3)
  template = "none"

  def __init__(self, num_records=50, bad=(), seconds=0.0):
    self.num_records, self.num_identities, self.bad, self.seconds = num_records, num_records // 5, set(bad), seconds
    self.label_n = np.arange(num_records, dtype=np.int32) // 5

  def names(self):
    return [str(record) for record in range(self.num_records)]

  def read(self, record_n, out):
    time.sleep(self.seconds)
    out[:] = np.asarray(record_n)[:, None, None, None]
    errors = [(row, record) for row, record in enumerate(np.asarray(record_n).tolist()) if record in self.bad]
    out[[row for row, _ in errors]] = 255
    return [UnreadableRow(DamagedData("is bad", file="f", offset=7, record=r), row) for row, r in errors]


def take(source, order, batch_size, steps, **options):
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)
    with Loader(source, order, batch_size, steps=steps, **options) as loader:
      return jax.device_get(list(loader)), loader


def test_a_batch_holds_the_rows_of_the_order():
  source, order = NumberedSource(), UniformOrder(50, 4)
  taken, loader = take(source, order, 8, 9)
  assert len(taken) == 9 and loader.step == 9 and loader.damaged == 0
  for step, batch in enumerate(taken):
    record_n = order.rows(step * 8, step * 8 + 8)[1]
    chex.assert_shape(batch["image"], (8, 2, 3, 3))
    assert (batch["image"] == record_n[:, None, None, None]).all()
    np.testing.assert_array_equal(batch["label"], record_n // 5)
    np.testing.assert_array_equal(batch["position"], np.arange(step * 8, step * 8 + 8))
    assert (batch["weight"] == 1).all()
  assert {name: array.dtype.name for name, array in taken[0].items()} == {
    "image": "uint8", "label": "int32", "weight": "float32", "position": "uint32", "damaged": "int32",
  }  # fmt: skip


@pytest.mark.parametrize("prefetch", [1, 2, 5])
def test_resuming_at_a_step_gives_the_batches_that_would_have_come(prefetch):
  source = NumberedSource(bad=[3, 17])
  order = BalancedOrder(source.label_n, 3, 2, 2, seed=1)
  whole, _ = take(source, order, 8, 20)
  rest, loader = take(source, order, 8, 6, start_step=14, prefetch=prefetch)
  chex.assert_trees_all_equal(whole[14:], rest)
  assert loader.step == 20


@pytest.mark.parametrize("hosts", [1, 2, 8])
def test_hosts_together_hold_the_global_batch(hosts):
  source, order = NumberedSource(bad=[0, 8, 9, 31]), UniformOrder(50, 2)
  whole, loader = take(source, order, 16, 7)
  parts = [take(source, order, 16, 7, process_index=host, process_count=hosts) for host in range(hosts)]
  joined = [jax.tree.map(lambda *rows: np.concatenate(rows), *batch) for batch in zip(*(taken for taken, _ in parts))]
  chex.assert_trees_all_equal(whole, joined)
  assert sum(part.damaged for _, part in parts) == loader.damaged > 0


@pytest.mark.parametrize("shape", [(8, 1), (4, 2), (1, 1)])
def test_a_sharded_batch_is_the_same_batch(shape):
  mesh = jax.make_mesh(shape, ("data", "class"), axis_types=(AxisType.Auto,) * 2)
  sharding = NamedSharding(mesh, P(("data", "class")))
  source, order = NumberedSource(), UniformOrder(50, 2)
  with Loader(source, order, 16, steps=3, sharding=sharding) as loader:
    sharded = list(loader)
  for array in jax.tree.leaves(sharded):
    assert array.sharding.is_equivalent_to(sharding, array.ndim)
  chex.assert_trees_all_equal(jax.device_get(sharded), take(source, order, 16, 3)[0])


def test_batches_in_use_are_not_overwritten():
  source, order = NumberedSource(), UniformOrder(50, 2)
  with Loader(source, order, 16, steps=12) as loader:
    kept = [(batch, jax.tree.map(np.array, batch)) for batch in loader]
  for batch, copy in kept:
    chex.assert_trees_all_equal(jax.device_get(batch), copy)


def test_positions_beyond_32_bits_wrap():
  step = 2**32 // 8
  taken, _ = take(NumberedSource(), UniformOrder(50, 2), 8, 1, start_step=step)
  np.testing.assert_array_equal(taken[0]["position"], np.arange(8))


def test_damaged_records_are_replaced_counted_and_named():
  source, order = NumberedSource(bad=[3, 17]), UniformOrder(50, 4)
  clean, _ = take(NumberedSource(), order, 10, 5)
  with pytest.warns(RuntimeWarning) as warned, Loader(source, order, 10, steps=5) as loader:
    taken = jax.device_get(list(loader))
  assert any(str(each.message).startswith("f, offset 7, record 17: is bad; another record") for each in warned)
  # One epoch shows each bad record once; a substitute may be bad as well.
  assert loader.damaged == len(warned) >= 2
  assert sum(int(batch["damaged"].sum()) for batch in taken) == loader.damaged
  replaced = 0
  for batch, same in zip(taken, clean):
    record_b = batch["image"][:, 0, 0, 0]
    assert not set(record_b.tolist()) & {3, 17, 255}
    np.testing.assert_array_equal(batch["label"], record_b // 5)
    replaced += (record_b != same["image"][:, 0, 0, 0]).sum()
  assert replaced == 2


def test_the_substitute_depends_on_position_and_record_alone():
  order = UniformOrder(50, 4)
  one, _ = take(NumberedSource(bad=[3]), order, 10, 15)
  more, _ = take(NumberedSource(bad=[3, 17]), order, 5, 30)
  one_n, more_n = (np.concatenate([batch["image"][:, 0, 0, 0] for batch in taken]) for taken in (one, more))
  record_n = order.rows(0, 150)[1]
  bad_n = record_n == 3
  untouched_n = bad_n & (one_n != 17)
  np.testing.assert_array_equal(one_n[untouched_n], more_n[untouched_n])
  assert len(set(one_n[bad_n].tolist())) > 1


def test_a_whole_identity_may_be_damaged():
  source = NumberedSource(bad=range(10, 15))
  taken, loader = take(source, BalancedOrder(source.label_n, 4, 2, 0, seed=3), 8, 20)
  labels = set(np.concatenate([batch["label"] for batch in taken]).tolist())
  assert labels == set(range(10)) - {2} and loader.damaged >= 16


def test_all_damaged_is_fatal_and_named():
  with pytest.raises(DamagedData, match=r"record \d+: is bad; 16 records in place of record .* most of the data"):
    take(NumberedSource(bad=range(50)), UniformOrder(50), 4, 3)


def test_damage_ends_the_run_if_asked_to():
  with pytest.raises(DamagedData, match="record 17: is bad"):
    take(NumberedSource(bad=[17]), UniformOrder(50), 10, 5, on_damage="raise")


class Broken(NumberedSource):
  def read(self, record_n, out):
    raise OSError("the disk has gone")


def test_errors_of_the_background_reach_the_consumer():
  with Loader(Broken(), UniformOrder(50), 4) as loader:
    with pytest.raises(OSError, match="the disk has gone"):
      next(loader)
    with pytest.raises(StopIteration):
      next(loader)


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_closing_ends_all_threads(taken):
  before = threading.active_count()
  loader = Loader(NumberedSource(seconds=0.01), UniformOrder(50), 4, prefetch=4)
  for _ in range(taken):
    next(loader)
  loader.close()
  loader.close()
  assert threading.active_count() == before
  assert list(loader) == []


def test_waiting_is_measured():
  with Loader(NumberedSource(seconds=0.05), UniformOrder(50), 4, steps=4) as slow:
    list(slow)
  assert 0.08 < slow.wait_seconds < 2
  with Loader(NumberedSource(), UniformOrder(50), 4, steps=4) as fast:
    for _ in range(4):
      time.sleep(0.1)
      next(fast)
  assert fast.wait_seconds < 0.15


def test_wrong_settings_say_what_would_do():
  source, order = NumberedSource(), UniformOrder(50)
  with pytest.raises(ValueError, match="10 is not divisible among 4 hosts"):
    Loader(source, order, 10, process_index=0, process_count=4)
  with pytest.raises(ValueError, match="'ignore', should be one of substitute, raise"):
    Loader(source, order, 10, on_damage="ignore")
  with pytest.raises(ValueError, match="at least 1"):
    Loader(source, order, 10, prefetch=0)


@pytest.mark.parametrize("batch_size", [1, 7, 10, 64])
def test_batches_show_every_record_once_in_order(batch_size):
  parts = list(batches(NumberedSource(), batch_size))
  assert all(image.shape == (batch_size, 2, 3, 3) and weight.dtype == np.float32 for image, weight in parts)
  image_nhwc = np.concatenate([image[weight == 1] for image, weight in parts])
  np.testing.assert_array_equal(image_nhwc[:, 0, 0, 0], np.arange(50))
  assert all((image[weight == 0] == 0).all() for image, weight in parts)
  assert len(parts) == -(-50 // batch_size)


def test_batches_refuse_to_embed_another_face():
  with pytest.raises(DamagedData, match="record 17"):
    list(batches(NumberedSource(bad=[17]), 8))


def test_batches_may_be_left_early():
  before = threading.active_count()
  reader = batches(NumberedSource(), 8)
  next(reader)
  reader.close()
  assert threading.active_count() == before


def test_a_truncated_shard_loses_its_records_and_nothing_else(packed):
  records = RecordSet.open(packed)
  shard = records.place(20)[0]
  whole = shard.read_bytes()
  cut = records.place(20)[1] + 9
  order = UniformOrder(40, 0)
  shard.write_bytes(whole[:cut])
  lost = {record for record in range(40) if records.place(record)[0] == shard and record >= 20}
  source = RecordSource(RecordSet.open(packed), 2)
  with pytest.warns(RuntimeWarning, match="truncated") as warned, Loader(source, order, 8, steps=5) as loader:
    assert len(list(loader)) == 5
  assert loader.damaged >= len(lost) > 3
  named = {int(str(warning.message).split("record ")[1].split(":")[0]) for warning in warned}
  assert named == lost


def test_a_missing_index_is_rebuilt_and_changes_nothing(packed):
  order = UniformOrder(40, 0)
  before, _ = take(RecordSource(RecordSet.open(packed), 2), order, 8, 5)
  index = next(packed.glob("*.npz"))
  index.unlink()
  after, loader = take(RecordSource(RecordSet.open(packed), 2), order, 8, 5)
  chex.assert_trees_all_equal(before, after)
  assert index.exists() and loader.damaged == 0


def test_a_flipped_byte_while_training_is_replaced(packed):
  records = RecordSet.open(packed)
  file, offset = records.place(11)
  source = RecordSource(records, 2)
  order = UniformOrder(40, 0)
  with Loader(source, order, 8) as loader:
    next(loader)
    with open(file, "r+b") as opened:  # the set is open and mapped: the damage appears in memory
      opened.seek(offset + 40)
      byte = opened.read(1)[0]
      opened.seek(offset + 40)
      opened.write(bytes([byte ^ 1]))
    with pytest.warns(RuntimeWarning, match=f"{file.name}, offset {offset}, record 11: payload .* checksum"):
      for _ in range(12):
        next(loader)
  assert loader.damaged >= 1
