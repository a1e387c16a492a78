"""Brightness, contrast and sharpness of images."""

import numpy as np
import pytest

from jaxface.data import STATISTICS, DegradedSource, FolderSource, SyntheticSource, measure_images


@pytest.fixture(scope="module")
def faces():
  return SyntheticSource(4, 2, size=32)


def test_the_statistics_are_those_of_the_definition(faces):
  found = measure_images(faces)
  assert tuple(found) == STATISTICS
  images = np.empty((8, 32, 32, 3), np.uint8)
  assert not faces.read(np.arange(8), images)
  for row, image in enumerate(images.astype(float)):
    grey = [[0.299 * r + 0.587 * g + 0.114 * b for r, g, b in line] for line in image]
    edges = [
      grey[y - 1][x] + grey[y + 1][x] + grey[y][x - 1] + grey[y][x + 1] - 4 * grey[y][x] for y in range(1, 31) for x in range(1, 31)
    ]
    expected = np.mean(grey), np.std(grey), np.var(edges)
    assert [found[name][row] for name in STATISTICS] == pytest.approx(expected, rel=1e-4)


def test_blur_lowers_sharpness_alone_and_an_unreadable_image_has_none(faces, make_folder):
  plain, blurred = (measure_images(DegradedSource(faces, np.arange(8), "blur", level)) for level in (0, 2))
  assert (blurred["sharpness"] < 0.5 * plain["sharpness"]).all()
  np.testing.assert_allclose(blurred["brightness"], plain["brightness"], rtol=0.02)
  folder = make_folder((2, 1))
  (folder / "person01" / "0000.jpg").write_bytes(b"\xff\xd8")
  found = measure_images(FolderSource(folder, size=None))
  assert np.isfinite(found["sharpness"]).tolist() == [True, True, False]
