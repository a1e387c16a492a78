"""The nearest embeddings against sorting every score: the same rows and bits for any blocks, devices and ties."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.evaluation.pairs.pair_score import cosine_of_pairs
from jaxface.evaluation.streaming.nearest import nearest_embeddings


def by_definition(probe_qd, gallery_md, count):
  both_nd = np.concatenate([probe_qd, gallery_md])
  probe_p, row_p = (grid.ravel() for grid in np.indices((len(probe_qd), len(gallery_md))))
  score_qm = cosine_of_pairs(both_nd, probe_p, row_p + len(probe_qd)).reshape(len(probe_qd), -1)
  index_qk = np.argsort(-score_qm, axis=1, kind="stable")[:, :count]
  return index_qk, np.take_along_axis(score_qm, index_qk, axis=1)


def check(probe_qd, gallery_md, count, **options):
  found = nearest_embeddings(probe_qd, gallery_md, count, **options)
  index_qk, score_qk = by_definition(probe_qd, gallery_md, count)
  assert found.row.tolist() == index_qk.tolist()
  assert found.score.tolist() == score_qk.tolist()


@pytest.mark.parametrize("devices", [1, 3, 8])
@pytest.mark.parametrize("rows", [24, 100, 2048])
@pytest.mark.parametrize("count", [1, 20])
def test_equals_sorting_every_score(devices, rows, count):
  random = np.random.default_rng(0)
  probe_qd, gallery_md = (random.normal(size=(size, 32)).astype(np.float32) for size in (61, 555))
  check(probe_qd, gallery_md, count, devices=jax.devices()[:devices], rows=rows)


@given(seed=st.integers(0, 999), size=st.integers(1, 3), values=st.integers(1, 2), count=st.integers(1, 30))
def test_of_equal_scores_the_lower_row_comes_first(seed, size, values, count):
  random = np.random.default_rng(seed)
  probe_qd, gallery_md = (random.integers(-values, values + 1, (rows, size)) for rows in (20, 50))
  for rows in (probe_qd, gallery_md):
    rows[~rows.any(1)] = 1
  check(probe_qd.astype(np.float32), gallery_md.astype(np.float32), count, devices=jax.devices()[:2], rows=16)


def test_scores_that_float32_cannot_tell_apart():
  random = np.random.default_rng(1)
  gallery_md = np.repeat(random.normal(size=(1, 64)), 300, axis=0) + 1e-9 * random.normal(size=(300, 64))
  check(random.normal(size=(9, 64)), gallery_md, 7, devices=jax.devices()[:1], rows=32)


@pytest.mark.parametrize("falling", [False, True])
def test_a_gallery_in_order_of_similarity(falling):
  angle_m = np.linspace(0.1, 1.5, 400)[:: 1 if falling else -1]
  gallery_md = np.stack([np.cos(angle_m), np.sin(angle_m)], 1).astype(np.float32)
  check(np.array([[1, 0], [1, 0.05]], np.float32), gallery_md, 5, devices=jax.devices()[:1], rows=32)


def test_everything_and_no_probes():
  random = np.random.default_rng(2)
  probe_qd, gallery_md = random.normal(size=(5, 4)), random.normal(size=(33, 4))
  check(probe_qd, gallery_md, 33, rows=16)
  assert nearest_embeddings(probe_qd[:0], gallery_md, 3).row.shape == (0, 3)


@pytest.mark.parametrize(
  ("probe", "gallery", "count", "message"),
  [
    (np.ones((2, 3)), np.ones((4, 5)), 1, r"probes \(2, 3\) and gallery \(4, 5\)"),
    (np.ones((2, 3)), np.ones((4, 3)), 5, "the 5 nearest of 4 embeddings: from 1 to all of them"),
    (np.ones((2, 3)), np.ones((4, 3)), 0, "the 0 nearest"),
    (np.ones((2, 3)), np.diag([1.0, 1.0, 0.0]), 1, "row 2: the embedding is zero or not finite"),
    (np.full((2, 3), np.inf), np.ones((4, 3)), 1, "row 0: the embedding is zero or not finite"),
  ],
)
def test_errors(probe, gallery, count, message):
  with pytest.raises(ValueError, match=message):
    nearest_embeddings(probe, gallery, count)
