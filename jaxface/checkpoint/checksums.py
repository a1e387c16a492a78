"""Checksums of all files of a folder, in files of their own that are written last: where they stand, the folder is whole.

`checksums-HOST.json` lists the files that a host wrote, each with its size and CRC-32C, and ends with the CRC-32C of the
list itself. The first host's says how many lists there are; the folder is whole once all of them are there. CRC-32C finds
every damage that spans at most four bytes, and of any other all but one in four thousand million.
"""

import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import google_crc32c
from etils import epath

from jaxface.formats.atomic import write_text

FORMAT = 1
# Read at once, by each thread: little beside a state, and much beside the cost of a call.
_BLOCK = 4 << 20
_THREADS = 4


class DamagedCheckpoint(ValueError):
  """Saved arrays whose files are not what was written; the message names the file and what is wrong with it."""


def sums_file(folder: epath.Path, host: int = 0) -> epath.Path:
  """Where the list of a host stands."""
  return folder / f"checksums-{host}.json"


def write_sums(folder: epath.Path, *, host: int = 0, hosts: int = 1, facts: Mapping[str, Any] | None = None) -> None:
  """List what a host has written to `folder`: files below a name "process_HOST", and the first host all others.

  Args:
    folder: every host's files in it are complete.
    host: this one's number.
    hosts: how many write a list.
    facts: JSON values that are kept in the list, and covered by its checksum.
  """
  names = [name for name in _files(folder) if _writer(name) == host]
  with ThreadPoolExecutor(_THREADS) as pool:
    found = pool.map(lambda name: _measure(folder / name), names)
    files = {name: list(measured) for name, measured in zip(names, found)}
  content = {"format": FORMAT, "host": host, "hosts": hosts, **(facts or {}), "files": files}
  text = _rendered(content)
  final = sums_file(folder, host)
  if "://" in str(final):  # an object appears whole or not at all
    final.write_text(text)
    return
  write_text(final, text)


def is_whole(folder: epath.Path) -> bool:
  """Whether every host has listed its files; damage is not looked for."""
  if not sums_file(folder).exists():
    return False
  try:
    hosts = _read(folder, 0)["hosts"]
  except DamagedCheckpoint:
    return True  # it was written once
  return all(sums_file(folder, host).exists() for host in range(1, hosts))


def read_facts(folder: epath.Path) -> dict[str, Any]:
  """What `write_sums` was given on the first host.

  Raises:
    DamagedCheckpoint: the list is damaged.
  """
  return {key: value for key, value in _read(folder, 0).items() if key not in ("format", "host", "hosts", "files")}


def find_damage(folder: epath.Path, *, share: int = 0, shares: int = 1) -> str:
  """What is wrong with the first damaged file of a folder; "" where all is well.

  Args:
    folder: one that is whole.
    share, shares: look at so many files only, so that hosts which see the same folder divide the work.
  """
  try:
    files: dict[str, Any] = {}
    for host in range(_read(folder, 0)["hosts"]):
      files |= _read(folder, host)["files"]
  except DamagedCheckpoint as error:
    return str(error)
  mine = sorted(files)[share::shares]
  with ThreadPoolExecutor(_THREADS) as pool:
    faults = pool.map(lambda name: _fault(folder, name, files[name]), mine)
    return next((fault for fault in faults if fault), "")


def _fault(folder: epath.Path, name: str, expected: list) -> str:
  try:
    size, crc = _measure(folder / name)
  except OSError as error:
    return f"{name} cannot be read: {error}"
  if size != expected[0]:
    return f"{name} has {size:,} bytes, {expected[0]:,} were written"
  return "" if crc == expected[1] else f"{name}: its bytes are not those that were written (CRC-32C {crc}, was {expected[1]})"


def _measure(path: epath.Path) -> tuple[int, str]:
  size, crc = 0, 0
  with path.open("rb") as file:
    while block := file.read(_BLOCK):
      size += len(block)
      crc = google_crc32c.extend(crc, block)
  return size, f"{crc:08x}"


def _files(folder: epath.Path) -> Iterable[str]:
  """Every file below a folder but lists of checksums, by its path in it."""
  root = str(folder)
  for place, _, names in folder.walk():
    inside = str(place)[len(root) :].lstrip("/")
    for name in names:
      if inside or not re.fullmatch(r"\.?checksums-\d+\.json(\.\d+\.tmp)?", name):
        yield f"{inside}/{name}" if inside else name


def _writer(name: str) -> int:
  """Which host writes a file: Orbax has a folder or a file process_HOST of each."""
  found = re.search(r"(?:^|[/.])process_(\d+)(?:/|$)", name)
  return int(found[1]) if found else 0


def _rendered(content: Mapping[str, Any]) -> str:
  """A list as text, with its own checksum at the end."""
  crc = google_crc32c.value(json.dumps(content).encode())
  return json.dumps({**content, "crc32c": f"{crc:08x}"}, indent=0) + "\n"


def _read(folder: epath.Path, host: int) -> dict[str, Any]:
  """A list, without its own checksum."""
  file = sums_file(folder, host)
  try:
    text = file.read_text()
  except (OSError, UnicodeDecodeError) as error:
    raise DamagedCheckpoint(f"{file.name} cannot be read: {error}") from error
  try:
    content = json.loads(text)
    content.pop("crc32c")
    intact = _rendered(content) == text
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise DamagedCheckpoint(f"{file.name} is damaged: {error!r}") from error
  if not intact:
    raise DamagedCheckpoint(f"{file.name} is damaged: its own checksum differs")
  if content["format"] != FORMAT:
    raise DamagedCheckpoint(f"{file.name} has format {content['format']!r}, this release reads {FORMAT}")
  return content
