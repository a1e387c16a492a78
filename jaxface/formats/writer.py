"""Writes packed sets: shards one by one, in any process, then the metadata that complete the set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.formats.atomic import atomic_file
from jaxface.formats.face import Face, encode_face
from jaxface.formats.identities import check_identity_name, write_identities
from jaxface.formats.index import index_entry, make_index, write_index
from jaxface.formats.manifest import UNKNOWN_TEMPLATE, Manifest, Shard, write_manifest
from jaxface.formats.tfds_metadata import DATASET, SPLIT, write_tfds_metadata
from jaxface.formats.tfrecord import frame


def shard_names(shard: int, num_shards: int) -> tuple[str, str]:
  """Names of a shard, as tensorflow-datasets expects it, and its index.

  Args:
    shard: number of the shard.
    num_shards: number of shards.
  Returns:
    (TFRecord file, index).
  """
  place = f"{shard:05d}-of-{num_shards:05d}"
  return f"{DATASET}-{SPLIT}.tfrecord-{place}", f"{DATASET}-{SPLIT}.index-{place}.npz"


def write_shard(folder: str | Path, shard: int, num_shards: int, payloads: Iterable[bytes]) -> Shard:
  """Writes one shard and its index, each atomically.

  Args:
    folder: folder of the packed set; must exist.
    shard: number of the shard.
    num_shards: total number of shards.
    payloads: records from `encode_face`, in order.
  Returns:
    The shard's manifest entry.
  """
  file_name, index_name = shard_names(shard, num_shards)
  digest, lines, offset = hashlib.sha256(), [], 0
  with atomic_file(Path(folder) / file_name) as file:
    for payload in payloads:
      framed = frame(payload)
      file.write(framed)
      digest.update(framed)
      lines.append(index_entry(payload, offset))
      offset += len(framed)
  index_sha256 = write_index(Path(folder) / index_name, make_index(lines))
  return Shard(file_name, index_name, len(lines), offset, digest.hexdigest(), index_sha256)


def finish(
  folder: str | Path, shards: Sequence[Shard], identity_names: Sequence[str], images: Sequence[int], **fields: Any
) -> Manifest:
  """Writes identity table, tensorflow-datasets' metadata and, last, the manifest.

  Args:
    folder: folder of the packed set, with all shards.
    shards: results of `write_shard`, in order.
    identity_names: names by label.
    images: number of records by label.
    **fields: further fields of `Manifest`: image_size, template, source and those with defaults.
  Returns:
    The manifest.
  """
  identities_sha256 = write_identities(folder, identity_names, images)
  write_tfds_metadata(folder, shards, identity_names, fields["image_size"])
  manifest = Manifest(
    num_records=sum(shard.records for shard in shards),
    num_identities=len(identity_names),
    shards=tuple(shards),
    identities_sha256=identities_sha256,
    **fields,
  )
  write_manifest(folder, manifest)
  return manifest


def write_recordset(
  folder: str | Path,
  faces: Sequence[Face],
  identity_names: Sequence[str],
  *,
  image_size: tuple[int, int, int],
  template: str = UNKNOWN_TEMPLATE,
  source: str = "memory",
  num_shards: int = 1,
) -> Manifest:
  """Writes faces from memory as a packed set.

  Args:
    folder: output folder; created if missing.
    faces: the records in order.
    identity_names: names by label.
    image_size: (height, width, 3) of every image.
    template: name of the alignment template, "unknown" or "none", see `Manifest`.
    source: name of their source.
    num_shards: number of shards of nearly equal numbers of records.
  Returns:
    The manifest.
  """
  Path(folder).mkdir(parents=True, exist_ok=True)
  for name in identity_names:
    check_identity_name(name)
  cuts = [len(faces) * shard // num_shards for shard in range(num_shards + 1)]
  shards = [
    write_shard(folder, shard, num_shards, map(encode_face, faces[cuts[shard] : cuts[shard + 1]]))
    for shard in range(num_shards)
  ]
  images = np.bincount([face.label for face in faces], minlength=len(identity_names)).tolist()
  return finish(
    folder, shards, identity_names, images, image_size=image_size, template=template, source=source, kept=len(faces)
  )
