"""Where the images of a container are, with names and identities: one index for tar, ZIP, LMDB, Parquet and TFDS."""

import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxface.formats.errors import DamagedData
from jaxface.formats.identities import check_identity_name, identity_order

# The arrays of an index. `names`, `identities` and `keys` are UTF-8 text, one per line.
ARRAYS = ("file_n", "offset_n", "length_n", "deflated_n", "crc_n", "label_n", "names", "identities", "keys", "notes", "sha256")


@dataclass(frozen=True)
class Member:
  """One image of a container.

  Attributes:
    name: of the record; distinct.
    identity: name of the identity.
    image: bytes of the image file.
    file: number of the file in which it is.
    offset: position there, in bytes; 0 in a file that is read by keys.
    length: bytes there, less than those of the image if deflated.
    deflated: stored as raw deflate.
    key: for files that are read by keys.
  """

  name: str
  identity: str
  image: bytes | memoryview
  file: int = 0
  offset: int = 0
  length: int = 0
  deflated: bool = False
  key: str = ""


def index_members(members: Iterable[Member], path: Path, notes: list[str]) -> dict[str, np.ndarray]:
  """The arrays of an index.

  Args:
    members: the images, in the order of the container.
    path: for messages.
    notes: lines for the user; `members` may add some while it is read.
  Raises:
    DamagedData: two records have one name, or a name does not fit on one line.
    ValueError: a name that no identity may have.
  """
  rows, names, identities, keys = [], [], [], []
  seen: set[str] = set()
  total = hashlib.sha256()
  for member in members:
    if member.name in seen:
      raise DamagedData(f"the record {member.name!r} stands twice", file=str(path), offset=member.offset)
    if any("\n" in text or "\r" in text for text in (member.name, member.identity, member.key)):
      raise DamagedData(f"the record {member.name!r} has a line break in its name", file=str(path), offset=member.offset)
    seen.add(member.name)
    names.append(member.name)
    identities.append(member.identity)
    keys.append(member.key)
    rows.append((member.file, member.offset, member.length or len(member.image), member.deflated, zlib.crc32(member.image)))
    for text in (member.name.encode(), member.identity.encode()):
      total.update(len(text).to_bytes(8, "little") + text)
    total.update(len(member.image).to_bytes(8, "little"))
    total.update(member.image)
  found = identity_order(set(identities))
  for name in found:
    try:
      check_identity_name(name)
    except ValueError as error:
      raise ValueError(f"{path}: {error}") from error
  label = {name: number for number, name in enumerate(found)}
  columns = list(zip(*rows)) or [()] * 5
  kinds = {"file_n": "<i4", "offset_n": "<i8", "length_n": "<i8", "deflated_n": "?", "crc_n": "<u4"}
  arrays = {name: np.array(column, kind) for column, (name, kind) in zip(columns, kinds.items())}
  arrays["label_n"] = np.array([label[name] for name in identities], np.int32)
  for name, texts in (("names", names), ("identities", found), ("keys", keys), ("notes", notes)):
    arrays[name] = np.frombuffer("\n".join(texts).encode(), np.uint8)
  arrays["sha256"] = np.frombuffer(total.digest(), np.uint8)
  return arrays


def lines(array: np.ndarray) -> list[str]:
  """Text of an index as lines."""
  return bytes(array).decode().split("\n") if len(array) else []


def label_text(value: object, where: str) -> str:
  """The name of an identity from a label: text, or a whole number of at least 0.

  Raises:
    DamagedData: another kind of label, such as 2.5.
  """
  if isinstance(value, bytes):
    value = value.decode("utf-8", "replace")
  if isinstance(value, str) and value.strip():
    return value.strip()
  if isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 0:
    return str(int(value))
  raise DamagedData(f"label {value!r} is not an identity: give text, or a whole number from 0", file=where)


def number_or_name(text: str, where: str) -> str:
  """The name of an identity from the text of a label: a number that is not whole is no identity.

  Raises:
    DamagedData: such as "2.5" or "-1".
  """
  try:
    value = float(text)
  except ValueError:
    return label_text(text, where)
  if not text.isdecimal():
    raise DamagedData(f"label {value} is not an identity: give text, or a whole number from 0", file=where)
  return label_text(int(text), where)


__all__ = ["ARRAYS", "Member", "index_members", "label_text", "lines", "number_or_name"]
