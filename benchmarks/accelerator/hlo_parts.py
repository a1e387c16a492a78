"""Which part of a training step an instruction of a compiled program belongs to, from the program's text."""

import re
from collections import Counter
from typing import NamedTuple

CONVOLUTIONS, PRODUCTS, NORMS, HEAD, OPTIMIZER, AUGMENTATION, EXCHANGE, OTHER = (
  "convolutions", "matrix products", "norms", "head", "optimizer", "augmentation", "exchange", "other"
)
PARTS = (CONVOLUTIONS, PRODUCTS, NORMS, HEAD, OPTIMIZER, AUGMENTATION, EXCHANGE, OTHER)

# Scopes of `jaxface.training`, and names of layers, in the op_name of an instruction. The first that is found counts.
_SCOPES = (
  (HEAD, re.compile(r"\bobjective\b|\bclass_rows\b")),
  (OPTIMIZER, re.compile(r"\boptimizer\b")),
  (AUGMENTATION, re.compile(r"\baugmentation\b")),
  (NORMS, re.compile(r"norm\d*\b")),
)
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (?:\([^=]*?\)|\S+) ([\w\-]+)\(")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_COLLECTIVE = re.compile(r"all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute")
# They compute nothing and say nothing of a fusion.
_SILENT = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "broadcast", "convert", "copy")


class _Instruction(NamedTuple):
  name: str
  opcode: str
  op_name: str
  target: str
  calls: str


def parts_of(text: str) -> dict[str, str]:
  """The part of each instruction.

  Args:
    text: of the optimised program (`compiled.as_text()`).
  Returns:
    Part by name of the instruction. A fusion is a convolution or a matrix product if it contains one; otherwise it belongs to the
    part of most of its instructions.
  """
  computations = _computations(text)
  return {
    one.name: _part([one, *computations.get(one.calls, ())]) for inside in computations.values() for one in inside
  }


def _computations(text: str) -> dict[str, list[_Instruction]]:
  found: dict[str, list[_Instruction]] = {}
  current: list[_Instruction] = []
  for line in text.splitlines():
    if start := _COMPUTATION.match(line):
      current = found.setdefault(start[1], [])
    elif match := _INSTRUCTION.match(line):
      current.append(_Instruction(
        match[1], match[2], _field(r'op_name="([^"]*)"', line), _field(r'custom_call_target="([^"]*)"', line),
        _field(r"\bcalls=%?([\w.\-]+)", line),
      ))
  return found


def _field(pattern: str, line: str) -> str:
  match = re.search(pattern, line)
  return match[1] if match else ""


def _part(inside: list[_Instruction]) -> str:
  if any(_COLLECTIVE.match(one.opcode) for one in inside):
    return EXCHANGE
  scopes = Counter(_scope(one.op_name) for one in inside if one.op_name and one.opcode not in _SILENT)
  if not scopes:
    scopes = Counter(_scope(one.op_name) for one in inside if one.op_name)
  scope = scopes.most_common(1)[0][0] if scopes else OTHER
  if any(map(_is_convolution, inside)):
    return CONVOLUTIONS
  if any(map(_is_product, inside)):
    return scope if scope in (HEAD, OPTIMIZER, AUGMENTATION) else PRODUCTS
  return scope


def _is_convolution(one: _Instruction) -> bool:
  if one.opcode == "convolution" or "conv" in one.target.lower():
    # A TPU computes matrix products as convolutions too.
    return "dot_general" not in one.op_name
  return one.opcode in ("dot", "custom-call") and "conv_general_dilated" in one.op_name


def _is_product(one: _Instruction) -> bool:
  return one.opcode in ("dot", "convolution") or bool(re.search("gemm|matmul|cublas|fmha|attention", one.target))


def _scope(op_name: str) -> str:
  return next((part for part, pattern in _SCOPES if pattern.search(op_name)), OTHER)


__all__ = ["AUGMENTATION", "CONVOLUTIONS", "EXCHANGE", "HEAD", "NORMS", "OPTIMIZER", "OTHER", "PARTS", "PRODUCTS", "parts_of"]
