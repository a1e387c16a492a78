"""Reads the text of a compiled program: its computations and instructions, arrays and their bytes."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\](?:\{([^}]*)\})?")
_OPERAND = re.compile(r"%?([\w.\-]+)$")
_TRIPS = re.compile(r'"?known_trip_count"?:?\s*=?\s*\{"?n"?:"?(\d+)"?\}')
_BITS = {"pred": 8, "token": 0, "opaque": 0, "s4": 4, "u4": 4, "c64": 64, "c128": 128}


@dataclass(frozen=True)
class Piece:
  """An array, or one of a tuple.

  Attributes:
    dtype: as the compiler writes it, for example "bf16".
    shape: on each device.
    on_chip: whether it is in a memory of the chip itself, such as a TPU's VMEM.
  """

  dtype: str
  shape: tuple[int, ...]
  on_chip: bool = False

  @property
  def nbytes(self) -> int:
    """Bytes, without padding of the layout."""
    bits = _BITS.get(self.dtype)
    if bits is None:
      found = re.search(r"\d+", self.dtype)
      bits = int(found[0]) if found else 0
    return math.prod(self.shape) * bits // 8


@dataclass(frozen=True)
class Instruction:
  """A line of a computation.

  Attributes:
    name: of its result.
    operation: such as "fusion".
    pieces: arrays of the result.
    operands: names of its operands.
    attributes: the rest of the line.
    root: whether it is the result of its computation.
  """

  name: str
  operation: str
  pieces: tuple[Piece, ...]
  operands: tuple[str, ...]
  attributes: str
  root: bool = False

  def called(self, kind: str = "calls") -> list[str]:
    """Names of computations that an attribute names."""
    match = re.search(rf"\b{kind}=(?:\{{([^}}]*)\}}|%?([\w.\-]+))", self.attributes)
    if not match:
      return []
    return [name.strip().lstrip("%") for name in (match[1] or match[2]).split(",")]

  @property
  def trips(self) -> int | None:
    """How often a loop runs, if the compiler knows."""
    match = _TRIPS.search(self.attributes)
    return int(match[1]) if match else None


@dataclass
class Computation:
  """A computation of a program.

  Attributes:
    name: its name.
    lines: instructions in order.
  """

  name: str
  lines: dict[str, Instruction] = field(default_factory=dict)

  @property
  def root(self) -> Instruction:
    """The instruction whose result is the result of the computation."""
    return next((line for line in self.lines.values() if line.root), list(self.lines.values())[-1])

  def parameters(self) -> list[Instruction]:
    """Parameters in order."""
    found = [line for line in self.lines.values() if line.operation == "parameter"]
    return sorted(found, key=lambda line: int(line.operands[0]))


@dataclass(frozen=True)
class Program:
  """A compiled program.

  Attributes:
    computations: by name.
    entry: name of the one that is run.
  """

  computations: dict[str, Computation]
  entry: str


def read_program(text: str) -> Program:
  """Parses `compiled.as_text()`.

  Raises:
    ValueError: the text has no entry computation.
  """
  computations: dict[str, Computation] = {}
  entry, now = "", None
  for line in text.splitlines():
    if now is None or not line.startswith(" "):
      if match := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{", line):
        now = computations[match[2]] = Computation(match[2])
        entry = match[2] if match[1] else entry
      elif line.startswith("}"):
        now = None
    elif parsed := read_line(line):
      now.lines[parsed.name] = parsed
  if not entry:
    raise ValueError("the text of the compiled program has no ENTRY computation")
  return Program(computations, entry)


def read_line(line: str) -> Instruction | None:
  """An instruction; None for a line that is none."""
  match = re.match(r"\s*(ROOT )?%?([\w.\-]+) = ", line)
  if not match:
    return None
  rest = line[match.end() :]
  end = _closing(rest, 0) + 1 if rest.startswith("(") else _until_space(rest)
  kind = re.match(r" ([\w\-]+)\(", rest[end:])
  if not kind:
    return None
  start = end + kind.end() - 1
  stop = _closing(rest, start)
  operands = tuple(
    found[1] for part in _split(rest[start + 1 : stop]) if (found := _OPERAND.search(part.strip()))
  )
  return Instruction(match[2], kind[1], tuple(read_pieces(rest[:end])), operands, rest[stop + 1 :], bool(match[1]))


def read_pieces(text: str) -> Iterator[Piece]:
  """Arrays of the text of a type, such as "(f32[8,3]{1,0:T(8,128)S(1)}, s32[])"."""
  for dtype, dims, layout in _ARRAY.findall(text):
    yield Piece(dtype, tuple(int(n) for n in dims.split(",") if n), bool(re.search(r"S\([1-4]\)", layout)))


def _closing(text: str, start: int) -> int:
  """Index of the bracket that closes the one at `start`."""
  depth = 0
  for place in range(start, len(text)):
    depth += (text[place] in "([{") - (text[place] in ")]}")
    if not depth:
      return place
  return len(text)


def _until_space(text: str) -> int:
  place = text.find(" ")
  return len(text) if place < 0 else place


def _split(text: str) -> list[str]:
  """Parts between commas that are in no bracket."""
  parts, depth, last = [], 0, 0
  for place, letter in enumerate(text):
    depth += (letter in "([{") - (letter in ")]}")
    if letter == "," and not depth:
      parts.append(text[last:place])
      last = place + 1
  return [*parts, text[last:]] if text.strip() else []


__all__ = ["Computation", "Instruction", "Piece", "Program", "read_line", "read_pieces", "read_program"]
