"""Compute embeddings with names and labels, for `jaxface evaluate` or other programs that read NumPy or Parquet files.

  jaxface embed --model models/mobilefacenet --records data/lfw --out lfw.npz
  jaxface embed --model models/mobilefacenet --images PHOTOS --align --out photos.npz
  jaxface embed --model models/mobilefacenet --records data/ms1m --out ms1m.parquet --part-size 100000

With --part-size the embeddings are computed in parts, in the folder FILE.parts: the same command goes on after the last complete one. Several
hosts with a shared folder each get --host I/N; the one that finds all parts complete writes FILE.
"""

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from jaxface.data.config import open_records
from jaxface.inference.embed_parts import embed_in_parts
from jaxface.inference.faces import embed_faces
from jaxface.inference.model import load
from jaxface.options import (
  add_align,
  add_crops,
  add_mirror,
  add_model,
  add_template,
  aligned_images,
  load_network,
)
from jaxface.pipeline.say import say

RERUN = "with --part-size complete parts are kept, and the same command goes on; without it, it starts again"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, embed, print."""
  add_model(parser)
  given = parser.add_mutually_exclusive_group(required=True)
  given.add_argument("--records", metavar="DIR", help="packed records")
  given.add_argument("--images", metavar="PATH", help="folder of aligned images, searched to any depth, or one image")
  add_align(parser)
  add_template(parser, "alignment template of --images, if known (default: unknown)")
  parser.add_argument("--out", required=True, metavar="FILE", help=".npz, .parquet, .npy (with the names beside it) or .faiss (an index of FAISS)")
  add_mirror(parser, "sum")
  add_crops(parser)
  parser.add_argument(
    "--raw", action="store_true", help="keep the network's raw output (default: scale each embedding to length one)"
  )
  parser.add_argument("--batch-size", type=int, default=128, metavar="N", help="images per batch (default: 128)")
  parser.add_argument("--devices", type=int, default=0, metavar="N", help="number of this host's devices to use (default: all)")
  parser.add_argument("--projector", metavar="DIR", help="also make this folder for TensorBoard's projector, with pictures")
  parser.add_argument("--part-size", type=int, metavar="N", help="images of a part; an interrupted command goes on after the last part")
  parser.add_argument("--host", default="0/1", metavar="I/N", help="with --part-size: number of this host, from 0, and of all (default: 0/1)")
  options = parser.parse_args(arguments)
  host, slash, hosts = options.host.partition("/")
  if not (slash and host.isdecimal() and hosts.isdecimal()) or (options.host != "0/1" and not options.part_size):
    parser.error(f"--host {options.host}: needs I/N, such as 0/4, and --part-size")
  if options.part_size and options.projector:
    parser.error("--projector shows at most 10,000 embeddings: leave out --part-size")
  if options.align is not None and not Path(options.images or "").is_dir():
    parser.error("--align needs --images with a folder of photos")
  load_network(options)
  model = load(options.model)  # before the timer starts
  progress = sys.stderr.isatty()
  with ExitStack() as stack:
    faces = open_records(options.records) if options.records else aligned_images(parser, options, stack)
    if options.part_size:
      done = embed_in_parts(
        model, faces, options.out, part_size=options.part_size, host=int(host), hosts=int(hosts), template=options.template,
        mirror=options.mirror, raw=options.raw, crops=options.crops, batch_size=options.batch_size, devices=options.devices,
        progress=progress, say=say,
      )
      print(f"{options.out}: {done}")
      return 0
    start = time.perf_counter()
    embeddings = embed_faces(
      model, faces, options.out,
      template=options.template, mirror=options.mirror, raw=options.raw, crops=options.crops, batch_size=options.batch_size,
      devices=options.devices, projector=options.projector, progress=progress, say=say,
    )
    seconds = time.perf_counter() - start
  count, size = embeddings.embedding_nd.shape
  print(f"{options.out}: {count:,} embeddings of {size}, {count / seconds:,.0f} images/s")
  return 0
