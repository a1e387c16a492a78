"""Embeds a large set in parts that survive an interruption, on one host or several, and joins them into one file."""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.data.fingerprint import digest, fingerprint
from jaxface.data.source import Source
from jaxface.data.subset import RangeSource
from jaxface.formats.embedding_forms import check_form, write_embedding_file
from jaxface.formats.embeddings import Embeddings, read_embeddings, write_embeddings
from jaxface.formats.lock import FolderInUse, FolderLock
from jaxface.inference.model import Model, load

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartsDone:
  """What a call has done.

  Attributes:
    count: embeddings in `out`, or 0 where it is not written yet.
    size: D.
    computed: images that this call has embedded.
    seconds: time that this took.
    missing: numbers of the parts that other hosts have not finished.
    files: what was written.
  """

  count: int
  size: int
  computed: int
  seconds: float
  missing: tuple[int, ...]
  files: tuple[Path, ...]

  def __str__(self) -> str:
    speed = f", {self.computed / self.seconds:,.0f} images/s" if self.computed else ""
    if self.files:
      return f"{self.count:,} embeddings of {self.size}{speed}"
    waits = f"{len(self.missing):,} parts are missing: other hosts have them" if self.missing else "another host writes the file"
    return f"{self.computed:,} images embedded{speed}; {waits}"


def embed_in_parts(
  model: Model | str | Path, faces: str | Path | Source, out: str | Path, *, part_size: int, host: int = 0, hosts: int = 1,
  template: str = "", mirror: str = "sum", raw: bool = False, crops: str = "one", batch_size: int = 128, devices: int = 0,
  progress: bool = False, say: Callable[[str], object] = _log.info,
) -> PartsDone:
  """Embeddings of a set in parts of `part_size` images, in the folder OUT.parts, and then in one file.

  The same call goes on after the last complete part. Several hosts with a shared folder take every `hosts`-th part each; the one that finds
  all of them complete writes the file and removes the folder. The file does not depend on parts or hosts. Memory is for one part, and for the
  names and labels of all records.

  Args:
    model, faces, template, mirror, raw, crops, batch_size, devices, progress: see `embed_faces`.
    out: file to write: .npz, .parquet, .npy with names, or .faiss, see `jaxface.formats.write_embedding_file`.
    part_size: images of a part.
    host, hosts: number of this host, from 0, and of all.
    say: called with each line for the user: after each part the speed, and when all are done at that speed.
  Raises:
    ValueError: parts that were made of other images or with another model or other options; a number out of its range.
    DamagedData: a part is damaged, or most images of a part cannot be read.
    FileExistsError: `out` exists, and its parts do not.
    FolderInUse: another process computes the parts of this host.
  """
  out = Path(out)
  check_form(out)
  if part_size < 1 or not 0 <= host < hosts:
    raise ValueError(f"parts of {part_size} images, host {host} of {hosts}: needs at least one image, and a host from 0 to {hosts - 1}")
  model = model if isinstance(model, Model) else load(model)
  source = model.open(faces, template)
  names = source.names()
  starts = range(0, source.num_records, part_size)
  folder = out.with_name(f"{out.name}.parts")
  files = [folder / f"{number:06d}.parquet" for number in range(len(starts))]
  asked = {
    "part_size": part_size, "mirror": mirror, "raw": raw, "crops": crops, "model_digest": model.saved.digest,
    "source": digest([repr(sorted(fingerprint(source).items()))]),
  }
  if out.exists() and not any(folder.glob("*.parquet")):
    raise FileExistsError(f"{out} exists already, without parts to go on with: remove it to embed again")
  mine = list(range(host, len(starts), hosts))
  began = time.perf_counter()
  computed = 0
  with FolderLock(folder / f"host-{host:04d}", advice="wait for it, or end it", say=say):
    left = [number for number in mine if not files[number].is_file()]
    if len(left) < len(mine):
      say(f"{out}: {len(mine) - len(left):,} of {len(mine):,} parts are there already")
    for number in mine:
      if number not in left:
        _check_part(files[number], asked)
    for done, number in enumerate(left, 1):
      part = RangeSource(source, starts[number], min(starts[number] + part_size, source.num_records), names)
      found = model.embed_named(
        part, mirror=mirror, raw=raw, crops=crops, batch_size=batch_size, progress=progress, skip_unreadable=True, devices=devices,
        say=say if done == 1 else _quiet,
      )
      write_embeddings(files[number], Embeddings(found.embedding_nd, found.names, found.label_n, {**found.meta, "part": asked}))
      computed += part.num_records
      if unreadable := found.meta.get("unreadable"):
        say(f"part {number}: {len(unreadable):,} images cannot be used and are skipped, such as {unreadable[0]!r}")
      rate = computed / (time.perf_counter() - began)
      to_come = sum(min(part_size, source.num_records - starts[later]) for later in left[done:])
      end = datetime.now() + timedelta(seconds=to_come / rate)
      say(f"part {done:,} of {len(left):,}: {rate:,.0f} images/s, done at {end:%Y-%m-%d %H:%M:%S}")
  seconds = time.perf_counter() - began
  missing = tuple(number for number, file in enumerate(files) if not file.is_file())
  nothing = PartsDone(0, 0, computed, seconds, () if out.is_file() else missing, ())
  if missing:  # other hosts are at work, or one has written the file and removed the parts
    if out.is_file():
      _tidy(folder)
    return nothing
  try:
    with FolderLock(folder, say=say):
      count, size, written = _join(files, out, asked)
      for file in files:
        file.unlink()
  except FolderInUse:  # another host has found all parts, too
    return nothing
  _tidy(folder)
  return PartsDone(count, size, computed, seconds, (), tuple(written))


def _tidy(folder: Path) -> None:
  """Removes empty folders; a host that is about to end has its lock there, and does the same."""
  for left in (*folder.glob("host-*"), folder):
    with contextlib.suppress(OSError):
      left.rmdir()


def _quiet(_: str) -> None:
  """Takes a line that was said for the first part already."""


def _check_part(file: Path, asked: dict[str, Any]) -> Embeddings:
  found = read_embeddings(file)
  kept = found.meta.get("part")
  if kept != asked:
    differing = [name for name in asked if not isinstance(kept, dict) or kept.get(name) != asked[name]]
    raise ValueError(f"{file} was made with another {', '.join(differing)}: remove {file.parent}, or give another --out")
  return found


def _join(files: Sequence[Path], out: Path, asked: dict[str, Any]) -> tuple[int, int, list[Path]]:
  """Writes the file from its parts; returns N, D and the files."""
  names: list[str] = []
  labels: list[np.ndarray] = []
  unreadable, size, meta = [], 0, {}
  for file in files:
    found = _check_part(file, asked)
    names += found.names
    assert found.label_n is not None  # a source has labels
    labels.append(found.label_n)
    unreadable += found.meta.get("unreadable", [])
    size, meta = found.embedding_nd.shape[1], dict(found.meta)
  meta = {name: value for name, value in meta.items() if name not in ("part", "unreadable")} | ({"unreadable": unreadable} if unreadable else {})
  parts = (read_embeddings(file).embedding_nd for file in files)
  return len(names), size, write_embedding_file(out, names, np.concatenate(labels), size, parts, meta)


__all__ = ["PartsDone", "embed_in_parts"]
