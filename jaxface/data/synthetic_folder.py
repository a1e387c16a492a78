"""Synthetic faces as files: a folder per identity."""

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxface.data.synthetic import SyntheticSource
from jaxface.formats.atomic import atomic_file
from jaxface.formats.images import encode_jpeg

CHUNK = 256


def synthesize(
  out: str | Path, *, identities: int = 100, images: int = 10, size: int = 112, seed: int = 0, progress: bool = False
) -> SyntheticSource:
  """Renders synthetic faces as JPEGs into a folder per identity. The same call renders the same faces.

  Args:
    out: folder to write; existing files of the same names are replaced, each atomically.
    identities: number of identities.
    images: images of each identity.
    size: side in pixels.
    seed: another seed gives other people.
    progress: draw a progress bar.
  Returns:
    The source that was rendered: its counts, names and template.
  Raises:
    ValueError: a number is too small.
  """
  source = SyntheticSource(identities, images, size, seed)
  names = source.names()
  with tqdm(total=source.num_records, unit="img", desc="render", disable=not progress, file=sys.stderr) as bar:
    for start in range(0, source.num_records, CHUNK):
      record_n = np.arange(start, min(start + CHUNK, source.num_records))
      image_bhwc = np.empty((len(record_n), *source.image_shape), np.uint8)
      source.read(record_n, image_bhwc)
      for record, image in zip(record_n, image_bhwc):
        with atomic_file(Path(out) / f"{names[record]}.jpg") as file:
          file.write(encode_jpeg(image))
      bar.update(len(record_n))
  return source


__all__ = ["synthesize"]
