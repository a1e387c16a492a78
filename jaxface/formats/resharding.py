"""Copies a packed set into another number of shards."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxface.formats.atomic import atomic_directory
from jaxface.formats.manifest import Manifest
from jaxface.formats.recordset import RecordSet
from jaxface.formats.writer import finish, write_shard


def reshard(path: str | Path, new: str | Path, num_shards: int, *, progress: bool = False) -> Manifest:
  """Copies the records of a packed set to a new one, byte for byte and in order.

  Args:
    path: the packed set.
    new: output folder; must not exist.
    num_shards: from 1 to the number of records.
    progress: whether to draw a progress bar on the error stream.
  Returns:
    The new manifest.
  Raises:
    ValueError: an impossible number of shards.
    DamagedData: a damaged record; nothing is left at `new`.
    FileExistsError: `new` exists.
  """
  records = RecordSet.open(path)
  total = records.num_records
  if not 1 <= num_shards <= total:
    raise ValueError(f"{num_shards} shards: {path} has {total} records, so 1 to {total} shards can be made")
  cuts = [total * shard // num_shards for shard in range(num_shards + 1)]
  old = records.manifest
  with (
    atomic_directory(new) as folder,
    tqdm(total=total, desc="resharding", unit="img", disable=not progress, file=sys.stderr) as bar,
  ):

    def payloads(start: int, end: int):
      for record in range(start, end):
        yield bytes(records.payload(record))
        bar.update()

    shards = [
      write_shard(folder, shard, num_shards, payloads(cuts[shard], cuts[shard + 1])) for shard in range(num_shards)
    ]
    return finish(
      folder,
      shards,
      records.identity_names,
      np.bincount(records.label_n, minlength=records.num_identities).tolist(),
      image_size=old.image_size,
      template=old.template,
      source=old.source,
      fingerprint=old.fingerprint,
      layout=old.layout,
      kept=old.kept,
      damaged=old.damaged,
      duplicates=old.duplicates,
      licence=old.licence,
      origin=old.origin,
    )


__all__ = ["reshard"]
