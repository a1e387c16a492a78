"""The manifest of a packed set: contents, provenance, and checksums of all parts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxface.formats.checked_json import read_checked_json, write_checked_json
from jaxface.formats.errors import DamagedData
from jaxface.formats.provenance import UNKNOWN

FORMAT = "jaxface-records"
VERSION = 1
# Template of images whose alignment is not specified.
UNKNOWN_TEMPLATE = "unknown"
UNKNOWN_TEMPLATES = {UNKNOWN_TEMPLATE, "none", ""}
FILE = "manifest.json"


@dataclass(frozen=True)
class Shard:
  """One shard and its index.

  Args:
    file: name of the TFRecord file.
    index: name of the index beside it.
    records: number of records.
    bytes: size of the TFRecord file.
    sha256: SHA-256 of the TFRecord file, in hex.
    index_sha256: SHA-256 of the index, in hex.
  """

  file: str
  index: str
  records: int
  bytes: int
  sha256: str
  index_sha256: str


@dataclass(frozen=True)
class Manifest:
  """Metadata of a packed set. It is written last: a set with a manifest is complete.

  Args:
    num_records: faces in all shards.
    num_identities: identities, each with at least one face.
    image_size: (height, width, channels) of every image.
    template: name of the alignment template; "unknown" if not specified, "none" for faces aligned to no template.
    source: name of the folder that was packed.
    shards: the shards in order.
    identities_sha256: SHA-256 of the identity table, in hex.
    fingerprint: digest of names, labels and bytes of the source, and of the options; equal for equal sources.
    layout: layout of the source: folders, list or flat.
    kept: number of images stored byte for byte; the others were re-encoded.
    damaged: {"file", "what"} of each skipped image.
    duplicates: {"names", "across_identities"} of each group of files with equal bytes.
    colour_order: channel order of the decoded images.
    encoding: encoding of the stored images.
    licence: licence of the images, or "unknown".
    origin: author or source of the images, or "unknown".
  """

  num_records: int
  num_identities: int
  image_size: tuple[int, int, int]
  template: str
  source: str
  shards: tuple[Shard, ...]
  identities_sha256: str
  fingerprint: str = ""
  layout: str = "folders"
  kept: int = 0
  damaged: tuple[dict[str, str], ...] = ()
  duplicates: tuple[dict[str, Any], ...] = field(default=())
  colour_order: str = "RGB"
  encoding: str = "jpeg"
  licence: str = UNKNOWN
  origin: str = UNKNOWN


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
  """Writes the manifest with its checksum, atomically.

  Args:
    folder: folder of the packed set.
    manifest: the manifest.
  """
  write_checked_json(Path(folder) / FILE, {"format": FORMAT, "version": VERSION, **dataclasses.asdict(manifest)})


def read_manifest(folder: str | Path) -> Manifest:
  """Reads the manifest and checks that its counts are consistent.

  Args:
    folder: folder of the packed set.
  Returns:
    The manifest.
  Raises:
    FileNotFoundError: the folder does not contain a complete packed set.
    DamagedData: the manifest cannot be read or contradicts itself; names the field.
  """
  path = Path(folder) / FILE
  if not path.is_file():
    what = "packing has not finished: run it again" if (Path(folder) / ".packing").is_dir() else "not a packed set"
    raise FileNotFoundError(f"{path} is missing: {what} (made by `python -m tfrecords_tools pack SRC OUT`)")
  fields = read_checked_json(path)
  try:
    found = (fields.pop("format"), fields.pop("version"))
    if found != (FORMAT, VERSION):
      raise ValueError(f"format and version are {found}, this program reads {(FORMAT, VERSION)}")
    fields["shards"] = tuple(Shard(**shard) for shard in fields["shards"])
    for name in ("image_size", "damaged", "duplicates"):
      fields[name] = tuple(fields[name])
    manifest = Manifest(**fields)
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise DamagedData(f"manifest cannot be read: {error!r}", file=path) from error
  total = sum(shard.records for shard in manifest.shards)
  if total != manifest.num_records:
    raise DamagedData(f"num_records is {manifest.num_records}, its shards contain {total}", file=path)
  for shard in manifest.shards:
    if Path(shard.file).name != shard.file or Path(shard.index).name != shard.index:
      raise DamagedData(f"shard {shard.file!r}, {shard.index!r}: names must stay in the folder", file=path)
  return manifest
