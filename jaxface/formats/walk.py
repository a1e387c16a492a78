"""Finds the images below a folder, and counts what is ignored."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from jaxface.formats.images import IMAGE_SUFFIXES

# Thumbnails and similar files that file servers and archivers create in photo folders.
_SYSTEM_FOLDERS = ("@eaDir", "__MACOSX")
_ADVICE = {
  **dict.fromkeys(
    (".heic", ".heif", ".avif", ".jxl", ".jp2", ".tga", ".psd", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf"),
    "convert to JPEG, for example: magick mogrify -format jpg '*{suffix}'",
  ),
  **dict.fromkeys(
    (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"), "extract frames, for example: ffmpeg -i CLIP{suffix} %04d.jpg"
  ),
  **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"), "unpack first"),
}
_FEW = 10
# What `jaxface align` writes beside the faces: no note about them.
_OF_ALIGN = frozenset({"aligned.json", "faces.csv", "contact_sheet.html", ".faces.jsonl", ".lock"})


@dataclass(frozen=True)
class Walk:
  """Contents of a folder.

  Args:
    root: the folder.
    paths: paths of the images, relative to root, with "/", sorted.
    folders: names of the folders directly below root, without hidden ones, sorted.
    notes: a line for each kind of entry that was ignored or read through a link, with its count and first name.
  """

  root: Path
  paths: tuple[str, ...]
  folders: tuple[str, ...]
  notes: tuple[str, ...]


@dataclass
class _Found:
  """Entries found so far, by kind, in any order."""

  images: list[str] = field(default_factory=list)
  hidden: list[str] = field(default_factory=list)
  unread: dict[str, list[str]] = field(default_factory=dict)
  misnamed: list[str] = field(default_factory=list)
  closed: list[str] = field(default_factory=list)
  followed: list[str] = field(default_factory=list)
  again: list[str] = field(default_factory=list)
  linked: list[str] = field(default_factory=list)
  links: list[str] = field(default_factory=list)
  seen: set[tuple[int, int]] = field(default_factory=set)


def is_image(name: str) -> bool:
  """Whether a file counts as an image by its name: it has an image suffix and is not hidden."""
  return name.lower().endswith(IMAGE_SUFFIXES) and not is_hidden(name)


def is_hidden(name: str) -> bool:
  """Whether a file or folder is hidden, such as the "._0001.jpg" that macOS writes next to "0001.jpg"."""
  return name.startswith(".") or name in _SYSTEM_FOLDERS


def check_folder(root: Path) -> None:
  """Rejects a path that is not a folder.

  Raises:
    FileNotFoundError: there is no such folder; says so if it is a file.
  """
  if not root.is_dir():
    raise FileNotFoundError(f"{root}: {'is a file, not a folder' if root.exists() else 'no such folder'} of images")


def walk(root: str | Path) -> Walk:
  """Finds all images below a folder, at any depth; opens none of them.

  Hidden files and folders are ignored. Linked folders are followed, each real folder once: first all below root itself, then
  those reached by links. Files with an image suffix that are no images are rejected later, by their reader.

  Args:
    root: the folder.
  Returns:
    The images, and notes on everything else.
  Raises:
    FileNotFoundError: there is no such folder; says so if it is a file.
    OSError: root itself cannot be listed.
  """
  root = Path(root)
  check_folder(root)
  os.scandir(root).close()
  found, real = _Found(), os.path.realpath(root)
  _enter(root, "", found)
  while found.links:
    links, found.links = sorted(found.links), []
    for link in links:
      target = os.path.realpath(root / link)
      if _number(root / link) in found.seen:
        found.again.append(f"{link} -> {target}")
        continue
      found.followed.append(f"{link} -> {target}")
      _enter(root, link, found)
  found.images.sort()
  outside = [path for path in found.linked if not _below(os.path.realpath(root / path), real)]
  folders = sorted(name for name in os.listdir(root) if not is_hidden(name) and os.path.isdir(root / name))
  return Walk(root, tuple(found.images), tuple(folders), tuple(_notes(root, real, found, outside)))


def _number(path: Path) -> tuple[int, int]:
  status = os.stat(path)
  return status.st_dev, status.st_ino


def _below(path: str, real: str) -> bool:
  return path == real or path.startswith(real.rstrip(os.sep) + os.sep)


def _enter(root: Path, start: str, found: _Found) -> None:
  """Reads a folder recursively, except for links to folders, which it lists."""
  waiting = [start]
  while waiting:
    folder = waiting.pop()
    try:
      number = _number(root / folder)
      if number in found.seen:  # reached again through a link above it
        found.again.append(folder)
        continue
      found.seen.add(number)
      entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
    except OSError as error:
      found.closed.append(f"{folder} ({error.strerror})")
      continue
    own = _OF_ALIGN if any(entry.name == "aligned.json" for entry in entries) else frozenset()
    for entry in entries:
      path = f"{folder}/{entry.name}" if folder else entry.name
      if entry.name in own:
        continue
      if is_hidden(entry.name):
        found.hidden.append(path)
      elif _is_folder(entry):
        (found.links if entry.is_symlink() else waiting).append(path)
      else:
        _file(path, entry, found)


def _is_folder(entry: os.DirEntry) -> bool:
  try:
    return entry.is_dir()
  except OSError:  # a link to itself
    return False


def _file(path: str, entry: os.DirEntry, found: _Found) -> None:
  try:
    path.encode()
  except UnicodeEncodeError:
    found.misnamed.append(repr(path))
    return
  if not is_image(entry.name):
    found.unread.setdefault(PurePosixPath(entry.name).suffix.lower(), []).append(path)
    return
  found.images.append(path)
  if entry.is_symlink():
    found.linked.append(path)


def _notes(root: Path, real: str, found: _Found, outside: list[str]) -> Iterable[str]:
  if found.unread:
    yield unread_note(found.unread)
  if found.hidden:
    yield f"{_count(found.hidden, 'hidden file or folder', 'hidden files and folders')} ignored."
  if found.closed:
    yield f"{_count(found.closed, 'folder', 'folders')} skipped: cannot be opened."
  if found.misnamed:
    yield f"{_count(found.misnamed, 'file', 'files')} skipped: the name is not UTF-8; rename."
  if found.followed:
    out = [link for link in found.followed if not _below(link.split(" -> ", 1)[1], real)]
    where = f", {len(out)} of them outside of {root}" if out else ""
    yield f"{_count(found.followed, 'linked folder', 'linked folders')} followed{where}."
  if found.again:
    yield f"{_count(found.again, 'linked folder', 'linked folders')} ignored: already read at their real path."
  if outside:
    yield f"{_count(outside, 'image', 'images')} read through a link to outside of {root}."


def _count(names: Sequence[str], one: str, many: str) -> str:
  return f"1 {one} ({names[0]}) is" if len(names) == 1 else f"{len(names):,} {many} (first: {min(names)}) are"


def unread_note(unread: dict[str, list[str]]) -> str:
  """A line about unsupported files, counted by suffix: photos and videos first, with advice.

  Args:
    unread: paths by lower-case suffix.
  """
  parts = []
  for suffix, paths in sorted(unread.items(), key=lambda item: (item[0] not in _ADVICE, -len(item[1]), item[0])):
    advice = unread_advice(suffix)
    count = f"{len(paths):,} {'file' if len(paths) == 1 else 'files'}"
    parts.append(f"{suffix or 'no suffix'}: {count}, first {min(paths)}{f' ({advice})' if advice else ''}")
  return f"not read, since they have no image suffix: {'; '.join(parts)}."


def unread_advice(suffix: str) -> str:
  """Advice about files of an unsupported suffix; may be empty."""
  return _ADVICE.get(suffix.lower(), "").format(suffix=suffix.lower())


def record_names(paths: Sequence[str]) -> list[str]:
  """Names of images: the path without its suffix, or with it if another image would have the same name.

  Args:
    paths: distinct relative paths with "/".
  Returns:
    Distinct names, one per path.
  """
  stems = [str(PurePosixPath(path).with_suffix("")) for path in paths]
  count, whole = Counter(stems), set(paths)
  return [stem if count[stem] == 1 and stem not in whole else path for stem, path in zip(stems, paths)]


def name_note(paths: Sequence[str], names: Sequence[str]) -> list[str]:
  """A note on images that keep their suffix in their name, if any."""
  kept = [path for path, name in zip(paths, names) if path == name and PurePosixPath(path).suffix]
  if not kept:
    return []
  return [f"{len(kept):,} images differ from another only in their suffix and keep it in their names (first: {kept[0]})."]


def level_note(root: Path, paths: Sequence[str]) -> list[str]:
  """A warning if the folders directly below root seem to be parts of a set (train, test) rather than people.

  Args:
    root: the folder whose subfolders are identities.
    paths: paths of its images.
  Returns:
    A note, if there are few identities and most images are in many subfolders of them.
  """
  parts = [path.split("/") for path in paths if "/" in path]
  people = sorted({part[0] for part in parts})
  deeper = {(part[0], part[1]) for part in parts if len(part) > 2}
  if not people or len(people) > _FEW or len(deeper) < 2 * len(people) or 2 * sum(len(part) > 2 for part in parts) <= len(parts):
    return []
  shown = ", ".join(people[:3]) + (", …" if len(people) > 3 else "")
  return [
    f"warning: only {len(people)} {'identity' if len(people) == 1 else 'identities'} ({shown}) with {len(deeper):,} sub-folders "
    f"of images: each folder directly below {root} counts as one person. If people are one level deeper, give "
    f"{root / people[-1]}."
  ]


__all__ = ["Walk", "check_folder", "is_hidden", "is_image", "level_note", "name_note", "record_names", "unread_advice", "unread_note", "walk"]
