"""A hand-written codec for `tf.train.Example`: three kinds of lists in a map, and nothing else of protocol buffers.

Examples { 1: Features { 1: map { 1: key, 2: Feature { 1: BytesList | 2: FloatList | 3: Int64List, each { 1: values } } } } }
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxface.formats.errors import DamagedData
from jaxface.formats.protobuf import block, varint

Value = bytes | str | int | float | Sequence


def _feature(key: str, value: Value) -> bytes:
  values: list[Any] = [value] if isinstance(value, bytes | str) or not isinstance(value, Sequence) else list(value)
  if all(isinstance(one, bytes | str) for one in values):
    return block(1, b"".join(block(1, one.encode() if isinstance(one, str) else one) for one in values))
  if all(isinstance(one, int) for one in values):
    return block(3, block(1, b"".join(map(varint, values))))
  if all(isinstance(one, int | float) for one in values):
    return block(2, block(1, struct.pack(f"<{len(values)}f", *values)))
  raise TypeError(f"field {key!r}: bytes, str, int, float or a list of one of them, not {value!r}")


def encode_example(fields: Mapping[str, Value]) -> bytes:
  """Serialises fields as a `tf.train.Example`; equal fields give equal bytes, in the order of sorted keys.

  Args:
    fields: bytes or str (UTF-8), int (64 bits), float (32 bits), or a sequence of one of them, by name.
  Returns:
    The message's bytes.
  Raises:
    TypeError: a value of another type.
  """
  entries = []
  for key in sorted(fields):
    entries.append(block(1, block(1, key.encode()) + block(2, _feature(key, fields[key]))))
  return block(1, b"".join(entries))


def _read_varint(buffer: Any, at: int) -> tuple[int, int]:
  value = shift = 0
  while True:
    byte = buffer[at]
    at += 1
    value |= (byte & 0x7F) << shift
    if byte < 0x80:
      return value, at
    shift += 7
    if shift > 63:
      raise ValueError("a number longer than 64 bits")


def _fields(buffer: Any, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
  """Walks one message: (field, wire type, start, stop) of each field's content."""
  while at < end:
    tag, at = _read_varint(buffer, at)
    kind = tag & 7
    start = at
    if kind == 2:
      size, start = _read_varint(buffer, at)
      at = start + size
    elif kind == 0:
      _, at = _read_varint(buffer, at)
    elif kind == 5:
      at += 4
    elif kind == 1:
      at += 8
    else:
      raise ValueError(f"wire type {kind} at byte {start}")
    if at > end:
      raise ValueError(f"field at byte {start} runs {at - end} bytes past its message")
    yield tag >> 3, kind, start, at


def _signed(value: int) -> int:
  return value - (1 << 64) if value >> 63 else value


def _values(buffer: Any, kind: int, start: int, stop: int) -> list:
  values: list = []
  for field, wire, first, last in _fields(buffer, start, stop):
    if field != 1:
      continue
    if kind == 1:
      values.append(bytes(buffer[first:last]))
    elif kind == 2:
      values.extend(struct.unpack(f"<{(last - first) // 4}f", buffer[first:last]))
    elif wire == 0:
      values.append(_signed(_read_varint(buffer, first)[0]))
    else:
      while first < last:
        value, first = _read_varint(buffer, first)
        values.append(_signed(value))
  return values


def _entries(buffer: Any) -> Iterator[tuple[str, int, int]]:
  """Walks the map: (key, start, stop of its Feature)."""
  for outer, _, features, features_end in _fields(buffer, 0, len(buffer)):
    if outer != 1:
      continue
    for field, _, entry, entry_end in _fields(buffer, features, features_end):
      if field != 1:
        continue
      key, start, stop = "", 0, 0
      for part, _, first, last in _fields(buffer, entry, entry_end):
        if part == 1:
          key = str(buffer[first:last], "utf-8")
        elif part == 2:
          start, stop = first, last
      yield key, start, stop


def parse_example(buffer: bytes | memoryview) -> dict[str, bytes | int | float | list]:
  """Reads a `tf.train.Example` back.

  Args:
    buffer: the message.
  Returns:
    The fields by name: a single value if there is exactly one, a list otherwise.
  Raises:
    DamagedData: not a `tf.train.Example`.
  """
  fields: dict[str, bytes | int | float | list] = {}
  try:
    for key, start, stop in _entries(buffer):
      values: list = []
      for kind, _, first, last in _fields(buffer, start, stop):
        values = _values(buffer, kind, first, last)
      fields[key] = values[0] if len(values) == 1 else values
  except (ValueError, IndexError, struct.error) as error:
    raise DamagedData(f"not a tf.train.Example: {error}") from error
  return fields


def locate_bytes(buffer: bytes | memoryview, name: str) -> tuple[int, int]:
  """Position of the first value of a bytes field, so that it can be sliced out later without parsing.

  Args:
    buffer: the message.
    name: the field.
  Returns:
    (start, length) in bytes within the message.
  Raises:
    DamagedData: not a `tf.train.Example`, or it lacks the field.
  """
  try:
    for key, start, stop in _entries(buffer):
      if key != name:
        continue
      for kind, _, first, last in _fields(buffer, start, stop):
        for field, _, value, value_end in _fields(buffer, first, last):
          if kind == 1 and field == 1:
            return value, value_end - value
  except (ValueError, IndexError) as error:
    raise DamagedData(f"not a tf.train.Example: {error}") from error
  raise DamagedData(f"no field {name!r} of bytes in this tf.train.Example")
