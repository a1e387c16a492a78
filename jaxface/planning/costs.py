"""Work of a compiled program, from its text: operations of products, bytes to and from memory, and what devices exchange.

The compiler's own sums do not serve: its operations count the body of a loop once, and its bytes count prefetches beside the instruction
that uses them, and buffers on the chip.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from jaxface.planning.hlo import Computation, Instruction, Piece, Program
from jaxface.planning.products import pairs
from jaxface.training.collectives import KINDS, Exchanged, collectives

# Instructions that move nothing, or whose results other lines count.
_FREE = {
  "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id", "iota", "domain",
  "opt-barrier", "add-dependency", "broadcast",
}
_RESERVED = 'custom_call_target="AllocateBuffer"'
_COLLECTIVE = re.compile(rf"({KINDS})(-start)?")
# Operands of which only a part is read, of the size of the result.
_PART_OF = {"dynamic-slice", "slice", "gather"}
# Instructions that change a part of their first operand, and their operand of that part's size.
_IN_PLACE = {"dynamic-update-slice": 1, "scatter": 2}


class Work(NamedTuple):
  """Work of an instruction each time it runs.

  Attributes:
    name: of the instruction.
    flops: operations of its products; a multiplication and an addition are two.
    nbytes: bytes that it reads from and writes to the device's memory.
    times: how often it runs.
    exchanged: arrays that it exchanges.
  """

  name: str
  flops: float
  nbytes: float
  times: int
  exchanged: tuple[Exchanged, ...] = ()


class Costs(NamedTuple):
  """Work of a program.

  Attributes:
    work: of each instruction.
    unknown_loops: number of loops whose length the compiler does not know; their bodies count once.
  """

  work: tuple[Work, ...]
  unknown_loops: int

  @property
  def flops(self) -> float:
    """Operations of products."""
    return sum(one.times * one.flops for one in self.work)

  @property
  def nbytes(self) -> float:
    """Bytes to and from the device's memory."""
    return sum(one.times * one.nbytes for one in self.work)


def program_costs(program: Program) -> Costs:
  """Work of each instruction of a program."""
  counted = _Counted(program)
  return Costs(tuple(counted.run(program.entry, 1)), counted.unknown)


class _Counted:
  def __init__(self, program: Program):
    self.program, self.unknown = program, 0

  def run(self, name: str, times: int) -> Iterator[Work]:
    """Work of a computation that runs so often; of the branches of a condition, the one with most bytes."""
    computation = self.program.computations[name]
    for line in computation.lines.values():
      if line.operation == "while":
        trips = loop_length(self.program, line)
        self.unknown += trips is None
        yield from self.run(line.called("body")[0], times * (trips or 1))
      elif line.operation == "conditional":
        names = line.called("branch_computations") or line.called("true_computation") + line.called("false_computation")
        branches = [list(self.run(branch, times)) for branch in names]
        yield from max(branches, key=lambda works: sum(one.times * one.nbytes for one in works), default=[])
      elif line.operation == "call":
        yield from self.run((line.called("to_apply") or line.called())[0], times)
      elif line.operation not in _FREE and not line.operation.endswith(("-done", "-update")) and _RESERVED not in line.attributes:
        yield Work(line.name, self.flops(computation, line), self.nbytes(computation, line), times, _exchanged(line))

  def flops(self, computation: Computation, line: Instruction) -> float:
    """Operations of the products in an instruction, and in the computation that it fuses."""
    total = product_flops(computation, line)
    if line.operation in ("fusion", "async-start"):
      for name in line.called():
        inner = self.program.computations[name]
        total += sum(self.flops(inner, each) for each in inner.lines.values())
    return total

  def nbytes(self, computation: Computation, line: Instruction) -> float:
    """Bytes to and from memory."""
    if line.operation.endswith("-start") and not line.called():
      # The result is (target, source, …) of a copy, (source, target, …) of a slice, (operands, results) of a collective.
      if line.operation in ("copy-start", "slice-start"):
        target, source = line.pieces[:2] if line.operation == "copy-start" else line.pieces[1::-1]
        return target.nbytes * ((not target.on_chip) + (not source.on_chip))
      return 2 * _memory(line.pieces[-(-len(line.pieces) // 2) :])
    operands = [computation.lines[name] for name in line.operands if name in computation.lines]
    names = line.called() if line.operation in ("fusion", "async-start") else []
    if names:
      return _fused_bytes(self.program.computations[names[0]], operands, line)
    if line.operation in _PART_OF:
      return 2 * _memory(line.pieces)
    if line.operation in _IN_PLACE:
      return 2 * sum(_memory(one.pieces) for one in operands[1:])
    if line.operation == "async-start":
      return 0.0
    return _memory(line.pieces) + sum(_memory(one.pieces) for one in operands)


def loop_length(program: Program, line: Instruction) -> int | None:
  """How often the body of a `while` runs; None if the program does not say.

  Some compilers note it. Otherwise it is the constant that the condition compares the counter with, which starts at 0 in a loop of JAX.
  """
  if line.trips is not None:
    return line.trips
  lines = program.computations[line.called("condition")[0]].lines
  test = program.computations[line.called("condition")[0]].root
  if test.operation == "fusion":
    lines = {**program.computations[test.called()[0]].lines, **lines}
    test = program.computations[test.called()[0]].root
  numbers = [int(one.operands[0]) for one in lines.values() if one.operation == "constant" and re.fullmatch(r"\d+", one.operands[0])]
  return numbers[0] if len(numbers) == 1 and "direction=LT" in test.attributes else None


def _fused_bytes(inner: Computation, operands: list[Instruction], line: Instruction) -> float:
  """Bytes of a fusion: its result and operands, of which only the parts count that it slices, or replaces in place."""
  total, replaced = 0.0, set()
  root = inner.root
  results = [inner.lines[name] for name in root.operands if name in inner.lines] if root.operation == "tuple" else [root]
  for result, piece in zip(results, line.pieces):
    source = _through(inner, result)
    if source.operation in _IN_PLACE:
      part = _size(inner.lines[source.operands[_IN_PLACE[source.operation]]].pieces)
      # A scatter adds to its rows, or replaces a part of a tile: both read it before.
      total += 0 if piece.on_chip else part * (2 if source.operation == "scatter" else 1)
      replaced.add(_through(inner, inner.lines[source.operands[0]]).name)
    else:
      total += _memory((piece,))
  users: dict[str, list[Instruction]] = {}
  for each in inner.lines.values():
    for name in each.operands:
      users.setdefault(name, []).append(each)
  for parameter, operand in zip(inner.parameters(), operands):
    if any(piece.on_chip for piece in operand.pieces):
      continue
    using = _users(users, parameter.name)
    parts = [_size(one.pieces) for one, first in using if first and one.operation in _PART_OF]
    in_place = sum(first and one.operation in _IN_PLACE for one, first in using) if parameter.name in replaced else 0
    total += sum(parts) if using and len(parts) + in_place == len(using) else _memory(operand.pieces)
  return total


def _users(users: dict[str, list[Instruction]], name: str) -> list[tuple[Instruction, bool]]:
  """Instructions that use a value, past those that only give it another name, and whether it is their first operand."""
  found = []
  for one in users.get(name, []):
    found += _users(users, one.name) if one.operation == "bitcast" else [(one, one.operands[0] == name)]
  return found


def _through(inner: Computation, line: Instruction) -> Instruction:
  while line.operation == "bitcast" and line.operands[0] in inner.lines:
    line = inner.lines[line.operands[0]]
  return line


def _size(pieces: tuple[Piece, ...]) -> int:
  return sum(piece.nbytes for piece in pieces)


def _memory(pieces: tuple[Piece, ...]) -> int:
  """Bytes of arrays in the device's memory."""
  return sum(piece.nbytes for piece in pieces if not piece.on_chip)


def product_flops(computation: Computation, line: Instruction) -> float:
  """Operations of a convolution or matrix product; zeros of padding and dilation are not counted; 0 for any other instruction."""
  if line.operation == "dot":
    contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", line.attributes)
    left = computation.lines[line.operands[0]].pieces[0].shape
    axes = [int(n) for n in contracted[1].split(",") if n] if contracted else []
    return 2 * math.prod(line.pieces[0].shape) * math.prod(left[axis] for axis in axes)
  if line.operation != "convolution":
    return 0.0
  image, kernel = (computation.lines[name].pieces[0].shape for name in line.operands[:2])
  match = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", line.attributes)
  assert match, line.attributes
  total = 2.0 * kernel[match[2].index("i")]
  window = _window(line.attributes)
  for label, size in zip(match[3], line.pieces[0].shape):
    if label in "bf":
      total *= size
    else:
      total *= pairs(size, image[match[1].index(label)], kernel[match[2].index(label)], *window(int(label)))
  return total


def _window(attributes: str) -> Callable[[int], tuple[int, int, int, int]]:
  """Stride, padding before, dilation of the image and of the kernel, by spatial axis."""
  match = re.search(r"window=\{([^}]*)\}", attributes)
  parts = dict(re.findall(r"(\w+)=([\w\-]+)", match[1])) if match else {}

  def of(axis: int) -> tuple[int, int, int, int]:
    def one(name: str) -> str:
      listed = re.findall(r"-?\d+_-?\d+|-?\d+", parts[name]) if name in parts else []
      return listed[axis] if axis < len(listed) else ("0_0" if name == "pad" else "1")

    return int(one("stride")), int(one("pad").split("_")[0]), int(one("lhs_dilate")), int(one("rhs_dilate"))

  return of


def _exchanged(line: Instruction) -> tuple[Exchanged, ...]:
  match = _COLLECTIVE.fullmatch(line.operation)
  if not match:
    return ()
  pieces = line.pieces
  if match[2] and match[1] != "all-reduce":  # (operands, results)
    pieces = pieces[len(line.operands) : 2 * len(line.operands)]
  # One text for one reader of device groups.
  text = ", ".join(f"{piece.dtype}[{','.join(map(str, piece.shape))}]" for piece in pieces)
  return tuple(collectives(f" x = ({text}) {match[1]}(){line.attributes}"))


__all__ = ["Costs", "Work", "loop_length", "product_flops", "program_costs"]
