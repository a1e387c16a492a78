"""Packs a source of images into a record set; equal inputs give equal bytes for any number of processes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jaxface.formats.aligned import known_template
from jaxface.formats.atomic import remove_leftovers, write_json
from jaxface.formats.beam_workers import BeamWorkers
from jaxface.formats.errors import FULL_DISK, DamagedData
from jaxface.formats.face import Face, encode_face
from jaxface.formats.images import decode_image, encode_jpeg, fit_image
from jaxface.formats.leave_out import apply_leave_out, read_leave_out
from jaxface.formats.lock import FolderLock, refuse_if_owned
from jaxface.formats.manifest import FILE, Manifest, Shard, read_manifest, write_manifest
from jaxface.formats.members import read_member
from jaxface.formats.packing_places import WORK, Place, deliver, open_place, writing_shard
from jaxface.formats.packing_plan import Entry, PackOptions, Plan, make_plan
from jaxface.formats.parallel import Workers, num_processes
from jaxface.formats.provenance import provenance_text
from jaxface.formats.remote import is_url
from jaxface.formats.remote_source import read_remote_source, source_root
from jaxface.formats.sources import Source, read_source
from jaxface.formats.survey import content_digest, survey
from jaxface.formats.writer import finish, write_shard

_STAMP = ".packed_from.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _ShardTask:
  root: str
  out: str
  shard: int
  num_shards: int
  size: tuple[int, int]
  entries: tuple[Entry, ...]
  fingerprint: str


def stored_image(root: Path, entry: Entry, size: tuple[int, int]) -> bytes:
  """The image bytes of a record: those of the file if they fit, else a new JPEG.

  Args:
    root: root of the source.
    entry: the image.
    size: (height, width) of the set.
  Returns:
    A JPEG file's bytes.
  Raises:
    DamagedData: the file has changed since the survey.
  """
  data = read_member(root, entry.path)
  if content_digest(data) != entry.digest:
    raise DamagedData("changed while it was being packed: pack again", file=root / entry.path)
  if entry.keep:
    return data
  return encode_jpeg(fit_image(decode_image(data, where=str(root / entry.path)), size))


def _write(task: _ShardTask) -> Shard:
  root = source_root(task.root)

  def payloads():
    for entry in task.entries:
      yield encode_face(Face(stored_image(root, entry, task.size), entry.label, entry.name, entry.id))

  with writing_shard(task.out) as folder:
    shard = write_shard(folder, task.shard, task.num_shards, payloads())
    deliver(task.out, folder, task.shard, shard, task.fingerprint)
  return shard


@contextlib.contextmanager
def _full_disk_explained(out: Path, plan: Plan) -> Iterator[None]:
  try:
    yield
  except OSError as error:
    if error.errno not in FULL_DISK:
      raise
    what = (
      f"disk full: packing needs {plan.bytes:,} bytes in total, {shutil.disk_usage(out).free:,} are free. "
      "Complete shards are kept: free some space and run it again, or remove the folder"
    )
    raise OSError(error.errno, what, str(out)) from error


def _write_shards(
  source: Source, place: Place, plan: Plan, workers: Workers, advance: Callable[[int], object]
) -> list[Shard]:
  shards = place.finished(plan.fingerprint)
  advance(sum(shard.records for shard in shards.values()))
  missing = [number for number in range(len(plan.shards)) if number not in shards]
  place.check_space(plan.bytes * len(missing) // len(plan.shards))
  tasks = [
    _ShardTask(str(source.root), place.title, number, len(plan.shards), plan.size, plan.shards[number], plan.fingerprint)
    for number in missing
  ]
  for number, shard in workers.unordered(_write, tasks):
    shards[missing[number]] = shard
    advance(shard.records)
  return [shards[number] for number in range(len(plan.shards))]


def _complete(place: Place) -> Manifest | None:
  """The manifest of a complete set at a place, or None."""
  place.look()
  if not (place.folder / FILE).is_file():
    return None
  manifest = read_manifest(place.folder)
  for shard in manifest.shards:
    if place.shards.size(shard.file) != shard.bytes:
      what = f"shard of {shard.bytes} bytes is missing or has another size: remove {place.title} and pack again"
      raise DamagedData(what, file=place.shards.place(shard.file))
  shutil.rmtree(place.folder / WORK, ignore_errors=True)
  return manifest


def _finish(source: Source, out: Path, plan: Plan, shards: list[Shard], licence: str, origin: str) -> Manifest:
  images = Counter(entry.label for entries in plan.shards for entry in entries)
  return finish(
    out,
    shards,
    plan.identity_names,
    [images[label] for label in range(len(plan.identity_names))],
    image_size=(*plan.size, 3),
    template=plan.template,
    source=source.title,
    fingerprint=plan.fingerprint,
    layout=source.layout,
    kept=sum(entry.keep for entries in plan.shards for entry in entries),
    damaged=plan.damaged,
    duplicates=plan.duplicates,
    licence=provenance_text("licence", licence),
    origin=provenance_text("origin", origin),
  )


def _say_provenance(place: Place, manifest: Manifest, licence: str, origin: str, say: Callable[[str], object]) -> Manifest:
  """Updates licence and origin in a complete set's manifest; "" keeps the recorded value."""
  given = {
    what: provenance_text(what, text) for what, text in (("licence", licence), ("origin", origin)) if text.strip()
  }
  changed: dict[str, Any] = {what: text for what, text in given.items() if getattr(manifest, what) != text}
  if changed:
    say("; ".join(f"{what} of {place.title} was {getattr(manifest, what)}, is now {text}" for what, text in changed.items()) + ".")
    manifest = dataclasses.replace(manifest, **changed)
    write_manifest(place.folder, manifest)
    place.publish(manifest_only=True)
  return manifest


def _read_stamp(out: Path) -> dict:
  try:
    return json.loads((out / _STAMP).read_text())
  except (OSError, ValueError):
    return {}


def pack(
  src: str | Path,
  out: str | Path,
  *,
  layout: str = "folders",
  list_file: str | Path | None = None,
  leave_out: str | Path | None = None,
  size: tuple[int, int] | int | None = None,
  shard_mb: float = 32,
  template: str | None = None,
  on_damage: str = "skip",
  duplicates: str = "keep",
  processes: int | None = None,
  beam: Sequence[str] | None = None,
  licence: str = "",
  origin: str = "",
  progress: bool = False,
  say: Callable[[str], object] = _log.info,
  on_images: Callable[[int], object] = lambda count: None,
) -> Manifest:
  """Packs a source of face images into a record set; returns immediately if `out` already contains that set.

  JPEGs of the right size are stored byte for byte; other images are decoded, cropped centrally, resized, and encoded with
  quality 95. Records are shuffled by a digest of their names, so that each shard contains many identities. An interrupted run
  is resumed by the next one, which verifies and keeps complete shards.

  Args:
    src: the folder of images, or a container (`.rec`, `.tar`, `.zip`, `.parquet`, `.mdb`, a TFDS folder), its folder, or `tfds:NAME`; or the URL
      of a folder per identity.
    out: output folder or URL; new, empty, or from an earlier run.
    layout: "folders", "list", "flat" or one of `CONTAINERS`, see `read_source`; "folders" also finds containers.
    list_file: for "list" and "flat".
    leave_out: list of `tfrecords_tools clean list`: images that are not packed, and images that get another identity.
    size: (height, width) or one number in pixels; None keeps the common size of all images.
    shard_mb: target size of a shard, in millions of bytes.
    template: name of the alignment template, or "none" for faces aligned to none; None takes that of `jaxface align`, if it made the
      folder, and is else unknown, since it cannot be inferred from the image size.
    on_damage: "skip" skips damaged images and lists them in the manifest, "error" raises.
    duplicates: files with equal bytes: "keep" lists them in the manifest, "drop" keeps the first within an identity
      and none of those under several identities, "error" raises.
    processes: number of processes; None chooses by the number of images.
    beam: reads and writes on Apache Beam with these options, such as ("--runner=FlinkRunner",); () takes its local runner. All workers
      see `src` and `out` by these names, and have the same packages. None uses processes of this machine. The bytes are the same.
    licence: licence of the images, recorded in every model trained on them. "" is unknown, or keeps that of a complete set.
    origin: author or source of the images; likewise.
    progress: whether to show a progress bar on standard error.
    say: called with each message for the user.
    on_images: called with a number of images that were just read or written.
  Returns:
    The manifest.
  Raises:
    FileNotFoundError, UnsafePath, ValueError: the source does not match its layout; no usable image; mixed sizes; another
      template than `jaxface align` recorded in the folder.
    DamagedData: a damaged image, with on_damage="error".
    FileExistsError: `out` contains something else.
    FolderInUse: another process is packing into `out`.
    ImportError: apache-beam is not installed.
    BeamFailed: the runner failed; complete shards are kept.
    OSError: the disk is full; names the required bytes, and leaves only complete shards.
  """
  known = known_template(src, template or "") or None
  options = PackOptions(layout, (size, size) if isinstance(size, int) else size, shard_mb, known, on_damage, duplicates)
  for what, text in (("licence", licence), ("origin", origin)):
    provenance_text(what, text)
  if processes is not None and processes < 1:
    raise ValueError(f"processes is {processes}: at least 1 is needed")
  if processes is not None and beam is not None:
    raise ValueError("processes and beam are both given: the runner of Beam has an option for its number of workers")
  if is_url(src) and (layout != "folders" or list_file is not None):
    raise ValueError(f"{src}: at a URL only a folder per identity is read; copy it first for layout {layout!r}")
  place = open_place(out)
  folder = place.folder
  source = read_remote_source(str(src)) if is_url(src) else read_source(src, layout, list_file)
  if leave_out is not None:
    source = apply_leave_out(source, read_leave_out(leave_out), file=leave_out)
  if place.contains(source.root):
    raise ValueError(f"{place.title} lies inside the source {source.root}: choose a folder outside it")
  refuse_if_owned(folder)
  manifest = _complete(place)
  stamp = {"stamp": source.stamp(), "options": json.loads(json.dumps(dataclasses.asdict(options)))}
  if manifest and _read_stamp(folder) == stamp:
    say(f"{place.title} is already complete: {manifest.num_records} records of {manifest.num_identities} identities.")
    return _say_provenance(place, manifest, licence, origin, say)
  for note in source.notes:
    say(note)
  processes = num_processes(len(source.images)) if processes is None else processes

  def bar(what: str, total: int) -> tqdm:
    return tqdm(total=total, desc=what, unit="img", unit_scale=True, disable=not progress, file=sys.stderr)

  def advance(shown: tqdm) -> Callable[[int], None]:
    def images(count: int) -> None:
      shown.update(count)
      on_images(count)

    return images

  with Workers(processes) if beam is None else BeamWorkers(beam, place.exchange()) as workers:
    with bar("reading", len(source.images)) as reading:
      findings = survey(source, workers=workers, advance=advance(reading))
    plan = make_plan(source, findings, options)
    for note in plan.notes:
      say(note)
    if manifest:
      if manifest.fingerprint != plan.fingerprint:
        raise FileExistsError(
          f"{place.title} contains a set packed from another source or with other options ({manifest.num_records} records of "
          f"{manifest.source!r}): choose another folder or remove it"
        )
      write_json(folder / _STAMP, stamp)
      return _say_provenance(place, manifest, licence, origin, say)
    with FolderLock(folder, say=say):
      place.begin(plan.fingerprint, len(plan.shards))
      with _full_disk_explained(folder, plan):
        with bar("writing", len(plan)) as writing:
          shards = _write_shards(source, place, plan, workers, advance(writing))
        manifest = _finish(source, folder, plan, shards, licence, origin)
        place.publish()
        write_json(folder / _STAMP, stamp)
      shutil.rmtree(folder / WORK)
      remove_leftovers(folder.resolve())  # of Beam's workers, see `Place.exchange`
  return manifest
