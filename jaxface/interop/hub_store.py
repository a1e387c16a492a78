"""Places for pushed models: folders and buckets through fsspec, and repositories of Hugging Face."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from jaxface.formats.remote import file_system, files_below, path_below, reaching

HF = "hf://"


class Store:
  """A folder of a file system that fsspec knows.

  Args:
    place: path or URL.
  Attributes:
    place: as given.
  Raises:
    ValueError: an unknown kind of URL; lists the known ones.
    ImportError: fsspec, or the package for this kind of URL, is not installed.
  """

  def __init__(self, place: str):
    self.place = place.rstrip("/")
    self._fs, self._root = file_system(self.place)

  def exists(self, name: str) -> bool:
    """Whether a file is there."""
    with reaching(self.place):
      return bool(self._fs.exists(self._path(name)))

  def names(self) -> list[str]:
    """Files that are there, relative to the place."""
    with reaching(self.place):
      return list(files_below(self._fs, self._root)) if self._fs.exists(self._root) else []

  def read(self, name: str, limit: int) -> bytes:
    """A whole file, of at most `limit` bytes; more are not read."""
    with self.open(name) as file:
      return file.read(limit)

  @contextmanager
  def open(self, name: str) -> Iterator[IO[bytes]]:
    """A file for reading.

    Raises:
      FileNotFoundError: there is none.
      OSError: the place cannot be reached.
    """
    with reaching(self.place), self._fs.open(self._path(name), "rb") as file:
      yield file

  def write(self, files: Mapping[str, Path], last: tuple[str, bytes], gone: Sequence[str] = ()) -> None:
    """Copies files in this order, then one more from its bytes, and removes those that are gone.

    Args:
      files: local files by name.
      last: name and content of a file that completes the others.
      gone: names of files to remove.
    """
    with reaching(self.place):
      for name, path in files.items():
        self._fs.makedirs(posixpath.dirname(self._path(name)), exist_ok=True)
        self._fs.put_file(str(path), self._path(name))
      self._fs.pipe_file(self._path(last[0]), last[1])
      for name in gone:
        if self._fs.exists(self._path(name)):
          self._fs.rm_file(self._path(name))

  def _path(self, name: str) -> str:
    return path_below(self._root, name)


class HuggingFaceStore(Store):
  """A repository of Hugging Face, hf://OWNER/NAME or hf://OWNER/NAME@REVISION: written in one commit, read through fsspec."""

  def __init__(self, place: str):
    try:
      import huggingface_hub
    except ImportError as error:
      raise ImportError(f"{place} needs the extra hub: pip install 'jaxface[hub]'") from error
    self._hub: Any = huggingface_hub
    self.repository, _, self.revision = place.rstrip("/").removeprefix(HF).partition("@")
    if self.repository.count("/") != 1 or not all(self.repository.split("/")):
      raise ValueError(f"{place}: needs {HF}OWNER/NAME, a repository")
    super().__init__(place)

  def exists(self, name: str) -> bool:
    """Whether a file is there; no if there is no such repository."""
    with reaching(self.place):
      return bool(self._hub.HfApi().file_exists(self.repository, name, revision=self.revision or None))

  def names(self) -> list[str]:
    """Files of the repository, without those that Hugging Face makes; none if it does not exist."""
    with reaching(self.place):
      api = self._hub.HfApi()
      if not api.repo_exists(self.repository):
        return []
      found = api.list_repo_files(self.repository, revision=self.revision or None)
      return sorted(name for name in found if name not in (".gitattributes", "README.md"))

  def write(self, files: Mapping[str, Path], last: tuple[str, bytes], gone: Sequence[str] = ()) -> None:
    """One commit with all files."""
    with reaching(self.place):
      api = self._hub.HfApi()
      api.create_repo(self.repository, exist_ok=True)
      operations = [self._hub.CommitOperationAdd(name, str(path)) for name, path in files.items()]
      operations += [self._hub.CommitOperationAdd(*last), *(self._hub.CommitOperationDelete(name) for name in gone)]
      api.create_commit(self.repository, operations, commit_message="Push a jaxface model", revision=self.revision or None)


def open_store(place: str) -> Store:
  """The store of a place; see `push_model`."""
  return HuggingFaceStore(place) if place.startswith(HF) else Store(place)


__all__ = ["HuggingFaceStore", "Store", "open_store"]
