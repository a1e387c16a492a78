"""The images of WebDataset tars: members of one name before the first dot of the file name are one sample.

Source: WebDataset, "The WebDataset Format", https://webdataset.github.io/webdataset/
"""

import json
import mmap
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from jaxface.formats.atomic import inside
from jaxface.formats.bounded import MAX_FILE_BYTES
from jaxface.formats.errors import DamagedData, UnsafePath
from jaxface.formats.images import IMAGE_SUFFIXES
from jaxface.formats.member_index import Member, label_text, number_or_name
from jaxface.formats.recordset import map_file

LABELS = (".cls", ".id", ".json")
FIELDS = ("label", "identity", "id", "cls")
_BLOCK = 512


@dataclass
class _Sample:
  key: str
  image: tuple[int, int] | None = None
  label: str | None = None
  names: set[str] = field(default_factory=set)


def tar_members(files: list[Path], notes: list[str]) -> Iterator[Member]:
  """The images of uncompressed tars.

  A sample is an image and its label: `KEY.cls` (or `.id`) has a number or a name, `KEY.json` has it under `label`, `identity`, `id` or `cls`.
  Where there are no labels, the first folder of a key is the identity.

  Args:
    files: the tars, in order.
    notes: gets a line on samples without an image.
  Raises:
    DamagedData: a tar is cut short, compressed or damaged; a sample has two images, or no label.
    UnsafePath: a member's path leaves the archive.
  """
  skipped, labelled = 0, None
  for number, file in enumerate(files):
    data = map_file(file)
    for sample in _samples(file, data):
      if sample.image is None:
        skipped += 1
        continue
      offset, length = sample.image
      labelled = sample.label is not None if labelled is None else labelled
      where = f"{file}, {sample.key}"
      if labelled != (sample.label is not None):
        raise DamagedData(f"sample {sample.key!r} has {'no label' if labelled else 'a label, others before it have none'}: "
                          f"all need one ({', '.join(LABELS)}), or none", file=str(file), offset=offset)
      if sample.label is None and "/" not in sample.key:
        raise DamagedData(f"sample {sample.key!r} has no label ({', '.join(LABELS)}) and no folder", file=str(file), offset=offset)
      identity = sample.label or sample.key.split("/")[0]
      key = sample.key if labelled else sample.key.split("/", 1)[1]
      name = f"{identity}/{file.stem}/{key}" if len(files) > 1 else f"{identity}/{key}"
      yield Member(name, label_text(identity, where), data[offset : offset + length], number, offset, length)
  if skipped:
    notes.append(f"{skipped:,} samples have no image ({', '.join(IMAGE_SUFFIXES)}): ignored.")


def _samples(file: Path, data: mmap.mmap | bytes) -> Iterator[_Sample]:
  sample, end = None, 0
  for name, offset, length in _entries(file, data):
    end = offset + -(-length // _BLOCK) * _BLOCK
    folder, base = str(PurePosixPath(name).parent), PurePosixPath(name).name
    stem, dot, suffix = base.partition(".")
    key = stem if folder == "." else f"{folder}/{stem}"
    if sample is None or sample.key != key:
      if sample is not None:
        yield sample
      sample = _Sample(key)
    suffix = dot + suffix.lower()
    if suffix in sample.names:
      raise DamagedData(f"member {name!r} stands twice", file=str(file), offset=offset)
    sample.names.add(suffix)
    if suffix.endswith(IMAGE_SUFFIXES):
      if sample.image is not None:
        raise DamagedData(f"sample {key!r} has two images", file=str(file), offset=offset)
      sample.image = (offset, length)
    elif suffix in LABELS:
      found = _label(bytes(data[offset : offset + length]), suffix, f"{file}, {name}")
      sample.label = found if found is not None else sample.label
  if sample is not None:
    yield sample
  if data[end : end + 2 * _BLOCK] != bytes(2 * _BLOCK):
    raise DamagedData("the tar has no end mark (two blocks of zeros): it is cut short", file=str(file), offset=end)


def _entries(file: Path, data: mmap.mmap | bytes) -> Iterator[tuple[str, int, int]]:
  try:
    with tarfile.open(file, "r:") as tar:
      for entry in tar:
        try:
          inside(file.parent, entry.name)
        except UnsafePath as error:
          raise UnsafePath(f"{file}: {error}") from error
        if entry.isdir() or PurePosixPath(entry.name).name.startswith("."):
          continue
        if not entry.isreg() or entry.sparse is not None:
          raise DamagedData(f"member {entry.name!r} is not a plain file", file=str(file), offset=entry.offset)
        if entry.size > MAX_FILE_BYTES or entry.offset_data + entry.size > len(data):
          raise DamagedData(f"member {entry.name!r} has {entry.size:,} bytes: the tar is cut short or damaged", file=str(file), offset=entry.offset)
        yield entry.name, entry.offset_data, entry.size
  except tarfile.TarError as error:
    raise DamagedData(f"not a complete tar: {error} (compressed tars have no random access: unpack them with gunzip first)", file=str(file)) from error


def _label(data: bytes, suffix: str, where: str) -> str | None:
  try:
    if suffix != ".json":
      return number_or_name(data.decode().strip(), where)
    found = json.loads(data)
  except (ValueError, RecursionError) as error:
    if isinstance(error, DamagedData):
      raise
    raise DamagedData(f"not a label: {error}", file=where) from error
  name = next((name for name in FIELDS if isinstance(found, dict) and name in found), None)
  return None if name is None else label_text(found[name], where)


__all__ = ["tar_members"]
