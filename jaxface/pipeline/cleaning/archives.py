"""Photos from archives and lists into one new folder, whole or not at all; no member leaves it."""

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from jaxface.formats.atomic import atomic_directory, inside
from jaxface.formats.bounded import MAX_FILE_BYTES, read_bounded
from jaxface.formats.errors import DamagedData, UnsafePath
from jaxface.formats.sources import read_source
from jaxface.formats.walk import is_image

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
# Bytes of one member: larger ones are no photos.


def is_archive(path: Path) -> bool:
  """Whether the name is that of an archive."""
  return path.is_file() and path.name.lower().endswith(ARCHIVES)


def unpack_archive(archive: Path, out: Path) -> int:
  """Writes the images of an archive into a new folder; other members, links and devices are ignored.

  Args:
    archive: .zip, or .tar, also compressed.
    out: folder to make.
  Returns:
    The number of images.
  Raises:
    UnsafePath: a member's path leaves the folder.
    DamagedData: the archive cannot be read, or has no images; a member is huge.
    FileExistsError: `out` exists.
  """
  count = 0
  try:
    with atomic_directory(out) as folder:
      for name, size, file in _members(archive):
        if not is_image(name.rsplit("/", 1)[-1]):
          continue
        if size > MAX_FILE_BYTES:
          raise DamagedData(f"member {name!r} has {size:,} bytes, at most {MAX_FILE_BYTES:,} are read", file=archive)
        target = inside(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as to:
          shutil.copyfileobj(file, to)
        count += 1
      if not count:
        raise DamagedData("no images in this archive", file=archive)
  except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError, RuntimeError) as error:
    raise DamagedData(f"archive cannot be read: {error}", file=archive) from error
  except UnsafePath as error:
    raise UnsafePath(f"{archive}: {error}") from error
  return count


def _members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
  if archive.suffix.lower() == ".zip":
    with zipfile.ZipFile(archive) as opened:
      for one in opened.infolist():
        if not one.is_dir():
          with opened.open(one) as file:
            yield one.filename, one.file_size, file
    return
  with tarfile.open(archive) as opened:
    for member in opened:
      content = opened.extractfile(member) if member.isreg() else None
      if content is not None:
        yield member.name, member.size, content


def copy_listed(root: Path, list_file: Path, out: Path) -> int:
  """Copies listed images into a new folder, a folder per identity.

  Args:
    root: folder of the images.
    list_file: path and identity per line.
    out: folder to make.
  Returns:
    The number of images.
  Raises:
    UnsafePath, ValueError: see `read_source`.
    DamagedData: an image cannot be read.
  """
  source = read_source(root, "list", list_file)
  with atomic_directory(out) as folder:
    for image in source.images:
      target = inside(folder, f"{image.identity}/{image.path.replace('/', '__')}")
      target.parent.mkdir(parents=True, exist_ok=True)
      target.write_bytes(read_bounded(source.root / image.path))
  return len(source.images)


__all__ = ["ARCHIVES", "copy_listed", "is_archive", "unpack_archive"]
