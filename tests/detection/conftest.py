"""Detectors of tests: MTCNN with random and with released weights."""

import os
from pathlib import Path

import pytest
from mtcnn_golden import IMAGES, random_state

from jaxface.detection.mtcnn_files import from_state_dict


@pytest.fixture(scope="session")
def mtcnn_weights(face_data) -> Path:
  """Folder of facenet-pytorch's weights, beside the data."""
  folder = Path(os.environ.get("JAXFACE_WEIGHTS", face_data.parent / "weights")) / "mtcnn"
  if not folder.is_dir():
    pytest.skip(f"REAL DATA ABSENT: no weights of MTCNN at {folder}")
  return folder


@pytest.fixture(scope="session")
def random_params():
  return {net: from_state_dict(net, random_state(net)) for net in IMAGES}
