"""Arrays that were read from files once and are kept: beside the files, or else in the user's cache folder."""

import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.formats.atomic import atomic_file
from jaxface.formats.errors import DamagedData
from jaxface.formats.npz import npz_array, reading_npz

Arrays = Mapping[str, np.ndarray]
_HEAD = 4096
_log = logging.getLogger(__name__)


def cache_folder() -> Path:
  """`$XDG_CACHE_HOME/jaxface`, or `~/.cache/jaxface`."""
  return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxface"


def cache_file(files: Sequence[Path], version: int, suffix: str) -> Path:
  """A name in the cache folder for something made from files: another path, size, time or beginning gives another name."""
  total = hashlib.sha256(f"{version}".encode())
  for file in files:
    status = os.stat(file)
    total.update(f"{file.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    with open(file, "rb") as opened:
      total.update(opened.read(_HEAD))
  return cache_folder() / "index" / f"{total.hexdigest()}{suffix}"


def state_of(files: Sequence[Path], version: int) -> np.ndarray:
  """[32] uint8 digest of names, sizes and times of files; independent of their folder."""
  total = hashlib.sha256(f"{version}".encode())
  for file in files:
    status = os.stat(file)
    total.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
  return np.frombuffer(total.digest(), np.uint8)


def kept_arrays(beside: Path, files: Sequence[Path], *, version: int, names: Sequence[str], make: Callable[[], Arrays]) -> Arrays:
  """The arrays kept for some files, made anew if they are missing or of another state of the files.

  Args:
    beside: where to keep them; if its folder cannot be written, they are kept in the cache folder.
    files: the files from which they are made.
    version: of the way in which they are made.
    names: the arrays that are needed.
    make: makes them.
  """
  state, cached = state_of(files, version), cache_file(files, version, ".npz")
  for path in (beside, cached):
    try:
      with reading_npz(path) as archive:
        if np.array_equal(npz_array(archive, "state"), state):
          return {name: npz_array(archive, name) for name in names}
    except (FileNotFoundError, NotADirectoryError):
      pass
    except (DamagedData, KeyError) as error:
      _log.warning("%s: made anew: %s", path, error)
  arrays = make()
  contents: dict[str, Any] = {"state": state, **arrays}
  refused: list[str] = []
  for path in (beside, cached):
    try:
      with atomic_file(path) as out:
        np.savez(out, **contents)
      return arrays
    except OSError as error:
      refused.append(f"{path} ({error.strerror or error})")
  _log.warning("cannot be written: %s: the index is kept in memory, and made again by each process", "; ".join(refused))
  return arrays


__all__ = ["cache_file", "cache_folder", "kept_arrays", "state_of"]
