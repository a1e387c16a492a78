"""Photos of alignment's tests."""

import numpy as np
import pytest

from jaxface.alignment import template_points
from jaxface.formats import AnnotatedFace, encode_jpeg


def face_photo(point_k2, draw):
  """A photo with a dark blob at each point, on grey with noise."""
  y, x = np.mgrid[:120, :130]
  photo = np.full((120, 130), 200.0) + draw.normal(0, 2, (120, 130))
  for index, (u, v) in enumerate(point_k2):
    photo -= (60 + 25 * index) * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (18 + 4 * index))
  return np.repeat(photo.clip(0, 255).astype(np.uint8)[..., None], 3, -1)


@pytest.fixture(scope="session")
def blob_photos(tmp_path_factory):
  """A folder of 24 photos with five dark blobs each, and their places."""
  folder, draw, faces = tmp_path_factory.mktemp("photos"), np.random.default_rng(3), []
  for index in range(24):
    point_k2 = template_points("arcface112", 5) * draw.uniform(0.8, 0.95) + draw.uniform(4, 14, 2) + draw.normal(0, 2, (5, 2))
    (folder / f"{index}.jpg").write_bytes(encode_jpeg(face_photo(point_k2, draw)))
    faces.append(AnnotatedFace(f"{index}.jpg", point_k2))
  return folder, faces
