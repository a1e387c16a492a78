"""Model folders to and from other places: any path of fsspec, such as a bucket, or a repository of Hugging Face.

A pushed folder has the files of the model, README.md with the card and the metadata of Hugging Face, and `files.json`, which has the size
and SHA-256 of each and is written last: without it the folder is not complete.
"""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxface.formats.atomic import atomic_directory, inside
from jaxface.formats.checked_json import checked_text, parse_checked_json
from jaxface.formats.errors import DamagedData, UnsafePath
from jaxface.interop.hub_card import readme
from jaxface.interop.hub_store import Store, open_store
from jaxface.models.description import FILE, parse_description
from jaxface.models.description import model_folder as folder_of

LIST = "files.json"
FORMAT_VERSION = 1
README = "README.md"
# A list is far smaller; the bound keeps what is read of a wrong file small.
LIST_BYTES = 64 << 20
_CHUNK = 8 << 20


@dataclass(frozen=True)
class Transferred:
  """A model folder that was copied.

  Attributes:
    place: where it was copied to.
    files: number of its files.
    nbytes: their size.
    sha256: digest of the list of files, which has theirs: equal folders have equal digests.
  """

  place: str
  files: int
  nbytes: int
  sha256: str

  def __str__(self) -> str:
    return f"{self.place}: {self.files} files, {self.nbytes / 1e6:.1f} MB, sha256 {self.sha256}"


def push_model(model: str | Path, place: str) -> Transferred:
  """Copies a model folder to another place.

  Args:
    model: model folder, or workdir of a run.
    place: a path, a URL of fsspec such as gs://BUCKET/PATH or memory://PATH, or hf://OWNER/NAME for a repository of Hugging Face, which
      is made if it does not exist. A model that is there already is replaced.
  Raises:
    FileNotFoundError: there is no model.
    DamagedModel: model.json cannot be used.
    FileExistsError: the place has other files, and no model.
    ImportError: the package for this kind of place is not installed.
    OSError: the place cannot be reached or written.
  """
  folder = folder_of(model)
  description = parse_description(folder / FILE, (folder / FILE).read_bytes())
  files = {path.relative_to(folder).as_posix(): path for path in _files_of(folder, description.get("variables", "variables"))}
  with tempfile.TemporaryDirectory() as made:
    text = Path(made) / README
    text.write_text(readme(description), encoding="utf-8")
    files[README] = text
    entries: dict[str, dict[str, Any]] = {name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for name, path in sorted(files.items())}
    listed = checked_text({"format_version": FORMAT_VERSION, "files": entries}).encode()
    store = open_store(place)
    before = _read_list(store) if store.exists(LIST) else {}
    if not before and (others := store.names()):
      raise FileExistsError(f"{place} has files that are not a pushed model, such as {others[0]}: choose another place")
    # The description comes after what it refers to, and the list last.
    order = sorted(files, key=lambda name: (name == FILE, name))
    store.write({name: files[name] for name in order}, (LIST, listed), gone=[name for name in before if name not in files])
  return Transferred(place, len(files), sum(entry["bytes"] for entry in entries.values()), hashlib.sha256(listed).hexdigest())


def pull_model(place: str, out: str | Path) -> Transferred:
  """Copies a pushed model folder here, and compares each file with its digest.

  Args:
    place: see `push_model`; hf://OWNER/NAME@REVISION takes a branch, tag or commit.
    out: folder to make; it appears when all files are there and intact.
  Raises:
    FileNotFoundError: no pushed model there.
    DamagedData: files are missing or damaged; names all of them.
    UnsafePath: a name in the list would be outside `out`.
    FileExistsError: `out` exists.
    ImportError: the package for this kind of place is not installed.
    OSError: the place cannot be reached.
  """
  store = open_store(place)
  if not store.exists(LIST):
    raise FileNotFoundError(f"{place} has no {LIST}: there is no model that `jaxface push` has completed")
  text = store.read(LIST, LIST_BYTES)
  entries = _entries(text, f"{place}/{LIST}")
  faults = []
  with atomic_directory(out) as folder:
    for name, entry in entries.items():
      target = inside(folder, name)
      target.parent.mkdir(parents=True, exist_ok=True)
      if fault := _fetch(store, name, entry, target):
        faults.append(f"{name} {fault}")
    if faults:
      shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
      raise DamagedData(f"{len(faults)} of {len(entries)} files are not what was pushed: {shown}. Push the model again", file=place)
    parse_description(folder / FILE, (folder / FILE).read_bytes())
  return Transferred(str(out), len(entries), sum(entry["bytes"] for entry in entries.values()), hashlib.sha256(text).hexdigest())


def _files_of(folder: Path, variables: str) -> list[Path]:
  """Files of the current model: not those of one that it replaced, nor unfinished ones."""
  found = []
  for path in sorted(folder.rglob("*")):
    parts = path.relative_to(folder).parts
    stale = parts[0].startswith("variables") and parts[0] != variables
    if path.is_file() and not stale and not any(part.startswith(".") for part in parts) and path.name not in (README, LIST):
      found.append(path)
  return found


def _fetch(store: Store, name: str, entry: dict[str, Any], target: Path) -> str:
  """Writes one file; returns what is wrong with it, or ""."""
  total, size = hashlib.sha256(), 0
  try:
    with store.open(name) as source, open(target, "xb") as out:
      while chunk := source.read(_CHUNK):
        size += len(chunk)
        if size > entry["bytes"]:
          return f"has more than its {entry['bytes']:,} bytes"
        total.update(chunk)
        out.write(chunk)
  except FileNotFoundError:
    return "is missing"
  if size != entry["bytes"]:
    return f"has {size:,} of {entry['bytes']:,} bytes"
  if total.hexdigest() != entry["sha256"]:
    return f"has SHA-256 {total.hexdigest()[:12]}…, not {entry['sha256'][:12]}…"
  return ""


def _read_list(store: Store) -> dict[str, dict[str, Any]]:
  return _entries(store.read(LIST, LIST_BYTES), f"{store.place}/{LIST}")


def _entries(text: bytes, file: str) -> dict[str, dict[str, Any]]:
  """Size and digest by name, checked."""
  plain = parse_checked_json(text, file=file)
  entries = plain.get("files")
  if plain.get("format_version") != FORMAT_VERSION or not isinstance(entries, dict) or FILE not in entries:
    raise DamagedData(f"not a list of the files of a model in format {FORMAT_VERSION}, as `jaxface push` writes it", file=file)
  for name, entry in entries.items():
    if not isinstance(entry, dict) or not isinstance(entry.get("bytes"), int) or not isinstance(entry.get("sha256"), str):
      raise DamagedData(f"entry {name!r} is {entry!r:.80}, expected bytes and sha256", file=file)
    if "\\" in name:
      raise UnsafePath(f"{file}: {name!r} is not a path with slashes")
  return entries


def _sha256(path: Path) -> str:
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


__all__ = ["LIST", "Transferred", "pull_model", "push_model"]
