"""Pack faces into sharded TFRecords, and check, describe, reshard and export what was packed."""

import logging
import sys
from collections.abc import Sequence

from jaxface.command_line import run_command

COMMANDS = {
  "pack": ("tfrecords_tools.pack", "pack face images into sharded TFRecords; a run that died is finished by running it again"),
  "verify": ("tfrecords_tools.verify", "read a packed set whole and name every fault; exit code 1 if there is one"),
  "stats": ("tfrecords_tools.stats", "print counts of a packed set and draw images per identity"),
  "reshard": ("tfrecords_tools.reshard", "write a packed set anew with another number of shards; records, their order and ids stay"),
  "export": ("tfrecords_tools.export", "write a packed set back as a folder of images per identity"),
}


def main(arguments: Sequence[str] | None = None) -> int:
  """Run one subcommand; returns the exit code, see `run_command`."""
  logging.basicConfig(format="%(message)s", level=logging.WARNING)
  return run_command("python -m tfrecords_tools", __doc__, COMMANDS, sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
  sys.exit(main())
