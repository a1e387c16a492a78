"""A packed set of small faces, whose files tests may damage."""

from pathlib import Path

import numpy as np
import pytest

from jaxface.formats.face import Face
from jaxface.formats.images import encode_jpeg
from jaxface.formats.writer import write_recordset

COUNTS = (1, 2, 3, 5, 8, 5, 3, 2, 1, 10)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
  """40 faces of 16 × 16 pixels of ten identities, in three shards."""
  random = np.random.default_rng(0)
  faces = []
  for label, count in enumerate(COUNTS):
    for number in range(count):
      coarse = random.integers(0, 256, (4, 4, 3), np.uint8)
      image = encode_jpeg(coarse.repeat(4, axis=0).repeat(4, axis=1))
      faces.append(Face(image, label, f"person{label}/face_{number:04d}", len(faces)))
  folder = tmp_path / "packed"
  names = [f"person{label}" for label in range(len(COUNTS))]
  write_recordset(folder, faces, names, image_size=(16, 16, 3), template="arcface112", num_shards=3)
  return folder
