"""The images of a ZIP file with a folder per identity."""

import mmap
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from jaxface.formats.atomic import inside
from jaxface.formats.bounded import MAX_FILE_BYTES
from jaxface.formats.errors import DamagedData, UnsafePath
from jaxface.formats.member_index import Member
from jaxface.formats.recordset import map_file
from jaxface.formats.walk import is_hidden, is_image, record_names

_LOCAL = struct.Struct("<4s22xHH")


def zip_members(files: list[Path], notes: list[str]) -> Iterator[Member]:
  """The images of a ZIP file; a folder that contains all others is not an identity.

  Args:
    files: the ZIP file.
    notes: gets a line on what is no image.
  Raises:
    DamagedData: the file is cut short, damaged, encrypted, or compressed in another way than deflate.
    UnsafePath: a path leaves the archive.
  """
  (file,) = files
  data = map_file(file)
  try:
    with zipfile.ZipFile(file) as archive:
      entries = sorted((entry for entry in archive.infolist() if not entry.is_dir()), key=lambda entry: entry.filename)
  except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
    raise DamagedData(f"not a complete ZIP file: {error}", file=str(file)) from error
  for entry in entries:
    try:
      inside(file.parent, entry.filename)
    except UnsafePath as error:
      raise UnsafePath(f"{file}: {error}") from error
  images = [entry for entry in entries if is_image(PurePosixPath(entry.filename).name) and not any(map(is_hidden, PurePosixPath(entry.filename).parts))]
  paths = [PurePosixPath(entry.filename).as_posix() for entry in images]
  while paths and all(path.count("/") >= 2 for path in paths) and len({path.split("/", 1)[0] for path in paths}) == 1:
    paths = [path.split("/", 1)[1] for path in paths]
  if len(entries) > len(images):
    notes.append(f"{len(entries) - len(images):,} files of {file.name} are no images: ignored.")
  loose = sum("/" not in path for path in paths)
  if loose:
    notes.append(f"{loose:,} images of {file.name} are not in an identity's folder: ignored.")
  for entry, path, name in zip(images, paths, record_names(paths)):
    if "/" not in path:
      continue
    offset = _start(file, data, entry)
    stored = data[offset : offset + entry.compress_size]
    image = inflate(stored, file, offset) if entry.compress_type == zipfile.ZIP_DEFLATED else stored
    if len(image) != entry.file_size or zlib.crc32(image) != entry.CRC:
      raise DamagedData(f"{entry.filename!r} does not have the size and the checksum of the ZIP file", file=str(file), offset=offset)
    yield Member(name, path.split("/", 1)[0], image, 0, offset, entry.compress_size, entry.compress_type == zipfile.ZIP_DEFLATED)


def inflate(data: bytes, file: Path, offset: int) -> bytes:
  """Raw deflate, at most `MAX_FILE_BYTES`.

  Raises:
    DamagedData: damaged, or larger.
  """
  try:
    stream = zlib.decompressobj(-15)
    image = stream.decompress(data, MAX_FILE_BYTES)
  except zlib.error as error:
    raise DamagedData(f"cannot be inflated: {error}", file=str(file), offset=offset) from error
  if not stream.eof:
    raise DamagedData(f"cut short, or more than {MAX_FILE_BYTES:,} bytes", file=str(file), offset=offset)
  return image


def _start(file: Path, data: mmap.mmap | bytes, entry: zipfile.ZipInfo) -> int:
  at = entry.header_offset
  what = f"{entry.filename!r}"
  if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    raise DamagedData(f"{what} is encrypted, or compressed in another way than deflate: unpack the file first", file=str(file), offset=at)
  if not 0 <= at <= len(data) - 30 or data[at : at + 4] != b"PK\3\4":
    raise DamagedData(f"no file begins where the directory has {what}", file=str(file), offset=at)
  _, name, extra = _LOCAL.unpack_from(data, at)
  start = at + 30 + name + extra
  if start + entry.compress_size > len(data):
    raise DamagedData(f"{what} runs beyond the end of the file", file=str(file), offset=at)
  return start


__all__ = ["inflate", "zip_members"]
