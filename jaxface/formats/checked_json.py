"""JSON files with a checksum, for all that decides how something is built or read: a changed byte is an error, never another value.

The last entry of the object, "crc32c", is the CRC-32C in hex of the file without it. A file without this entry, as earlier releases
wrote them, is read with a note.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxface.formats.atomic import json_text, write_text
from jaxface.formats.errors import DamagedData

_KEY = "crc32c"
_log = logging.getLogger(__name__)
_noted: set[str] = set()


def checked_text(content: Mapping[str, Any]) -> str:
  """The text of a file, with its checksum; equal objects give equal text.

  Args:
    content: JSON values by name, in the order of the file; must not contain "crc32c".
  """
  return json_text({**content, _KEY: _crc(content)})


def _crc(content: Mapping[str, Any]) -> str:
  import google_crc32c  # see jaxface/formats/images.py

  try:
    return f"{google_crc32c.value(json_text(dict(content)).encode()):08x}"
  except ValueError:  # NaN, which this file does not write
    return "none"


def write_checked_json(path: str | Path, content: Mapping[str, Any]) -> None:
  """Writes an object with its checksum, atomically.

  Args:
    path: the file.
    content: see `checked_text`.
  """
  write_text(path, checked_text(content))


def parse_checked_json(text: bytes, *, file: str | Path) -> dict[str, Any]:
  """The object of a file, without its checksum.

  Args:
    text: content of the file.
    file: name for messages.
  Raises:
    DamagedData: not a JSON object, or its checksum differs.
  """
  try:
    content = json.loads(text.decode("utf-8"))
  except (ValueError, RecursionError) as error:
    raise DamagedData(f"not JSON: {error}; restore it from a copy", file=file) from error
  if not isinstance(content, dict):
    raise DamagedData(f"contains a {type(content).__name__}, expected an object", file=file)
  last, has_checksum = next(reversed(content), ""), _KEY in content
  if has_checksum:
    crc = content.pop(_KEY)
    intact = _crc(content) == crc and checked_text(content).encode() == text
  else:
    rest = {name: value for name, value in content.items() if name != last}
    crc, intact = content.get(last), not content or _crc(rest) != content[last]  # or the name of the checksum is damaged
  if not intact:
    raise DamagedData(
      f"its content is not what was written (CRC-32C, was {crc!r:.20}): it was edited or damaged. Restore it from a copy, or, if the"
      f" change is yours, delete its entry {_KEY!r}", file=file
    )
  if not has_checksum and str(file) not in _noted:
    _noted.add(str(file))
    _log.warning("note: %s has no checksum (%s), as earlier releases wrote it: damage to it cannot be detected", file, _KEY)
  return content


def read_checked_json(path: str | Path) -> dict[str, Any]:
  """Reads what `write_checked_json` wrote.

  Args:
    path: the file.
  Raises:
    FileNotFoundError: no such file.
    DamagedData: see `parse_checked_json`.
  """
  return parse_checked_json(Path(path).read_bytes(), file=path)


__all__ = ["checked_text", "parse_checked_json", "read_checked_json", "write_checked_json"]
