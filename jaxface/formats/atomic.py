"""Atomic files and folders: temporary name, fsync, rename."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from jaxface.formats.errors import UnsafePath


def sync_folder(folder: str | Path) -> None:
  """Makes renames inside a folder durable, if the file system can sync folders.

  Args:
    folder: an existing folder.
  """
  with contextlib.suppress(OSError):
    handle = os.open(folder, os.O_RDONLY)
    try:
      os.fsync(handle)
    finally:
      os.close(handle)


@contextlib.contextmanager
def atomic_file(path: str | Path, mode: str = "wb") -> Iterator[IO[Any]]:
  """Opens a temporary file next to `path`, which is renamed to it on success and removed on failure.

  Args:
    path: the final name; its folder is made where there is none.
    mode: "wb" or "w" (UTF-8, newlines as written).
  Returns:
    A context manager that yields the open file.
  Raises:
    OSError: any error of writing, such as a full disk; `path` is then unchanged.
  """
  path = Path(path)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  path.parent.mkdir(parents=True, exist_ok=True)
  text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
  try:
    with open(temporary, mode, **text) as file:  # type: ignore[call-overload]
      yield file
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise
  sync_folder(path.parent)


def write_text(path: str | Path, text: str) -> None:
  """Writes text as UTF-8, atomically.

  Args:
    path: the file.
    text: its content.
  """
  with atomic_file(path, "w") as file:
    file.write(text)


def json_text(obj: Any) -> str:
  """An object as indented JSON; equal objects give equal text.

  Args:
    obj: any JSON value; NaN is rejected, since other readers reject it.
  """
  return json.dumps(obj, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | Path, obj: Any) -> None:
  """Writes an object as `json_text`, atomically.

  Args:
    path: the file.
    obj: any JSON value.
  """
  write_text(path, json_text(obj))


@contextlib.contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
  """Yields a temporary folder next to `path`, which is renamed to it on success and removed on failure.

  Args:
    path: the final name; must not exist, or be an empty folder.
  Returns:
    A context manager that yields the temporary folder.
  Raises:
    FileExistsError: `path` exists already.
  """
  path = Path(path)
  if path.exists() and not (path.is_dir() and not any(path.iterdir())):
    raise FileExistsError(f"{path} exists already: choose another name or remove it")
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  shutil.rmtree(temporary, ignore_errors=True)
  temporary.mkdir()
  try:
    yield temporary
    for folder, _, names in os.walk(temporary):
      for name in names:
        with open(os.path.join(folder, name), "rb") as file:
          os.fsync(file.fileno())
      sync_folder(folder)
    os.replace(temporary, path)
  except BaseException:
    shutil.rmtree(temporary, ignore_errors=True)
    raise
  sync_folder(path.parent)


def remove_leftovers(path: str | Path) -> list[Path]:
  """Removes what `atomic_file` and `atomic_directory` left beside `path` when their process was killed.

  Only for the owner of the folder (`FolderLock`): another process may still be writing there otherwise.

  Args:
    path: the final name; it may contain wildcards.
  Returns:
    what was removed.
  """
  path = Path(path)
  # The number of a process, not any text: `.name.other.tmp` may be somebody's own file.
  found = [left for left in sorted(path.parent.glob(f".{path.name}.*.tmp")) if left.name.split(".")[-2].isdigit()]
  for left in found:
    if left.is_dir() and not left.is_symlink():
      shutil.rmtree(left, ignore_errors=True)
    else:
      left.unlink(missing_ok=True)
  return found


def inside(root: str | Path, relative: str | Path) -> Path:
  """The path of `relative` under `root`; rejects absolute paths, and those that leave `root` by ".." or a symbolic link.

  The root itself may be a symbolic link.

  Args:
    root: the folder to stay in.
    relative: a path from a list, an archive or a record.
  Returns:
    `root / relative`, not resolved.
  Raises:
    UnsafePath: it leaves the root, or is not a valid path.
  """
  root, text = Path(root), os.fspath(relative)
  if not text or "\0" in text:
    raise UnsafePath(f"{text!r} is not a path")
  if os.path.isabs(text) or ".." in Path(text).parts:
    raise UnsafePath(f"{text!r} leaves {root}: give paths relative to it, without '..'")
  path = root / text
  if not path.resolve().is_relative_to(root.resolve()):
    raise UnsafePath(f"{text!r} leaves {root} by a symbolic link to {path.resolve()}")
  return path
