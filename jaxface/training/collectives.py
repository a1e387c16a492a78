"""Reads what devices exchange, and the largest arrays, from the text of a compiled program."""

import math
import re
from typing import NamedTuple

KINDS = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute"
_ARRAY = re.compile(r"\b([a-z]\d*\w*)\[([\d,]*)\]")


class Exchanged(NamedTuple):
  """An array that a collective exchanges.

  Attributes:
    kind: one of `KINDS`.
    dtype: as the compiler writes it, for example "f32".
    shape: of the result on each device.
    members: number of devices that take part; None if the text names none.
  """

  kind: str
  dtype: str
  shape: tuple[int, ...]
  members: int | None

  @property
  def nbytes(self) -> int:
    """Size of the array on each device."""
    return _dtype_bytes(self.dtype) * math.prod(self.shape)


def collectives(text: str) -> list[Exchanged]:
  """Every array that a program exchanges, of its text (`compiled.as_text()`)."""
  return [
    Exchanged(match[2], dtype, _shape(dims), _members(line))
    for line in text.splitlines() if (match := re.search(rf" = (.*?) ({KINDS})(?:-start)?\(", line))
    for dtype, dims in _ARRAY.findall(match[1])
  ]


def largest_shape(text: str) -> tuple[int, ...]:
  """Shape of the array with the most elements on one device."""
  return max((_shape(dims) for _, dims in _ARRAY.findall(text)), key=math.prod)


def _shape(dims: str) -> tuple[int, ...]:
  return tuple(int(n) for n in dims.split(",") if n)


def _dtype_bytes(dtype: str) -> int:
  bits = re.search(r"\d+", dtype)
  return max(1, int(bits[0]) // 8) if bits else 1


def _members(line: str) -> int | None:
  """Devices of each group of a collective, in any of the three forms that compilers print."""
  if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
    return listed[1].count(",") + 1
  if counted := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
    return int(counted[1])
  if named := re.search(r"replica_groups=mesh\[([^\]]*)\](?: ?\{([^}]*)\})?", line):
    lengths = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", named[1])}
    names = lengths if named[2] is None else re.findall(r"'(\w+)'", named[2])
    return math.prod(lengths[name] for name in names)
  return None


__all__ = ["KINDS", "Exchanged", "collectives", "largest_shape"]
