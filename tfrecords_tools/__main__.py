"""Pack faces into sharded TFRecords; verify, describe, reshard and export packed sets; make toy sets and unpack .bin files."""

import logging
import sys
from collections.abc import Sequence

from jaxface.command_line import run_command

COMMANDS = {
  "pack": ("tfrecords_tools.pack", "pack face images into sharded TFRecords; the same command resumes an incomplete run"),
  "import_recordio": ("tfrecords_tools.pack", "pack an MXNet record file, such as InsightFace's train.rec; the same as pack"),
  "clean": ("tfrecords_tools.clean", "clean a folder of faces in stages: names, intake, rank, near-duplicates, wrong labels, people, blocks"),
  "verify": ("tfrecords_tools.verify", "read all of a packed set and report every fault; exit code 1 if there is one"),
  "stats": ("tfrecords_tools.stats", "print counts of a packed set and a histogram of images per identity"),
  "reshard": ("tfrecords_tools.reshard", "copy a packed set into another number of shards; records, order and ids do not change"),
  "export": ("tfrecords_tools.export", "write the images of a packed set into a folder per identity"),
  "toy": ("tfrecords_tools.toy", "write a small set in the format of an evaluation protocol, with embeddings"),
  "unpack_bin": ("tfrecords_tools.unpack_bin", "write the images and pairs of an InsightFace .bin file to a folder"),
}


def main(arguments: Sequence[str] | None = None) -> int:
  """Run one subcommand; returns the exit code, see `run_command`."""
  logging.basicConfig(format="%(message)s", level=logging.WARNING)
  return run_command("python -m tfrecords_tools", __doc__, COMMANDS, sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
  sys.exit(main())
