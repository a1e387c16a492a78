"""Nearest neighbours against a full sort."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.evaluation import neighbours as module
from jaxface.evaluation.neighbours import nearest


def oracle(probe, gallery, k):
  """By exact scores of small integers; of equal ones the lower row first."""
  score = probe @ gallery.T
  order = np.argsort(-score, axis=1, kind="stable")[:, :k]
  return order, np.take_along_axis(score, order, axis=1)


def integers(seed, rows, size=4, span=3):
  return np.random.default_rng(seed).integers(-span, span + 1, (rows, size)).astype(np.float32)


@pytest.mark.parametrize("devices", [1, 4])
@given(seed=st.integers(0, 10**6), probes=st.sampled_from([1, 5]), k=st.sampled_from([1, 3]))
def test_the_rows_and_scores_of_a_full_sort_with_many_ties(devices, seed, probes, k):
  probe, gallery = integers(seed, probes), integers(seed + 1, 700)
  found = nearest(probe, gallery, k, devices=jax.devices()[:devices])
  rows, scores = oracle(probe, gallery, k)
  np.testing.assert_array_equal(found.row_nk, rows)
  np.testing.assert_array_equal(found.score_nk, scores)


@pytest.mark.parametrize("devices", [1, 2, 8])
@pytest.mark.parametrize("blocks", [(64, 16, 8), (32, 1024, 32), (16_384, 7, 4)])
def test_blocks_and_devices_change_nothing(devices, blocks, monkeypatch):
  probe, gallery = integers(0, 50), integers(1, 1_003)
  for name, value in zip(("GALLERY_BLOCK", "PROBE_BLOCK", "GROUP"), blocks):
    monkeypatch.setattr(module, name, value)
  jax.clear_caches()
  found = nearest(probe, gallery, 9, devices=jax.devices()[:devices])
  rows, scores = oracle(probe, gallery, 9)
  np.testing.assert_array_equal(found.row_nk, rows)
  np.testing.assert_array_equal(found.score_nk, scores)


def test_all_rows_of_a_small_gallery_are_sorted():
  probe, gallery = integers(3, 4), integers(4, 6)
  rows, _ = oracle(probe, gallery, 6)
  np.testing.assert_array_equal(nearest(probe, gallery, 6).row_nk, rows)


def test_a_gallery_in_a_file_is_read_in_blocks(tmp_path):
  gallery = integers(5, 3_000)
  np.save(tmp_path / "gallery.npy", gallery)
  found = nearest(gallery[10:12], np.load(tmp_path / "gallery.npy", mmap_mode="r"), 2)
  np.testing.assert_array_equal(found.row_nk, oracle(gallery[10:12], gallery, 2)[0])


@pytest.mark.parametrize(("probe", "gallery", "k", "message"), [
  (np.zeros((2, 3)), np.zeros((4, 5)), 1, r"probes \(2, 3\) and gallery \(4, 5\)"),
  (np.zeros((2, 3)), np.zeros((4, 3)), 5, "k is 5: it must be from 1 to 4"),
  (np.zeros((2, 3)), np.full((4, 3), np.nan), 1, "gallery row 0 is not finite"),
  (np.array([[0.0, np.inf]]), np.zeros((4, 2)), 1, "probe row 0 is not finite"),
])
def test_wrong_input_says_what_is_wrong(probe, gallery, k, message):
  with pytest.raises(ValueError, match=message):
    nearest(probe, gallery, k)
