"""Write the images and the pair list of an InsightFace .bin file to a folder. Nothing in the file is executed.

  python -m tfrecords_tools unpack_bin lfw.bin LFW_BIN
  jaxface evaluate --pairs LFW_BIN/pairs.tsv --model models/mobilefacenet --images LFW_BIN/images
"""

import argparse

from jaxface.evaluation.protocols.insightface_bin import unpack_bin


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, write the images, print."""
  parser.add_argument("file", metavar="FILE", help="the .bin")
  parser.add_argument("out", metavar="OUT", help="folder to write, must not exist")
  options = parser.parse_args(arguments)
  count = unpack_bin(options.file, options.out)
  print(f"{options.out}: {count:,} images, {count // 2:,} pairs in {options.out}/pairs.tsv")
  return 0
