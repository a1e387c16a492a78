"""Where a packed set is written: a folder, or a URL with a folder of this machine for what is small."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from jaxface.formats import lock
from jaxface.formats.atomic import remove_leftovers, write_json
from jaxface.formats.checked_json import (
  checked_text,
  parse_checked_json,
  read_checked_json,
  write_checked_json,
)
from jaxface.formats.kept_index import cache_folder
from jaxface.formats.lock import FolderInUse
from jaxface.formats.manifest import FILE, Shard
from jaxface.formats.recordset import LocalShards, map_file
from jaxface.formats.remote import (
  file_system,
  files_below,
  is_url,
  path_below,
  reaching,
  remove_folder,
  write_whole,
)
from jaxface.formats.remote_set import RemoteShards

WORK = ".packing"
_RECEIPT = re.compile(rf"{re.escape(WORK)}/[0-9a-f]{{16}}/\d+\.json")


class Place:
  """A folder in which a set is packed.

  Args:
    title: as the user gave it.
    folder: folder of this machine with the lock, the plan and all small files.
  Attributes:
    shards: sizes of the files of the set, see `LocalShards`.
  """

  def __init__(self, title: str, folder: Path):
    self.title, self.folder = title, folder
    self.shards: LocalShards | RemoteShards = LocalShards(folder)

  def contains(self, root: Path) -> bool:
    """Whether the place lies inside the root of a source."""
    return not is_url(str(root)) and self.folder.resolve().is_relative_to(root.resolve())

  def exchange(self) -> str:
    """A folder for what the workers of Beam are given and give back; beside the set, which may not be begun yet."""
    whole = self.folder.resolve()
    return str(whole.with_name(f".{whole.name}.{os.getpid()}.tmp"))

  def look(self) -> None:
    """Copies the manifest of the place into the folder, if they are not one."""

  def begin(self, fingerprint: str, num_shards: int) -> None:
    """Prepares the folder, which must be new or contain the result of an earlier run of the same plan."""
    note, work = {"fingerprint": fingerprint, "num_shards": num_shards}, self.folder / WORK
    if (self.folder / FILE).is_file():
      raise FolderInUse(f"{self.title} was packed by another process in the meantime: run it again to check the result")
    if not work.is_dir() and any(path.name != lock.FILE for path in self.folder.iterdir()):
      raise FileExistsError(f"{self.title} is not empty and is not a packed set: choose another folder")
    try:
      found = json.loads((work / "plan.json").read_text())
    except (OSError, ValueError):
      found = None
    if found != note and work.is_dir():
      for receipt in work.glob("[0-9]*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
          shard = json.loads(receipt.read_text())
          for name in (shard["file"], shard["index"]):
            (self.folder / Path(name).name).unlink(missing_ok=True)
      shutil.rmtree(work)
    remove_leftovers(self.folder / "*")
    work.mkdir(parents=True, exist_ok=True)
    write_json(work / "plan.json", note)

  def finished(self, fingerprint: str) -> dict[int, Shard]:
    """The shards that an earlier run of the plan finished and whose bytes are unchanged, by number."""
    del fingerprint  # `begin` has removed the shards of others
    found = {}
    for receipt in sorted((self.folder / WORK).glob("[0-9]*.json")):
      with contextlib.suppress(OSError, ValueError, TypeError):
        shard = Shard(**read_checked_json(receipt))
        sums = [hashlib.sha256(map_file(self.folder / name)).hexdigest() for name in (shard.file, shard.index)]
        if sums == [shard.sha256, shard.index_sha256]:
          found[int(receipt.stem)] = shard
    return found

  def check_space(self, needed: int) -> None:
    """Raises `OSError` if the disk has less space than `needed` bytes."""
    if shutil.disk_usage(self.folder).free < needed:
      raise OSError(errno.ENOSPC, "no space for the missing shards")

  def publish(self, *, manifest_only: bool = False) -> None:
    """Shows the small files to all readers, the manifest last, or the manifest alone."""


class RemotePlace(Place):
  """A URL at which a set is packed, by one command at a time: the lock is known to this machine only.

  Args:
    url: of the set.
  """

  def __init__(self, url: str):
    self.url = url.rstrip("/")
    super().__init__(self.url, cache_folder() / "packing" / hashlib.sha256(self.url.encode()).hexdigest()[:32])
    self.shards = self._remote = RemoteShards(self.url)
    self._fs, self._root = file_system(self.url)

  def contains(self, root: Path) -> bool:
    return f"{self.url}/".startswith(f"{root}/")

  def exchange(self) -> str:
    return f"{self.url}/{WORK}/{uuid.uuid4().hex}"

  def look(self) -> None:
    (self.folder / FILE).unlink(missing_ok=True)
    if self._remote.size(FILE) is not None:
      write_whole(str(self.folder / FILE), self._remote.read(FILE))

  def begin(self, fingerprint: str, num_shards: int) -> None:
    names, plan = self._names(), f"{WORK}/plan.json"
    if FILE in names:
      raise FolderInUse(f"{self.title} was packed by another process in the meantime: run it again to check the result")
    if plan not in names and any(not name.startswith(f"{WORK}/") for name in names):
      raise FileExistsError(f"{self.title} is not empty and is not a packed set: choose another place")
    for path in self.folder.iterdir():  # of an earlier set at this URL
      if path.name not in (lock.FILE, WORK):
        path.unlink()
    (self.folder / WORK).mkdir(exist_ok=True)
    super().begin(fingerprint, num_shards)
    write_whole(self._remote.place(plan), (self.folder / plan).read_bytes())
    for name in names:
      if _RECEIPT.fullmatch(name) and not name.startswith(_receipts(fingerprint)):
        with contextlib.suppress(ValueError, KeyError):
          shard = json.loads(self._remote.read(name))
          for old in {shard["file"], shard["index"]} & set(names):
            self._remove(old)
        self._remove(name)

  def finished(self, fingerprint: str) -> dict[int, Shard]:
    found = {}
    for name in self._names():
      if name.startswith(_receipts(fingerprint)):
        with contextlib.suppress(ValueError, TypeError):
          shard = Shard(**parse_checked_json(self._remote.read(name), file=self._remote.place(name)))
          index = self._remote.size(shard.index) is not None and hashlib.sha256(self._remote.read(shard.index)).hexdigest()
          # A bucket checks what it is sent, and shows it whole: the size of a shard is enough.
          if self._remote.size(shard.file) == shard.bytes and index == shard.index_sha256:
            found[int(name.rpartition("/")[2].removesuffix(".json"))] = shard
    return found

  def check_space(self, needed: int) -> None:
    """Checks nothing: a bucket has no size."""

  def publish(self, *, manifest_only: bool = False) -> None:
    small = [] if manifest_only else [path for path in sorted(self.folder.iterdir()) if not path.name.startswith(".") and path.name != FILE]
    for path in [*small, self.folder / FILE]:
      write_whole(self._remote.place(path.name), path.read_bytes())
    remove_folder(f"{self.url}/{WORK}")

  def _names(self) -> list[str]:
    with reaching(self.url):
      return list(files_below(self._fs, self._root))

  def _remove(self, name: str) -> None:
    with contextlib.suppress(FileNotFoundError), reaching(self.url):
      self._fs.rm_file(path_below(self._root, name))


def _receipts(fingerprint: str) -> str:
  return f"{WORK}/{fingerprint[:16]}/"


def open_place(out: str | Path) -> Place:
  """The place at a path or URL."""
  return RemotePlace(str(out)) if is_url(out) else Place(str(out), Path(out))


@contextlib.contextmanager
def writing_shard(out: str) -> Iterator[Path]:
  """The folder in which a worker writes a shard: that of the set, or a temporary one from which `deliver` copies."""
  if not is_url(out):
    yield Path(out)
    return
  with tempfile.TemporaryDirectory(prefix="jaxface-shard-") as folder:
    yield Path(folder)


def deliver(out: str, folder: Path, number: int, shard: Shard, fingerprint: str) -> None:
  """Puts a written shard into its place, then its receipt.

  Args:
    out: path or URL of the set.
    folder: of `writing_shard`, with shard and index.
    number: of the shard.
    shard: its manifest entry.
    fingerprint: of the plan.
  """
  content = dataclasses.asdict(shard)
  if not is_url(out):
    write_checked_json(Path(out) / WORK / f"{number:05d}.json", content)
    return
  fs, root = file_system(out)
  with reaching(out):
    fs.makedirs(root, exist_ok=True)
    for name in (shard.file, shard.index):
      fs.put_file(str(folder / name), path_below(root, name))
  write_whole(f"{out}/{_receipts(fingerprint)}{number:05d}.json", checked_text(content).encode())


__all__ = ["WORK", "Place", "RemotePlace", "deliver", "open_place", "writing_shard"]
