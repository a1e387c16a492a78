"""A stream: shards in sequence, mixed within a window; batches, hosts and resuming are those of other orders, requests are few."""

import threading

import chex
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.data import DataConfig, Loader, StreamOrder, make_order, open_records, open_source
from jaxface.data.permutation import keyed, permute
from jaxface.formats.blocks import AHEAD, BlockCache, BlockFile
from jaxface.formats.face import Face
from jaxface.formats.images import encode_jpeg
from jaxface.formats.writer import write_recordset
from jaxface.seeds import Purpose

fsspec = pytest.importorskip("fsspec", reason="EXTRA ABSENT: fsspec is not installed: streams from a URL were not tested here")
URL = "memory://bucket/stream"
COUNTS = st.lists(st.integers(1, 30), min_size=1, max_size=9)


def shards_of(counts: list[int]) -> np.ndarray:
  return np.repeat(np.arange(len(counts)), counts)


@st.composite
def streams(draw):
  counts = draw(COUNTS)
  lanes = draw(st.integers(1, len(counts)))
  batch = lanes * draw(st.integers(1, 5))
  return counts, StreamOrder(shards_of(counts), batch, lanes=lanes, window=draw(st.integers(1, 20)), seed=draw(st.integers(-(2**40), 2**40)))


@given(streams(), st.integers(0, 200), st.integers(0, 60), st.integers(0, 60))
def test_any_slice_has_the_same_rows(stream, start, first, second):
  _, order = stream
  whole = order.rows(start, start + first + second)
  parts = (order.rows(start, start + first), order.rows(start + first, start + first + second))
  for name, all_n, *part_n in zip(["source", "record", "occurrence"], whole, *parts):
    np.testing.assert_array_equal(all_n, np.concatenate(part_n), err_msg=name)


@given(streams(), st.integers(0, 3))
def test_a_lane_has_each_of_its_records_once_per_epoch(stream, epoch):
  counts, order = stream
  longest = max(int(count.sum()) for count in order._count_l)
  steps = -(-(epoch + 1) * longest * order.lanes // order.batch_size)
  _, record_n, epoch_n = order.rows(0, steps * order.batch_size)
  lane_n = np.arange(len(record_n)) % order.batch_size * order.lanes // order.batch_size
  np.testing.assert_array_equal(order.lane_n[record_n], lane_n)
  np.testing.assert_array_equal(order.lane_n, shards_of(counts) % order.lanes)
  for lane in range(order.lanes):
    np.testing.assert_array_equal(np.sort(record_n[(lane_n == lane) & (epoch_n == epoch)]), np.flatnonzero(order.lane_n == lane))


@given(COUNTS, st.integers(1, 25), st.integers(0, 99))
def test_rows_are_those_of_a_slow_reader_with_a_buffer(counts, window, seed):
  """From the definition: concatenate the shuffled shards, begin at the epoch's place, fill the buffer, empty it in a mixed order."""
  expected, total = [], sum(counts)
  for epoch in range(2):
    key = keyed(seed, Purpose.STREAM, 0, epoch)
    records = []
    for shard in permute(np.arange(len(counts)), len(counts), key):
      records += range(sum(counts[:shard]), sum(counts[: shard + 1]))
    turn = int(key[0]) % total
    records = records[turn:] + records[:turn]
    for number, start in enumerate(range(0, total, window)):
      buffer = records[start : start + window]
      mixed = permute(np.arange(len(buffer)), len(buffer), keyed(seed, Purpose.STREAM, 0, epoch, number))
      expected += [buffer[place] for place in mixed]
  order = StreamOrder(shards_of(counts), 1, lanes=1, window=window, seed=seed)
  np.testing.assert_array_equal(order.rows(0, 2 * total)[1], expected)


def test_seeds_and_epochs_differ_and_records_are_mixed_no_farther_than_a_window():
  order = StreamOrder(shards_of([500] * 4), 4, lanes=4, window=50, seed=1)
  other = StreamOrder(shards_of([500] * 4), 4, lanes=4, window=50, seed=2)
  record_n = order.rows(0, 4000)[1].reshape(2, 500, 4)
  assert (record_n[0] == record_n[1]).mean() < 0.05 and (other.rows(0, 2000)[1] == record_n[0].ravel()).mean() < 0.05
  in_windows = record_n[0, :, 0].reshape(10, 50) % 500
  spread = (in_windows.max(1) - in_windows.min(1))
  assert (np.sort(spread)[:-1] == 49).all() and (np.diff(in_windows, axis=1) == 1).mean() < 0.1


@pytest.fixture
def bucket(tmp_path, monkeypatch):
  """A memory file system with 96 faces in six shards, and the sizes of requests for shards, by file."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  random = np.random.default_rng(0)
  faces = [Face(encode_jpeg(random.integers(0, 256, (16, 16, 3), np.uint8)), n % 8, f"person{n % 8}/{n:04d}", n) for n in range(96)]
  write_recordset(tmp_path / "set", faces, [f"person{n}" for n in range(8)], image_size=(16, 16, 3), template="arcface112", num_shards=6)
  fs = fsspec.filesystem("memory")
  fs.store.clear()
  for path in (tmp_path / "set").iterdir():
    fs.pipe_file(f"/bucket/stream/{path.name}", path.read_bytes())
  yield fs
  fs.store.clear()


@pytest.fixture
def requests(bucket, monkeypatch) -> list[str]:
  """The file of each request for bytes of a shard."""
  made = []
  real = type(bucket).cat_file

  def cat_file(self, path, start=None, end=None):
    if ".tfrecord-" in path:
      made.append(path.rpartition("/")[2])
    return real(self, path, start, end)

  monkeypatch.setattr(type(bucket), "cat_file", cat_file)
  return made


CONFIG = DataConfig(records=URL, order="stream", stream_lanes=2, stream_window=12, stream_memory=17)


def batches(steps, *, start=0, host=0, hosts=1, config=CONFIG):
  source, _ = open_source(config)
  order = make_order(config, source, 8, seed=5)
  with Loader(source, order, 8, start_step=start, steps=steps, process_index=host, process_count=hosts) as loader:
    return [{name: np.asarray(array) for name, array in batch.items()} for batch in loader]


def test_an_epoch_is_that_of_the_indexed_reader_and_hosts_read_shards_of_their_own(bucket, requests, tmp_path):
  one = batches(12)
  chex.assert_trees_all_equal(one, batches(12, config=DataConfig(**{**vars(CONFIG), "records": str(tmp_path / "set")})))
  every = open_records(str(tmp_path / "set"))
  image_bhwc = np.empty((96, 16, 16, 3), np.uint8)
  assert every.read(np.arange(96), image_bhwc) == []
  assert sorted(image.tobytes() for batch in one for image in batch["image"]) == sorted(image.tobytes() for image in image_bhwc)
  assert sorted(np.concatenate([batch["label"] for batch in one])) == sorted(every.label_n)
  # A shard is smaller than a block; one in which a lane begins is read at both ends of the epoch.
  assert set(requests) == {shard.file for shard in every.records.manifest.shards} and len(requests) <= 6 + 2
  requests.clear()
  halves, read = [], []
  for host in range(2):
    halves.append(batches(12, host=host, hosts=2))
    read.append(set(requests))
    requests.clear()
  assert not read[0] & read[1] and len(read[0] | read[1]) == 6
  chex.assert_trees_all_equal(one, [{name: np.concatenate([left[name], right[name]]) for name in left} for left, right in zip(*halves)])


def test_a_stream_resumes_in_the_middle_of_a_window_from_its_step(bucket):
  chex.assert_trees_all_equal(batches(30)[17:], batches(13, start=17))


def test_labels_held_out_and_mixtures_stream_as_well(bucket):
  config = DataConfig(**{**vars(CONFIG), "holdout": 0.25})
  source, held = open_source(config)
  order = make_order(config, source, 8)
  assert held is not None and held.num_identities == 2 and len(np.unique(source.shard_n)) == 6
  assert set(source.label_n[order.rows(0, 500)[1]]) == set(range(6))
  both, _ = open_source(DataConfig(**{**vars(CONFIG), "records": "", "mixture": (URL, URL)}))
  assert both.shard_n.max() == 11 and (np.diff(both.shard_n) >= 0).all()


@given(st.integers(0, 400), st.lists(st.tuples(st.integers(0, 420), st.integers(0, 60)), max_size=40), st.integers(1, 30))
def test_slices_of_a_file_in_blocks_are_those_of_the_file(size, spans, block_bytes):
  data = np.random.default_rng(size).bytes(size)
  cache = BlockCache(5 * block_bytes, block_bytes)
  file = BlockFile("a", size, lambda span: data[span], cache)
  for start, length in spans:
    assert file[start : start + length] == data[start : start + length]
    assert len(cache._blocks) <= cache.capacity == 5
  cache._pool.shutdown()


def test_threads_share_blocks_and_memory_stays_within_its_bound():
  data = np.random.default_rng(0).bytes(100_000)
  cache, largest, wrong = BlockCache(20_000, 1000), [], []
  file = BlockFile("a", len(data), lambda span: data[span], cache)

  def read():  # in the sequence of the file, mixed within windows of a quarter of the memory
    for window in range(0, 100_000, 5000):
      for start in np.random.default_rng(window).permutation(np.arange(window, window + 5000, 50)):
        wrong.append(file[start : start + 50] != data[start : start + 50])
        largest.append(len(cache._blocks))
      together.wait()

  together = threading.Barrier(8)
  threads = [threading.Thread(target=read) for _ in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(wrong) == 8 * 2000 and not any(wrong)
  assert cache.requests == 100 and max(largest) <= cache.capacity == 20
  cache._pool.shutdown()


def test_a_block_that_fails_is_named_and_requested_again(bucket, monkeypatch):
  class Refused(Exception):
    pass

  def refuse(self, path, start=None, end=None):
    raise Refused("403")

  source = open_records(URL, 2, memory=10**7)
  out = np.empty((3, 16, 16, 3), np.uint8)
  with monkeypatch.context() as broken:
    broken.setattr(type(bucket), "cat_file", refuse)
    with pytest.raises(OSError, match=r"memory://bucket/stream/faces-train\.tfrecord-00000-of-00006 cannot be reached: Refused: 403"):
      source.read(np.arange(3), out)
    with pytest.raises(OSError, match="cannot be reached: Refused: 403"):
      batches(1)
  assert source.read(np.arange(3), out) == []


@pytest.mark.parametrize(
  ("shard_n", "options", "said"),
  [
    ([0, 0, 1], {"lanes": 3}, "3 lanes of a stream for 2 shards: each lane needs at least one; pack into more shards"),
    ([0, 1, 2], {"lanes": 3}, "a batch of 8 is not divisible among 3 lanes"),
    ([], {}, "a stream needs records in the sequence of their shards"),
    ([1, 0], {}, "a stream needs records in the sequence of their shards"),
    ([0], {"window": 0}, "a window of 0 records"),
  ],
)
def test_streams_that_cannot_be_are_refused(shard_n, options, said):
  with pytest.raises(ValueError, match=said):
    StreamOrder(np.array(shard_n), 8, **options)


def test_lanes_fit_batch_and_shards_by_default_and_records_without_shards_are_refused():
  assert [StreamOrder(shards_of([2] * shards), batch).lanes for shards, batch in ((20, 64), (20, 12), (3, 64), (1, 7), (8, 7))] == [8, 6, 2, 1, 7]
  with pytest.raises(ValueError, match=r"data\.order stream reads the shards of packed sets in sequence, and these records have none"):
    make_order(DataConfig(order="stream"), open_source(DataConfig())[0], 8)
  assert BlockCache(1).capacity == AHEAD + 2
