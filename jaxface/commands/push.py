"""Copy a model folder to a bucket, another folder, or a repository of Hugging Face, with the digest of each file.

  jaxface push runs/mine gs://BUCKET/models/mine
  jaxface push runs/mine hf://OWNER/NAME
  jaxface push runs/mine /mnt/models/mine

PLACE is a path or any URL of fsspec. Buckets need fsspec's package of their kind (gcsfs, s3fs, adlfs); hf:// needs the extra `hub` and the
login of `hf auth login`. `jaxface pull` reads the model back.
"""

import argparse

from jaxface.interop.hub import push_model


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, copy, print."""
  parser.add_argument("model", metavar="MODEL", help="model directory, or workdir of a training run")
  parser.add_argument("place", metavar="PLACE", help="a path, a URL of fsspec, or hf://OWNER/NAME")
  options = parser.parse_args(arguments)
  print(push_model(options.model, options.place))
  return 0
