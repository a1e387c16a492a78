"""A folder per identity at a URL, as a source of packing."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import cast

from jaxface.formats.bounded import MAX_FILE_BYTES
from jaxface.formats.errors import DamagedData
from jaxface.formats.identities import check_identity_name
from jaxface.formats.images import IMAGE_SUFFIXES
from jaxface.formats.remote import file_system, files_below, is_url, reaching
from jaxface.formats.sources import Source, SourceImage
from jaxface.formats.walk import is_hidden, is_image, level_note, name_note, record_names, unread_note

# What file systems tell of a file's content or time, by which a change is noticed.
_FACTS = ("size", "etag", "ETag", "md5Hash", "crc32c", "mtime", "LastModified", "updated", "created")


class RemoteFolder:
  """The root of a source at a URL, with those parts of `Path` that packing uses.

  Args:
    url: of the folder, or of a file in it.
  """

  def __init__(self, url: str):
    self._url = url.rstrip("/")

  def __truediv__(self, path: str) -> RemoteFolder:
    return RemoteFolder(f"{self._url}/{path}")

  def __str__(self) -> str:
    return self._url

  @property
  def name(self) -> str:
    """The last part of the URL."""
    return self._url.rpartition("/")[2]

  def resolve(self) -> RemoteFolder:
    """The same folder."""
    return self

  def read(self) -> bytes:
    """The bytes of a file.

    Raises:
      DamagedData: it is not there any more, or is huge.
      OSError: the place cannot be reached.
    """
    fs, path = file_system(self._url)
    try:
      with reaching(self._url):
        data = bytes(fs.cat_file(path, start=0, end=MAX_FILE_BYTES + 1))
    except FileNotFoundError as error:
      raise DamagedData("cannot be read: no such file", file=self._url) from error
    if len(data) > MAX_FILE_BYTES:
      raise DamagedData(f"huge file: at most {MAX_FILE_BYTES:,} bytes are read", file=self._url)
    return data


def source_root(root: str) -> Path:
  """The root of a source by its text: a path, or a `RemoteFolder` in place of one."""
  return cast(Path, RemoteFolder(root)) if is_url(root) else Path(root)


def read_remote_source(url: str) -> Source:
  """Lists the images at a URL, a folder per identity; reads none of them.

  Args:
    url: any URL of fsspec.
  Returns:
    The source.
  Raises:
    FileNotFoundError: nothing is there.
    ValueError: no images, or an identity whose name cannot be kept.
    OSError: the place cannot be reached.
  """
  fs, path = file_system(url)
  with reaching(url):
    found = files_below(fs, path)
  if not found:
    raise FileNotFoundError(f"{url}: no such folder of images, or it is empty")
  open_files = [name for name in found if not any(map(is_hidden, name.split("/")))]
  images = [name for name in open_files if is_image(PurePosixPath(name).name)]
  pairs = {name: name.split("/", 1)[0] for name in images if "/" in name}
  notes = []
  if loose := len(images) - len(pairs):
    notes.append(f"{loose} images are in {url} itself, not in an identity's folder: ignored.")
  unread: dict[str, list[str]] = {}
  for name in sorted(set(open_files) - set(images)):
    unread.setdefault(PurePosixPath(name).suffix.lower(), []).append(name)
  if unread:
    notes.append(unread_note(unread))
  if not pairs:
    raise ValueError(f"{url}: no images ({', '.join(IMAGE_SUFFIXES)}) found in folders of identities. {' '.join(notes)}".strip())
  root, paths, total = source_root(url), list(pairs), hashlib.sha256(url.encode())
  for name in paths:
    try:
      check_identity_name(pairs[name])
    except ValueError as error:
      raise ValueError(f"{f'{url}/{name}'!r}: {error}") from error
    total.update(f"{name}\t{[str(found[name].get(fact, '')) for fact in _FACTS]}\n".encode("utf-8", "surrogateescape"))
  names = record_names(paths)
  made = tuple(SourceImage(one, pairs[one], name) for one, name in zip(paths, names))
  return Source(root, "folders", made, (*level_note(root, paths), *notes, *name_note(paths, names)), total.hexdigest())


__all__ = ["RemoteFolder", "read_remote_source", "source_root"]
