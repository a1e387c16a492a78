"""Synthetic faces as files."""

import numpy as np

from jaxface.data import FolderSource, synthesize


def test_a_folder_per_identity_holds_what_the_source_renders(tmp_path):
  source = synthesize(tmp_path / "faces", identities=3, images=2, size=16, seed=4)
  folder = FolderSource(tmp_path / "faces", size=None)
  assert folder.names() == source.names() and folder.num_identities == source.num_identities == 3
  drawn, read = (np.empty((6, 16, 16, 3), np.uint8) for _ in range(2))
  source.read(np.arange(6), drawn)
  assert folder.read(np.arange(6), read) == []
  assert np.abs(drawn.astype(int) - read).mean() < 8  # JPEG
