"""Embeddings with names and labels, for `jaxface evaluate` or anything else that reads NumPy or Parquet.

  jaxface embed --model models/mobilefacenet --records data/lfw --out lfw.npz
"""

import argparse
import sys
import time
from pathlib import Path

from jaxface.commands.network_option import add_network_option, load_network_option
from jaxface.data.records import RecordSource
from jaxface.data.source import Source
from jaxface.evaluation.config import MIRRORS
from jaxface.formats.embeddings import write_embeddings
from jaxface.formats.manifest import UNKNOWN_TEMPLATE
from jaxface.formats.recordset import RecordSet
from jaxface.geometry.templates import TEMPLATES
from jaxface.inference.embed import embed_source
from jaxface.inference.sources import open_folder
from jaxface.models.saved import load_model


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, embed, print."""
  parser.add_argument("--model", required=True, metavar="DIR", help="model directory, or workdir of a training")
  given = parser.add_mutually_exclusive_group(required=True)
  given.add_argument("--records", metavar="DIR", help="packed records")
  given.add_argument("--images", metavar="PATH", help="folder of aligned images, searched to any depth, or one image")
  parser.add_argument(
    "--template", choices=[*TEMPLATES, "none"], help="how the faces of --images are aligned, where you know it (default: unknown)"
  )
  parser.add_argument("--out", required=True, metavar="FILE", help=".npz or .parquet")
  parser.add_argument(
    "--mirror", choices=MIRRORS, default="sum",
    help="what becomes of the mirror image's embedding: added, set beside the image's, left out (default: %(default)s)",
  )
  parser.add_argument(
    "--raw", action="store_true", help="keep the network's own numbers (default: each embedding is scaled to length one)"
  )
  parser.add_argument("--batch-size", type=int, default=128, metavar="N", help="images at a time (default: 128)")
  add_network_option(parser)
  parser.add_argument("--devices", type=int, default=0, metavar="N", help="how many of this host's devices to use (default: all)")
  options = parser.parse_args(arguments)
  load_network_option(options)
  if not options.out.endswith((".npz", ".parquet")):
    parser.error(f"--out {options.out}: needs a name that ends in .npz or .parquet")
  if options.batch_size < 1:
    parser.error(f"--batch-size {options.batch_size}: at least 1 is needed")
  if options.template and not options.images:
    parser.error("--template says how the faces of --images are aligned; packed records carry theirs (pack --template)")
  Path(options.out).parent.mkdir(parents=True, exist_ok=True)
  saved = load_model(options.model)
  source: Source
  if options.records:
    source = RecordSource(RecordSet.open(options.records))
  else:
    source = open_folder(options.images, saved.preprocess, options.template or UNKNOWN_TEMPLATE)
    for note in source.notes:
      say(note)
  start = time.perf_counter()
  embeddings = embed_source(
    saved, source, mirror=options.mirror, raw=options.raw, batch_size=options.batch_size, progress=sys.stderr.isatty(),
    skip_unreadable=True, say=say, devices=options.devices,
  )
  write_embeddings(options.out, embeddings)
  seconds = time.perf_counter() - start
  count, size = embeddings.embedding_nd.shape
  print(f"{options.out}: {count:,} embeddings of {size}, {count / seconds:,.0f} images/s")
  return 0


def say(note: str) -> None:
  """A line for the user, beside the figures."""
  print(f"note: {note}", file=sys.stderr)
