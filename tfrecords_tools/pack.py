"""Pack a folder of face images into sharded TFRecords with index and manifest; the same command resumes an incomplete run.

  python -m tfrecords_tools pack MY_FACES data/mine --size 112
"""

import argparse
import sys

from jaxface.formats.manifest import UNKNOWN_TEMPLATE
from jaxface.formats.packing import pack
from jaxface.formats.packing_plan import DUPLICATES, ON_DAMAGE
from jaxface.formats.sources import LAYOUTS
from jaxface.geometry.templates import unknown_template
from jaxface.options import add_processes, add_provenance, add_template, image_size

RERUN = "complete shards are kept; the same command resumes, or remove the folder to discard them"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, pack, print."""
  parser.add_argument("src", metavar="SRC", help="folder of images")
  parser.add_argument("out", metavar="OUT", help="folder to write: new, or left by an unfinished run")
  parser.add_argument("--layout", choices=LAYOUTS, default="folders", help="how the files show identities (default: folders)")
  parser.add_argument("--list", metavar="FILE", help="for list and flat: a path and an identity per line")
  parser.add_argument("--size", type=image_size, metavar="N", help="crop and resize to N×N, or HEIGHTxWIDTH")
  parser.add_argument("--shard-mb", type=float, default=32, metavar="N", help="size of a shard in MB (default: 32)")
  add_template(parser, "alignment template of the faces, if known (default: unknown)")
  parser.add_argument("--on-damage", choices=ON_DAMAGE, default="skip", help="damaged images (default: skip)")
  parser.add_argument("--duplicates", choices=DUPLICATES, default="keep", help="files with equal bytes (default: keep)")
  add_provenance(parser, "images", "recorded in every model trained on them")
  add_processes(parser)
  options = parser.parse_args(arguments)
  manifest = pack(
    options.src, options.out, layout=options.layout, list_file=options.list, size=options.size, shard_mb=options.shard_mb,
    template=options.template, on_damage=options.on_damage, duplicates=options.duplicates, processes=options.processes,
    licence=options.licence, origin=options.origin, progress=sys.stderr.isatty(),
    # Bytes of names that are not UTF-8 are escaped.
    say=lambda note: print("note: " + note.encode("utf-8", "backslashreplace").decode()),
  )
  megabytes = sum(shard.bytes for shard in manifest.shards) / 1e6
  height, width, _ = manifest.image_size
  print(
    f"{options.out}: {manifest.num_records:,} records of {manifest.num_identities:,} identities in "
    f"{len(manifest.shards)} shards, {megabytes:.1f} MB; {height}×{width}, template {manifest.template}, "
    f"licence {manifest.licence}; "
    f"{manifest.kept:,} images unchanged, {manifest.num_records - manifest.kept:,} re-encoded, "
    f"{len(manifest.damaged)} damaged"
  )
  if manifest.template == UNKNOWN_TEMPLATE:
    print(f"note: {unknown_template('--template')}")
  return 0
