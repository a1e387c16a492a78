"""Packed sets that are not on this machine: manifest, identities and indexes are copied once, records are read by their byte ranges.

The order contract holds, as any record can be read at any time. What is copied is in the cache folder (see `kept_index`), and is checked against the
manifest, which is read anew each time.
"""

import hashlib
import logging
from pathlib import Path
from typing import Any

from jaxface.formats import identities, manifest
from jaxface.formats.atomic import atomic_file
from jaxface.formats.blocks import BlockCache, BlockFile
from jaxface.formats.errors import DamagedData
from jaxface.formats.kept_index import cache_folder
from jaxface.formats.remote import file_system, path_below, reaching

_log = logging.getLogger(__name__)


class RemoteFile:
  """A file of which slices are read.

  Args:
    fs: file system of fsspec.
    path: path in it.
    url: for messages.
    size: bytes of the file.
  """

  def __init__(self, fs: Any, path: str, url: str, size: int):
    self._fs, self._path, self._url, self._size = fs, path, url, size

  def __getitem__(self, span: slice) -> bytes:
    """The bytes of a span; fewer where the file ends."""
    if span.start >= self._size:  # which services answer with an error
      return b""
    with reaching(self._url):
      return bytes(self._fs.cat_file(self._path, start=span.start, end=min(span.stop, self._size)))


class RemoteShards:
  """The shards of a set at a URL.

  Args:
    url: of the set.
    memory: bytes of blocks of shards that are kept, for reading in the sequence of the shards; 0 requests each span alone.
  """

  def __init__(self, url: str, memory: int = 0):
    self.url = url.rstrip("/")
    self._fs, self._root = file_system(self.url)
    self._cache = BlockCache(memory) if memory else None

  def size(self, file: str) -> int | None:
    """Bytes of a file; None if it is not there."""
    try:
      with reaching(self.url):
        return int(self._fs.size(self._path(file)))
    except FileNotFoundError:
      return None

  def open(self, file: str) -> RemoteFile | BlockFile:
    """A file for reading by spans."""
    size = self.size(file) or 0
    found = RemoteFile(self._fs, self._path(file), self.place(file), size)
    return BlockFile(file, size, found.__getitem__, self._cache) if self._cache else found

  def place(self, file: str) -> str:
    """The URL of a file."""
    return f"{self.url}/{file}"

  def read(self, file: str) -> bytes:
    """A whole small file."""
    with reaching(self.url):
      return bytes(self._fs.cat_file(self._path(file)))

  def _path(self, file: str) -> str:
    return path_below(self._root, file)


def local_copy(url: str) -> Path:
  """A folder with manifest, identities and indexes of the set at a URL.

  Raises:
    FileNotFoundError: no packed set there.
    DamagedData: the manifest is damaged, or a file is not the one that it lists.
    OSError: the place cannot be reached.
  """
  shards = RemoteShards(url)
  folder = cache_folder() / "remote" / hashlib.sha256(shards.url.encode()).hexdigest()[:32]
  if shards.size(manifest.FILE) is None:
    raise FileNotFoundError(f"{shards.place(manifest.FILE)} is missing: not a packed set (made by `python -m tfrecords_tools pack SRC OUT`)")
  _keep(folder / manifest.FILE, shards.read(manifest.FILE))
  found = manifest.read_manifest(folder)
  wanted = {identities.FILE: found.identities_sha256, **{shard.index: shard.index_sha256 for shard in found.shards}}
  for name, sha256 in wanted.items():
    path = folder / name
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
      continue
    try:
      content = shards.read(name)
    except FileNotFoundError as error:
      raise DamagedData("is missing: copy the whole set again", file=shards.place(name)) from error
    if hashlib.sha256(content).hexdigest() != sha256:
      raise DamagedData("is not the file that the manifest lists (SHA-256): copy the set again", file=shards.place(name))
    _keep(path, content)
  return folder


def _keep(path: Path, content: bytes) -> None:
  with atomic_file(path) as file:
    file.write(content)


__all__ = ["RemoteFile", "RemoteShards", "local_copy"]
