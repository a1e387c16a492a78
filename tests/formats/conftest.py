"""Small folders of small faces."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxface.formats.images import encode_jpeg


def jpeg(seed: int, height: int = 24, width: int = 24) -> bytes:
  """A smooth picture that no other seed gives."""
  y, x = np.mgrid[:height, :width] / max(height, width)
  phase = np.random.default_rng(seed).uniform(0, 6, (3, 3))
  waves = [np.sin(6 * (a * x + b * y) + c) for a, b, c in phase]
  return encode_jpeg((127 + 120 * np.stack(waves, -1)).astype(np.uint8))


@pytest.fixture
def make_jpeg() -> Callable[..., bytes]:
  return jpeg


@pytest.fixture
def make_folder(tmp_path) -> Callable[..., Path]:
  """Makes `name/personNN/NNNN.jpg` with the given number of images of each person."""

  def make(images=(3, 2, 1, 4), name="faces", **size) -> Path:
    root = tmp_path / name
    for person, count in enumerate(images):
      folder = root / f"person{person:02d}"
      folder.mkdir(parents=True)
      for number in range(count):
        (folder / f"{number:04d}.jpg").write_bytes(jpeg(1000 * person + number, **size))
    return root

  return make
