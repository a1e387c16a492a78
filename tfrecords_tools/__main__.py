"""Packs faces into sharded TFRecords, and checks, describes, reshards and exports what was packed."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from jaxface.interrupted import BEGINS_ANEW, say_interrupted
from tfrecords_tools import export, pack, reshard, stats, verify

# Each has SUMMARY, add_arguments(parser) and run(arguments) -> exit code.
COMMANDS = {"pack": pack, "verify": verify, "stats": stats, "reshard": reshard, "export": export}


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs one subcommand.

  Args:
    arguments: of the command line, without the program's name; None takes the process's.
  Returns:
    The exit code: 0: done. 1: done, and the answer is bad (`verify` found faults). 2: something given is wrong.
    75: interrupted; the message says what the same command does next.
  """
  parser = argparse.ArgumentParser(prog="python -m tfrecords_tools", description=__doc__)
  commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
  for name, module in COMMANDS.items():
    module.add_arguments(commands.add_parser(name, help=module.SUMMARY, description=module.SUMMARY))
  parsed = parser.parse_args(arguments)
  logging.basicConfig(format="%(message)s", level=logging.WARNING)
  try:
    return COMMANDS[parsed.command].run(parsed)
  except (ValueError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    rerun = getattr(COMMANDS[parsed.command], "RERUN", BEGINS_ANEW)
    return say_interrupted(f"tfrecords_tools {parsed.command}", rerun)


if __name__ == "__main__":
  sys.exit(main())
