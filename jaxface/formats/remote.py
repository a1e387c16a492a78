"""Places that fsspec reaches: buckets, servers, memory. Its errors, of which each kind of place has its own, get one form."""

import posixpath
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jaxface.formats.atomic import atomic_file


def is_url(path: str | Path) -> bool:
  """Whether a path is a URL, such as gs://BUCKET/PATH."""
  return isinstance(path, str) and "://" in path


def file_system(place: str) -> tuple[Any, str]:
  """The file system of a path or URL, and the path in it.

  Raises:
    ValueError: an unknown kind of URL; lists the known ones.
    ImportError: fsspec, or its package for this kind of URL, is not installed.
  """
  try:
    import fsspec
  except ImportError as error:
    raise ImportError(f"{place} needs the extra hub: pip install 'jaxface[hub]'") from error
  try:
    return fsspec.core.url_to_fs(place)
  except ValueError as error:
    raise ValueError(f"{place}: {error}; give a path, or a URL of one of {', '.join(fsspec.available_protocols())}") from error
  except ImportError as error:
    raise ImportError(f"{place}: {error}") from error


@contextmanager
def reaching(place: str) -> Iterator[None]:
  """Errors of a service become `OSError` with the place."""
  try:
    yield
  except (OSError, ValueError):
    raise
  except Exception as error:
    raise OSError(f"{place} cannot be reached: {type(error).__name__}: {error}") from error


def path_below(root: str, name: str) -> str:
  """The path of a file below a root, both as paths in a file system."""
  return f"{root.rstrip('/')}/{name}"


def files_below(fs: Any, root: str) -> dict[str, dict[str, Any]]:
  """What a file system tells of each file below a root, by its path from there, in ascending order."""
  start = path_below(fs._strip_protocol(root), "")
  return {name.removeprefix(start): facts for name, facts in sorted(fs.find(root, detail=True).items())}


def read_whole(place: str) -> bytes:
  """The content of a file at a path or URL."""
  if not is_url(place):
    return Path(place).read_bytes()
  fs, path = file_system(place)
  with reaching(place):
    return bytes(fs.cat_file(path))


def write_whole(place: str, content: bytes) -> None:
  """Writes a file at a path or URL, whole or not at all; a bucket shows an object when all of it is there."""
  if is_url(place):
    fs, path = file_system(place)
    with reaching(place):
      fs.makedirs(posixpath.dirname(path), exist_ok=True)
      fs.pipe_file(path, content)
    return
  with atomic_file(place) as file:
    file.write(content)


def remove_folder(place: str) -> None:
  """Removes a folder at a path or URL with all that is in it; does nothing if there is none."""
  if not is_url(place):
    shutil.rmtree(place, ignore_errors=True)
    return
  fs, path = file_system(place)
  with suppress(FileNotFoundError), reaching(place):
    fs.rm(path, recursive=True)


__all__ = ["file_system", "files_below", "is_url", "path_below", "reaching", "read_whole", "remove_folder", "write_whole"]
