"""The one walk through a folder of images: what is read, and what is passed over, named and counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from jaxface.formats.images import IMAGE_SUFFIXES

# Thumbnails and the like that file servers and archivers leave in folders of photos.
_SYSTEM_FOLDERS = ("@eaDir", "__MACOSX")
_ADVICE = {
  **dict.fromkeys(
    (".heic", ".heif", ".avif", ".jxl", ".jp2", ".tga", ".psd", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf"),
    "convert to JPEG, for example: magick mogrify -format jpg '*{suffix}'",
  ),
  **dict.fromkeys(
    (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"), "take out frames, for example: ffmpeg -i CLIP{suffix} %04d.jpg"
  ),
  **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"), "unpack first"),
}
_FEW = 10


@dataclass(frozen=True)
class Walk:
  """What lies below a folder.

  Args:
    root: the folder.
    paths: of the images, relative to root, with "/", sorted.
    folders: names of the folders directly below root, hidden ones left out, sorted.
    notes: a line for each kind of thing that was passed over or read from elsewhere, with its count and first name.
  """

  root: Path
  paths: tuple[str, ...]
  folders: tuple[str, ...]
  notes: tuple[str, ...]


@dataclass
class _Found:
  """What a walk has met so far; the paths of each kind in any order."""

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
  """Whether a file is taken for an image by its name: the suffix of one, and not hidden."""
  return name.lower().endswith(IMAGE_SUFFIXES) and not is_hidden(name)


def is_hidden(name: str) -> bool:
  """Whether a file or folder is hidden, such as the "._0001.jpg" that macOS sets beside "0001.jpg"."""
  return name.startswith(".") or name in _SYSTEM_FOLDERS


def check_folder(root: Path) -> None:
  """Refuses what is no folder.

  Raises:
    FileNotFoundError: there is no such folder; says so if it is a file.
  """
  if not root.is_dir():
    raise FileNotFoundError(f"{root}: {'is a file, not a folder' if root.exists() else 'no such folder'} of images")


def walk(root: str | Path) -> Walk:
  """Finds all images below a folder, at any depth; opens none of them.

  Hidden files and folders are passed over. Linked folders are followed, each real folder once: first all that lie below
  root itself, then those that links lead to. Files that only look like images are for their reader to refuse.

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
  """Reads a folder and all below it, but for links to folders, which it lists."""
  waiting = [start]
  while waiting:
    folder = waiting.pop()
    try:
      number = _number(root / folder)
      if number in found.seen:  # reached once more through a link above it
        found.again.append(folder)
        continue
      found.seen.add(number)
      entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
    except OSError as error:
      found.closed.append(f"{folder} ({error.strerror})")
      continue
    for entry in entries:
      path = f"{folder}/{entry.name}" if folder else entry.name
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
    yield f"{_count(found.hidden, 'hidden file or folder', 'hidden files and folders')} passed over."
  if found.closed:
    yield f"{_count(found.closed, 'folder', 'folders')} left out: cannot be opened."
  if found.misnamed:
    yield f"{_count(found.misnamed, 'file', 'files')} left out: the name is not UTF-8; rename."
  if found.followed:
    out = [link for link in found.followed if not _below(link.split(" -> ", 1)[1], real)]
    where = f", {len(out)} of them out of {root}" if out else ""
    yield f"{_count(found.followed, 'linked folder', 'linked folders')} followed{where}."
  if found.again:
    yield f"{_count(found.again, 'linked folder', 'linked folders')} passed over: read already where they lie."
  if outside:
    yield f"{_count(outside, 'image', 'images')} read through a link out of {root}."


def _count(names: Sequence[str], one: str, many: str) -> str:
  return f"1 {one} ({names[0]}) is" if len(names) == 1 else f"{len(names):,} {many} (first: {min(names)}) are"


def unread_note(unread: dict[str, list[str]]) -> str:
  """A line on files that are not read, counted by suffix: photos and videos first, with what to do about them.

  Args:
    unread: paths by suffix in small letters.
  """
  parts = []
  for suffix, paths in sorted(unread.items(), key=lambda item: (item[0] not in _ADVICE, -len(item[1]), item[0])):
    advice = unread_advice(suffix)
    count = f"{len(paths):,} {'file' if len(paths) == 1 else 'files'}"
    parts.append(f"{suffix or 'no suffix'}: {count}, first {min(paths)}{f' ({advice})' if advice else ''}")
  return f"not read, since they are no images by their names: {'; '.join(parts)}."


def unread_advice(suffix: str) -> str:
  """What to do about files of a suffix that is not read; empty where there is nothing to say."""
  return _ADVICE.get(suffix.lower(), "").format(suffix=suffix.lower())


def record_names(paths: Sequence[str]) -> list[str]:
  """Names of images: the path without its suffix, or with it where another image would have the same name.

  Args:
    paths: relative paths with "/", each once.
  Returns:
    As many names, each once.
  """
  stems = [str(PurePosixPath(path).with_suffix("")) for path in paths]
  count, whole = Counter(stems), set(paths)
  return [stem if count[stem] == 1 and stem not in whole else path for stem, path in zip(stems, paths)]


def name_note(paths: Sequence[str], names: Sequence[str]) -> list[str]:
  """A note on images that keep their suffix in their name, if there are any."""
  kept = [path for path, name in zip(paths, names) if path == name and PurePosixPath(path).suffix]
  if not kept:
    return []
  return [f"{len(kept):,} images differ from another in their suffix alone and keep it in their names (first: {kept[0]})."]


def level_note(root: Path, paths: Sequence[str]) -> list[str]:
  """A warning if folders directly below root look like parts of a set (train, test) and not like people.

  Args:
    root: the folder whose own folders are taken for identities.
    paths: of its images.
  Returns:
    A note or none: identities are few, and most images lie in sub-folders of theirs, of which there are many.
  """
  parts = [path.split("/") for path in paths if "/" in path]
  people = sorted({part[0] for part in parts})
  deeper = {(part[0], part[1]) for part in parts if len(part) > 2}
  if not people or len(people) > _FEW or len(deeper) < 2 * len(people) or 2 * sum(len(part) > 2 for part in parts) <= len(parts):
    return []
  shown = ", ".join(people[:3]) + (", …" if len(people) > 3 else "")
  return [
    f"warning: only {len(people)} {'identity' if len(people) == 1 else 'identities'} ({shown}) with {len(deeper):,} sub-folders "
    f"of images: each folder directly below {root} is taken for one person. If people are one level deeper, give "
    f"{root / people[-1]}."
  ]


__all__ = ["Walk", "check_folder", "is_hidden", "is_image", "level_note", "name_note", "record_names", "unread_advice", "unread_note", "walk"]
