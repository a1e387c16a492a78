"""Reads the collectives of a compiled program."""

import math
import re

KINDS = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute"


def collectives(text):
  """(kind, dtype, shape, number of devices that take part) of every array that is exchanged; None devices if the text names none."""
  return [
    (match[2], dtype, tuple(int(n) for n in dims.split(",") if n), members(line))
    for line in text.splitlines() if (match := re.search(rf" = (.*?) ({KINDS})(?:-start)?\(", line))
    for dtype, dims in re.findall(r"\b([a-z]\d*\w*)\[([\d,]*)\]", match[1])
  ]


def members(line):
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
