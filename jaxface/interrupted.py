"""How a command ends that Ctrl-C has stopped: one sentence and one exit code, everywhere."""

import sys

# EX_TEMPFAIL of sysexits.h, "try again": the same command goes on, or begins anew where nothing is saved in between.
INTERRUPTED = 75

BEGINS_ANEW = "no file is left half written; the same command begins anew"


def say_interrupted(program: str, rerun: str = BEGINS_ANEW) -> int:
  """Prints that a command was stopped and what the same command does next.

  Args:
    program: what was called, such as "jaxface embed".
    rerun: what is left and what a rerun does.
  Returns:
    The exit code.
  """
  print(f"{program}: interrupted; {rerun}", file=sys.stderr)
  return INTERRUPTED


__all__ = ["BEGINS_ANEW", "INTERRUPTED", "say_interrupted"]
