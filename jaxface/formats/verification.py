"""Every byte of a packed set is read, every image decoded, every fault named."""

from __future__ import annotations

import sys
from pathlib import Path

from tqdm import tqdm

from jaxface.formats.errors import DamagedData
from jaxface.formats.identities import FILE as IDENTITIES
from jaxface.formats.identities import read_identities
from jaxface.formats.manifest import FILE as MANIFEST
from jaxface.formats.manifest import Manifest, read_manifest
from jaxface.formats.parallel import Workers, num_processes
from jaxface.formats.verify_metadata import tfds_faults
from jaxface.formats.verify_shard import ShardReport, ShardTask, check_shard


def _agreement(out: Path, manifest: Manifest, reports: list[ShardReport]) -> list[DamagedData]:
  """Faults between manifest, identity table and what the shards hold."""
  faults = []
  try:
    names, images = read_identities(out, manifest.identities_sha256)
  except DamagedData as fault:
    return [fault]
  if len(names) != manifest.num_identities:
    what = f"num_identities is {manifest.num_identities}, the identity table has {len(names)}"
    faults.append(DamagedData(what, file=out / MANIFEST))
  ids = [number for report in reports for number in report.ids]
  if len(set(ids)) != len(ids):
    faults.append(DamagedData(f"{len(ids) - len(set(ids))} record ids occur more than once", file=out / MANIFEST))
  if not any(report.faults for report in reports):
    for label, name in enumerate(names):
      found = sum(report.images.get(label, 0) for report in reports)
      if found != images[label]:
        what = f"label {label} ({name}) has {found} images, {images[label]} in the table"
        faults.append(DamagedData(what, file=out / IDENTITIES))
  return faults + tfds_faults(out, manifest, names)


def verify_records(path: str | Path, *, processes: int | None = None, progress: bool = False) -> list[DamagedData]:
  """Checks a packed set: checksums, framing, index, labels, images, identity table, tensorflow-datasets' metadata.

  A missing index is rebuilt with a notice.

  Args:
    path: the packed set.
    processes: None for as many as are worth it.
    progress: whether to draw a progress bar on the error stream.
  Returns:
    All faults, in order of shards and records; empty if there is none.
  Raises:
    FileNotFoundError: there is no packed set.
  """
  out = Path(path)
  try:
    manifest = read_manifest(out)
  except DamagedData as fault:
    return [fault]
  tasks, first = [], 0
  for shard in manifest.shards:
    tasks.append(ShardTask(str(out), shard, first, manifest.num_identities, tuple(manifest.image_size)))
    first += shard.records
  found: dict[int, ShardReport] = {}
  processes = num_processes(manifest.num_records) if processes is None else processes
  with (
    Workers(processes) as workers,
    tqdm(total=first, desc="verifying", unit="img", disable=not progress, file=sys.stderr) as bar,
  ):
    for number, report in workers.unordered(check_shard, tasks):
      found[number] = report
      bar.update(manifest.shards[number].records)
  reports = [found[number] for number in range(len(tasks))]
  faults = [fault for report in reports for fault in report.faults]
  return faults + _agreement(out, manifest, reports)


__all__ = ["verify_records"]
