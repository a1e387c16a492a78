"""Read all of a packed set, decode every image, and report file, offset and record of every fault.

  python -m tfrecords_tools verify data/mine

Exit code 1 if there is a fault.
"""

import argparse
import sys

from jaxface.formats.manifest import read_manifest
from jaxface.formats.verification import verify_records
from jaxface.options import add_packed, add_processes


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, verify, print each fault."""
  add_packed(parser)
  add_processes(parser)
  options = parser.parse_args(arguments)
  faults = verify_records(options.out, processes=options.processes, progress=sys.stderr.isatty())
  for fault in faults:
    print(fault)
  if faults:
    print(f"{options.out}: {len(faults)} faults")
    return 1
  manifest = read_manifest(options.out)
  print(
    f"{options.out}: no fault in {manifest.num_records:,} records of {manifest.num_identities:,} identities, "
    f"{len(manifest.shards)} shards"
  )
  return 0
