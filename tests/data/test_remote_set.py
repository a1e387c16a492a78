"""A packed set at a URL: the same records in the same order as in its folder, and every fault named by its URL."""

import logging
import shutil

import chex
import numpy as np
import pytest

from jaxface.data import DataConfig, Loader, make_order, open_records, open_source
from jaxface.data.config import has_records
from jaxface.data.fingerprint import fingerprint
from jaxface.formats.errors import DamagedData
from jaxface.formats.manifest import read_manifest

fsspec = pytest.importorskip("fsspec", reason="EXTRA ABSENT: fsspec is not installed: sets at a URL were not tested here")
URL = "memory://bucket/set"


@pytest.fixture
def memory(packed, tmp_path, monkeypatch):
  """The file system with the packed set; the cache is empty."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  fs = fsspec.filesystem("memory")
  fs.store.clear()
  put(fs, packed)
  yield fs
  fs.store.clear()


def put(fs, packed):
  for path in packed.iterdir():
    fs.pipe_file(f"/bucket/set/{path.name}", path.read_bytes())


def test_records_and_batches_are_those_of_the_folder(memory, packed):
  here, there = open_records(packed, 2), open_records(URL, 2)
  assert there.names() == here.names() and there.identity_names() == here.identity_names() and fingerprint(there) == fingerprint(here)
  batches = []
  for source in (here, there):
    with Loader(source, make_order(DataConfig(), source, 8, seed=3), 8, start_step=2, steps=6) as loader:
      batches.append(list(loader))
  chex.assert_trees_all_equal(*batches)
  assert has_records(URL) and open_records(URL).threads >= 32


def test_a_mixture_may_have_sets_at_urls(memory, packed):
  source, held = open_source(DataConfig(mixture=(str(packed), URL), weights=(1.0, 2.0), holdout=0.2))
  assert source.num_records + held.num_records == 80 and {name.split("/")[0] for name in source.names()} == {"packed", "set"}


def test_small_files_are_copied_once_and_again_when_the_set_has_changed(memory, packed, monkeypatch):
  read = []
  real = type(memory).cat_file
  monkeypatch.setattr(type(memory), "cat_file", lambda self, path, **span: read.append(path.rpartition("/")[2]) or real(self, path, **span))
  open_records(URL)
  first = len(read)
  assert set(read) == {"manifest.json", "identities.tsv", *(shard.index for shard in read_manifest(packed).shards)}
  open_records(URL)
  assert read[first:] == ["manifest.json"]
  memory.rm("/bucket/set", recursive=True)
  other = packed.parent / "other"
  from jaxface.formats.resharding import reshard

  reshard(packed, other, 1)
  put(memory, other)
  assert fingerprint(open_records(URL))["shards"] == 1


def test_an_image_is_one_request_for_its_bytes(memory, monkeypatch):
  source = open_records(URL, 1)
  spans = []
  real = type(memory).cat_file
  monkeypatch.setattr(type(memory), "cat_file", lambda self, path, start=None, end=None: spans.append(end - start) or real(self, path, start, end))
  out = np.empty((3, *source.image_shape), np.uint8)
  assert source.read(np.array([0, 7, 39]), out) == []
  assert len(spans) == 3 and sum(spans) < 10_000


def test_damaged_and_lost_records_are_named_by_their_url(memory, packed, caplog):
  shard = read_manifest(packed).shards[0]
  data = bytearray(memory.cat_file(f"/bucket/set/{shard.file}"))
  data[60] ^= 1
  memory.pipe_file(f"/bucket/set/{shard.file}", bytes(data[: len(data) // 2]))
  with caplog.at_level(logging.WARNING):
    source = open_records(URL)
  assert f"{URL}/{shard.file}: shard has" in caplog.text
  out = np.empty((shard.records, *source.image_shape), np.uint8)
  errors = source.read(np.arange(shard.records), out)
  assert errors[0].record == 0 and errors[-1].record == shard.records - 1 and len(errors) < shard.records
  assert all(error.file == f"{URL}/{shard.file}" for error in errors)


def test_missing_and_foreign_files_are_named(memory, packed):
  shard = read_manifest(packed).shards[1]
  memory.rm_file(f"/bucket/set/{shard.file}")
  with pytest.raises(DamagedData, match=f"{URL}/{shard.file}: shard with {shard.records} records is missing"):
    open_records(URL)
  memory.pipe_file("/bucket/set/identities.tsv", b"label\timages\tname\n")
  shutil.rmtree(packed.parent / "cache")
  with pytest.raises(DamagedData, match=f"{URL}/identities.tsv: is not the file that the manifest lists"):
    open_records(URL)
  memory.rm_file(f"/bucket/set/{shard.index}")
  memory.pipe_file("/bucket/set/identities.tsv", (packed / "identities.tsv").read_bytes())
  with pytest.raises(DamagedData, match=f"{URL}/{shard.index}: is missing"):
    open_records(URL)
  with pytest.raises(FileNotFoundError, match=r"memory://bucket/nothing/manifest\.json is missing: not a packed set"):
    open_records("memory://bucket/nothing")


def test_a_place_that_cannot_be_reached_is_named(memory, monkeypatch):
  class Refused(Exception):
    pass

  def refuse(*_, **__):
    raise Refused("403")

  source = open_records(URL)
  monkeypatch.setattr(type(memory), "cat_file", refuse)
  with pytest.raises(OSError, match=r"memory://bucket/set/.* cannot be reached: Refused: 403"):
    source.read(np.array([0]), np.empty((1, *source.image_shape), np.uint8))
  with pytest.raises(OSError, match="cannot be reached"):
    open_records(URL)
  with pytest.raises(ValueError, match=r"nosuch://x: .*memory"):
    open_records("nosuch://x")
