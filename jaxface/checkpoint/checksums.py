"""Checksums of all files of a folder, in separate files that are written last: if they exist, the folder is complete.

`checksums-HOST.json` lists the files that a host wrote, each with its size and CRC-32C, and ends with the CRC-32C of the
list itself. That of the first host has the number of lists; the folder is complete if all of them exist. CRC-32C detects
all damage within four bytes, and any other damage except with a probability of 2⁻³².
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
# Bytes per read and thread: small compared to a state, large compared to the cost of a call.
_BLOCK = 4 << 20
_THREADS = 4


class DamagedCheckpoint(ValueError):
  """Files of saved arrays differ from what was written; the message names the file and the fault."""


def sums_file(folder: epath.Path, host: int = 0) -> epath.Path:
  """Path of the list of a host."""
  return folder / f"checksums-{host}.json"


def write_sums(folder: epath.Path, *, host: int = 0, hosts: int = 1, facts: Mapping[str, Any] | None = None) -> None:
  """List the files that a host has written to `folder`: those below "process_HOST", and for the first host all others.

  Args:
    folder: contains the complete files of all hosts.
    host: number of this host.
    hosts: number of hosts that write a list.
    facts: JSON values to store in the list, covered by its checksum.
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
  """Whether every host has listed its files; does not check for damage."""
  return not missing_lists(folder)


def missing_lists(folder: epath.Path) -> list[str]:
  """Names of the lists that a folder lacks to be complete; the first host's is needed to know of the others."""
  if not sums_file(folder).exists():
    return [sums_file(folder).name]
  try:
    hosts = _read(folder, 0)["hosts"]
  except DamagedCheckpoint:
    return []  # it was written once
  return [sums_file(folder, host).name for host in range(1, hosts) if not sums_file(folder, host).exists()]


def read_facts(folder: epath.Path) -> dict[str, Any]:
  """What `write_sums` was given on the first host.

  Raises:
    DamagedCheckpoint: the list is damaged.
  """
  return {key: value for key, value in _read(folder, 0).items() if key not in ("format", "host", "hosts", "files")}


def find_damage(folder: epath.Path, *, share: int = 0, shares: int = 1) -> str:
  """Description of the first damaged file of a folder; "" if there is none.

  Args:
    folder: a complete folder.
    share, shares: check only this share of the files, so that hosts with the same folder divide the work.
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
  """The host that writes a file: Orbax has a folder or file process_HOST for each."""
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
