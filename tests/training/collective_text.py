"""Reads the collectives of a compiled program."""

import re

KINDS = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute"


def collectives(text):
  """(kind, dtype, shape) of every array that is exchanged."""
  return [
    (match[2], dtype, tuple(int(n) for n in dims.split(",") if n))
    for line in text.splitlines() if (match := re.search(rf" = (.*?) ({KINDS})(?:-start)?\(", line))
    for dtype, dims in re.findall(r"\b([a-z]\d*\w*)\[([\d,]*)\]", match[1])
  ]
