"""Sources of faces: a folder per identity, a list, or one folder with an identity file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from jaxface.formats.atomic import inside
from jaxface.formats.container_tfds import PREFIX
from jaxface.formats.containers import CONTAINERS, PATTERNS, find_container, in_container, layout_of, opened
from jaxface.formats.errors import UnsafePath
from jaxface.formats.identities import check_identity_name
from jaxface.formats.images import IMAGE_SUFFIXES
from jaxface.formats.walk import (
  check_folder,
  is_hidden,
  is_image,
  level_note,
  name_note,
  record_names,
  unread_advice,
  unread_note,
  walk,
)

LAYOUTS = ("folders", "list", "flat", *CONTAINERS)


@dataclass(frozen=True)
class SourceImage:
  """One file of a source.

  Args:
    path: relative to the source's root, with "/".
    identity: name of the identity.
    name: the record's name: the path without its suffix, or with it if two files differ in the suffix only.
  """

  path: str
  identity: str
  name: str


@dataclass(frozen=True)
class Source:
  """All files of a source, sorted by path.

  Args:
    root: the folder, or the container; in packing also a `RemoteFolder`.
    layout: one of `LAYOUTS`.
    images: the files.
    notes: messages for the user about ignored files.
    digest: of the contents of a container, or of what a URL tells of its files; "" for a folder.
  """

  root: Path
  layout: str
  images: tuple[SourceImage, ...]
  notes: tuple[str, ...]
  digest: str = ""

  @property
  def title(self) -> str:
    """Name for the manifest: of the folder, or of the file."""
    root = self.root.resolve()
    return root.parent.name if root.name.startswith("*") or self.layout in ("lmdb", "tfds") else root.name

  def stamp(self) -> str:
    """SHA-256 of names, identities, sizes and times of all files, or of a container: cheap, and changes if a file changes.

    Returns:
      The digest in hex.
    """
    digest = hashlib.sha256(str(self.root.resolve()).encode())
    if self.digest:
      digest.update(self.digest.encode())
      return digest.hexdigest()
    for image in self.images:
      try:
        status = os.stat(self.root / image.path)
        line = f"{image.path}\t{image.identity}\t{status.st_size}\t{status.st_mtime_ns}\n"
      except OSError as error:
        line = f"{image.path}\t{image.identity}\t{error.errno}\n"
      digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def read_source(root: str | Path, layout: str = "folders", list_file: str | Path | None = None) -> Source:
  """Lists the images of a source with their identities; opens none of them.

  Args:
    root: the folder of images.
    layout: "folders": a folder per identity, images at any depth below it. "list": `list_file` has a path relative
      to root and an identity per line. "flat": images lie in root itself, `list_file` has a file name and an
      identity per line. One of `CONTAINERS`: root is such a file or a folder with it, or `tfds:NAME`; "folders" does the same where a folder
      has one and no images.
    list_file: for "list" and "flat": columns separated by a tab, or by the last white space of the line.
  Returns:
    The source.
  Raises:
    FileNotFoundError: root or the list is missing.
    UnsafePath: a path of the list leaves root; names file and line.
    ValueError: no images, an invalid line, an unknown layout.
  """
  if layout not in LAYOUTS:
    raise ValueError(f"layout {layout!r}: takes {', '.join(LAYOUTS)}")
  if layout in CONTAINERS or (layout == "folders" and (str(root).startswith(PREFIX) or in_container(Path(root)))):
    return _from_container(root, None if layout == "folders" else layout, list_file)
  root = Path(root)
  check_folder(root)
  if (layout == "folders") != (list_file is None):
    what = "takes no list" if layout == "folders" else "needs a list: --list FILE with a path and an identity per line"
    raise ValueError(f"layout {layout!r} {what}")
  if layout == "folders":
    pairs, notes = _from_folders(root)
    if not pairs and find_container(root):
      return _from_container(root, None, list_file)
  else:
    pairs, notes = _from_list(root, Path(list_file), flat=layout == "flat")  # type: ignore[arg-type]
  if not pairs:
    where = root if list_file is None else list_file
    raise ValueError(f"{where}: no images ({', '.join(IMAGE_SUFFIXES)}) found, layout {layout!r}. {' '.join(notes)}".strip())
  paths = sorted(pairs)
  names = record_names(paths)
  images = []
  for path, name in zip(paths, names):
    try:
      check_identity_name(pairs[path])
    except ValueError as error:
      raise ValueError(f"{str(root / path)!r}: {error}") from error
    images.append(SourceImage(path, pairs[path], name))
  return Source(root, layout, tuple(images), (*notes, *name_note(paths, names)))


def _from_container(root: str | Path, layout: str | None, list_file: str | Path | None) -> Source:
  file = find_container(root, layout)
  if file is None:
    raise FileNotFoundError(f"{root}: no {PATTERNS[layout] if layout else 'container'} file")
  if list_file is not None:
    raise ValueError(f"layout {layout_of(file)!r} takes no list: the file has the labels")
  records = opened(file)
  identities = [records.identity_names[label] for label in records.label_n.tolist()]
  images = tuple(SourceImage(str(record), *of) for record, of in enumerate(zip(identities, records.names())))
  return Source(file, records.layout, images, records.notes, records.sha256)


def _from_folders(root: Path) -> tuple[dict[str, str], list[str]]:
  found = walk(root)
  pairs = {path: path.split("/", 1)[0] for path in found.paths if "/" in path}
  notes = []
  loose = len(found.paths) - len(pairs)
  if loose:
    notes.append(f"{loose} images are in {root} itself, not in an identity's folder: ignored (is it --layout flat?).")
  empty = sorted(set(found.folders) - set(pairs.values()))
  if empty:
    notes.append(f"{len(empty)} folders contain no image: ignored (first: {empty[0]}).")
  return pairs, [*level_note(root, found.paths), *notes, *found.notes]


def _lines(list_file: Path) -> Iterator[tuple[int, str, str]]:
  with open(list_file, encoding="utf-8-sig") as file:
    try:
      for number, line in enumerate(file, start=1):
        line = line.strip("\r\n")
        if not line.strip() or line.startswith("#"):
          continue
        cells = line.split("\t") if "\t" in line else line.rsplit(None, 1)
        if len(cells) != 2 or not all(cell.strip() for cell in cells):
          raise ValueError(f"{list_file}, line {number}: {line!r} should be a path and an identity, separated by a tab")
        yield number, cells[0].strip(), cells[1].strip()
    except UnicodeDecodeError as error:
      raise ValueError(f"{list_file}: not UTF-8 text: {error}") from error


def _from_list(root: Path, list_file: Path, *, flat: bool) -> tuple[dict[str, str], list[str]]:
  pairs: dict[str, str] = {}
  lines: dict[str, int] = {}
  repeated = 0
  for number, path, identity in _lines(list_file):
    where = f"{list_file}, line {number}"
    try:
      inside(root, path)
    except UnsafePath as error:
      raise UnsafePath(f"{where}: {error}") from error
    path = PurePosixPath(path.replace(os.sep, "/")).as_posix()
    if flat and "/" in path:
      raise ValueError(f"{where}: {path!r} is not a plain file name, as layout 'flat' requires; use layout 'list'")
    if not is_image(PurePosixPath(path).name):
      advice = unread_advice(PurePosixPath(path).suffix)
      raise ValueError(
        f"{where}: {path!r} is not an image by its suffix{f': {advice}' if advice else ''}; supported are {', '.join(IMAGE_SUFFIXES)}"
      )
    if pairs.get(path, identity) != identity:
      raise ValueError(f"{where}: {path!r} is {identity!r} here and {pairs[path]!r} on line {lines[path]}")
    repeated += path in pairs
    pairs[path], lines[path] = identity, number
  notes = []
  if repeated:
    notes.append(f"{repeated} lines of {list_file} repeat earlier ones: ignored.")
  if flat:
    others = [name for name in sorted(os.listdir(root)) if name not in pairs and not is_hidden(name)]
    unlisted = sum(map(is_image, others))
    if unlisted:
      notes.append(f"{unlisted} images in {root} are not in {list_file}: ignored.")
    unread: dict[str, list[str]] = {}
    for name in others:
      if not is_image(name) and os.path.isfile(root / name) and not os.path.samefile(root / name, list_file):
        unread.setdefault(PurePosixPath(name).suffix.lower(), []).append(name)
    if unread:
      notes.append(unread_note(unread))
  return pairs, notes
