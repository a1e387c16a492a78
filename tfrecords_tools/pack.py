"""Pack a folder of face images into sharded TFRecords with index and manifest; the same command resumes an incomplete run.

  python -m tfrecords_tools pack MY_FACES data/mine --size 112
  python -m tfrecords_tools pack PHOTOS data/mine --align
  python -m tfrecords_tools pack faces_emore data/ms1m --template arcface112        # a folder with train.rec of InsightFace

--align finds one face of each photo, large and near the centre, and aligns it into OUT.aligned, beside OUT, which is packed; needs weights
of the detector (`jaxface detect --help`).

--beam and --runner read and write on Apache Beam (extra `beam`); options of Beam come last, after --:

  python -m tfrecords_tools pack MY_FACES data/mine --beam -- --direct_num_workers=4 --direct_running_mode=multi_processing
"""

import argparse
import sys

from jaxface.formats.aligned import known_template
from jaxface.formats.containers import find_container
from jaxface.formats.manifest import UNKNOWN_TEMPLATE
from jaxface.formats.packing import pack
from jaxface.formats.packing_plan import DUPLICATES, ON_DAMAGE
from jaxface.formats.remote import is_url
from jaxface.formats.sources import LAYOUTS
from jaxface.formats.unaligned import unaligned_note
from jaxface.geometry.templates import unknown_template
from jaxface.options import add_detector, add_processes, add_provenance, add_template, image_size

# Packed faces without --size: a usual input.
FACES = (128, 128)
RERUN = "complete shards are kept; the same command resumes, or remove the folder to discard them"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, pack, print."""
  parser.add_argument("src", metavar="SRC", help="folder of images, or a .rec, .tar, .zip, .parquet or .mdb file or its folder, a TFDS folder, or tfds:NAME; or the URL of a folder of images")
  parser.add_argument("out", metavar="OUT", help="folder or URL to write: new, or left by an unfinished run")
  parser.add_argument("--layout", choices=LAYOUTS, default="folders", help="how the files show identities (default: folders)")
  parser.add_argument("--list", metavar="FILE", help="for list and flat: a path and an identity per line")
  parser.add_argument("--leave-out", metavar="FILE", help="images to leave out or to store under another identity, from `clean list`")
  parser.add_argument("--size", type=image_size, metavar="N", help="crop and resize to N×N, or HEIGHTxWIDTH")
  parser.add_argument("--shard-mb", type=float, default=32, metavar="N", help="size of a shard in MB (default: 32)")
  add_template(parser, "alignment template of the faces, if known (default: unknown)")
  parser.add_argument("--align", action="store_true", help="align the faces first, to --template (default: arcface112)")
  add_detector(parser)
  parser.add_argument("--on-damage", choices=ON_DAMAGE, default="skip", help="damaged images (default: skip)")
  parser.add_argument("--duplicates", choices=DUPLICATES, default="keep", help="files with equal bytes (default: keep)")
  add_provenance(parser, "images", "recorded in every model trained on them")
  add_processes(parser)
  parser.add_argument("--beam", action="store_true", help="pack on Apache Beam; equal bytes, see BUILD.md")
  parser.add_argument("--runner", metavar="NAME", help="pack on this runner of Apache Beam (default with --beam: its local one)")
  on_beam = any(one == "--beam" or one.startswith("--runner") for one in arguments)
  end = arguments.index("--") if on_beam and "--" in arguments else len(arguments)
  options = parser.parse_args(arguments[:end])
  beam = [*([f"--runner={options.runner}"] if options.runner else []), *arguments[end + 1 :]] if options.beam or options.runner else None
  source = options.src
  if options.align:
    source = _align(parser, options)
  elif options.layout == "folders" and not find_container(source) and not known_template(source, options.template) and (note := unaligned_note(source, options.size or FACES)):
    print(f"note: {note}")
  manifest = pack(
    source, options.out, layout=options.layout, list_file=options.list, leave_out=options.leave_out, size=options.size, shard_mb=options.shard_mb,
    template=options.template, on_damage=options.on_damage, duplicates=options.duplicates, processes=options.processes, beam=beam,
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


def _align(parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
  """Aligns the photos and returns the folder of the faces."""
  from jaxface.pipeline.photos.align_folder import align_photos  # loads JAX
  from jaxface.pipeline.say import say

  if is_url(options.src) or is_url(options.out):
    parser.error("--align needs folders of this machine: align with `jaxface align` first, and copy the aligned files")
  if options.layout != "folders":
    parser.error("--align needs --layout folders: align with `jaxface align` first, and list the aligned files")
  if options.template == "none":
    parser.error("--align needs a template")
  folder = options.out.rstrip("/") + ".aligned"
  print(f"{folder}: the aligned faces of {options.src}; the same command continues after an interruption")
  made = align_photos(
    options.src, folder, template=options.template or "arcface112", detector=options.detector, progress=sys.stderr.isatty(), say=say
  )
  print(made.summary())
  return folder
