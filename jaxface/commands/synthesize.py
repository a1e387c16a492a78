"""Render synthetic faces into a folder per identity: to try the tools, or to load them.

  jaxface synthesize OUT --identities 100 --images 10 --size 112
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxface.data.synthetic import SyntheticSource
from jaxface.formats.atomic import atomic_file
from jaxface.formats.images import encode_jpeg

CHUNK = 256
RERUN = "images that are written stay, each of them whole; the same command renders all of them again"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, render, print."""
  parser.add_argument("out", metavar="OUT", help="folder to write, one folder below it per identity")
  parser.add_argument("--identities", type=int, default=100, metavar="N", help="people (default: 100)")
  parser.add_argument("--images", type=int, default=10, metavar="N", help="images of each (default: 10)")
  parser.add_argument("--size", type=int, default=112, metavar="N", help="side in pixels (default: 112)")
  parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed gives other people (default: 0)")
  options = parser.parse_args(arguments)
  source = SyntheticSource(options.identities, options.images, options.size, options.seed)
  names, out = source.names(), Path(options.out)
  with tqdm(total=source.num_records, unit="img", desc="render") as bar:
    for start in range(0, source.num_records, CHUNK):
      record_n = np.arange(start, min(start + CHUNK, source.num_records))
      image_bhwc = np.empty((len(record_n), *source.image_shape), np.uint8)
      source.read(record_n, image_bhwc)
      for record, image in zip(record_n, image_bhwc):
        path = out / f"{names[record]}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
          file.write(encode_jpeg(image))
      bar.update(len(record_n))
  print(
    f"{out}: {source.num_records:,} images of {source.num_identities:,} identities, aligned to template {source.template} "
    f"(say so when you pack them: --template {source.template})"
  )
  return 0
