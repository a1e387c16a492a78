"""pack SRC OUT: a folder of face images becomes sharded TFRecords with index and manifest."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from jaxface.formats.manifest import UNKNOWN_TEMPLATE
from jaxface.formats.packing import pack
from jaxface.formats.packing_plan import DUPLICATES, ON_DAMAGE
from jaxface.formats.sources import LAYOUTS
from jaxface.geometry.templates import TEMPLATES, unknown_template

SUMMARY = "pack face images into sharded TFRecords; a run that died is finished by running it again"

RERUN = "shards that are whole stay; the same command goes on from there, and removing the folder undoes it"


def image_size(text: str) -> tuple[int, int]:
  """Reads "112" as 112×112 and "112x96" as 112 high, 96 wide.

  Args:
    text: from the command line.
  Returns:
    (height, width).
  Raises:
    argparse.ArgumentTypeError: anything else.
  """
  match = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text)
  if not match:
    raise argparse.ArgumentTypeError(f"{text!r} should be N, or HEIGHTxWIDTH, in pixels")
  return int(match[1]), int(match[2] or match[1])


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command's arguments.

  Args:
    parser: of the subcommand.
  """
  parser.add_argument("src", type=Path, metavar="SRC", help="folder of images")
  parser.add_argument("out", type=Path, metavar="OUT", help="folder to write: new, or left by an unfinished run")
  parser.add_argument("--layout", choices=LAYOUTS, default="folders", help="how identities are told (default: folders)")
  parser.add_argument("--list", type=Path, metavar="FILE", help="for list and flat: a path and an identity per line")
  parser.add_argument("--size", type=image_size, metavar="N", help="crop and resize to N×N, or HEIGHTxWIDTH")
  parser.add_argument("--shard-mb", type=float, default=32, metavar="N", help="size of a shard in MB (default: 32)")
  parser.add_argument("--template", choices=[*TEMPLATES, "none"], help="how the faces are aligned, where you know it (default: unknown)")
  parser.add_argument("--on-damage", choices=ON_DAMAGE, default="skip", help="damaged images (default: skip)")
  parser.add_argument("--duplicates", choices=DUPLICATES, default="keep", help="files with equal bytes (default: keep)")
  parser.add_argument("--licence", "--license", default="", metavar="TEXT", help="of the images; every model trained on them names it")
  parser.add_argument("--origin", default="", metavar="TEXT", help="who made the images, or where they can be had")
  parser.add_argument("--processes", type=int, metavar="N", help="default: as many as are worth it")


def run(arguments: argparse.Namespace) -> int:
  """Packs, and prints what became of it.

  Args:
    arguments: as declared.
  Returns:
    The exit code.
  """
  manifest = pack(
    arguments.src,
    arguments.out,
    layout=arguments.layout,
    list_file=arguments.list,
    size=arguments.size,
    shard_mb=arguments.shard_mb,
    template=arguments.template,
    on_damage=arguments.on_damage,
    duplicates=arguments.duplicates,
    processes=arguments.processes,
    licence=arguments.licence,
    origin=arguments.origin,
    progress=sys.stderr.isatty(),
    # Names that are no UTF-8 are shown with their bytes escaped.
    say=lambda note: print("note: " + note.encode("utf-8", "backslashreplace").decode()),
  )
  megabytes = sum(shard.bytes for shard in manifest.shards) / 1e6
  height, width, _ = manifest.image_size
  print(
    f"{arguments.out}: {manifest.num_records:,} records of {manifest.num_identities:,} identities in "
    f"{len(manifest.shards)} shards, {megabytes:.1f} MB; {height}×{width}, template {manifest.template}, "
    f"licence {manifest.licence}; "
    f"{manifest.kept:,} images as they were, {manifest.num_records - manifest.kept:,} encoded anew, "
    f"{len(manifest.damaged)} damaged"
  )
  if manifest.template == UNKNOWN_TEMPLATE:
    print(f"note: {unknown_template('--template')}")
  return 0
