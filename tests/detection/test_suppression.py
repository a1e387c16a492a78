"""Suppression against loops from the definition, and its laws."""

from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface import detection

seeds = st.integers(0, 2**32 - 1)
SIZE = 24
_masks = {
  of: jax.jit(partial(detection.nms_mask, of=of)) for of in ("union", "smaller")
}
_softened = {decay: jax.jit(partial(detection.soft_nms_scores, decay=decay)) for decay in ("gaussian", "linear")}


def crowded(count, seed, distinct=True):
  """Boxes that overlap a lot, with distinct or with often equal scores, in a few groups."""
  rng = np.random.default_rng(seed)
  low = rng.uniform(0, 30, (count, 2))
  box = np.concatenate([low, low + rng.uniform(5, 25, (count, 2))], -1)
  score = rng.permutation(count) / max(count, 1) + 0.01 if distinct else rng.integers(1, 4, count) / 4
  return box, score, rng.integers(0, 3, count)


def overlap(a, b, of):
  """Of two boxes, from the definition."""
  width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
  height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
  area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
  return width * height / (area_a + area_b - width * height if of == "union" else min(area_a, area_b))


def brute(box, score, group, threshold, of):
  """A box is kept if no kept box of its group that comes before it overlaps it too much."""
  kept = []
  for i in sorted(range(len(score)), key=lambda i: (-score[i], i)):
    if all(group[i] != group[k] or overlap(box[i], box[k], of) <= threshold for k in kept):
      kept.append(i)
  return kept


def brute_soft(box, score, group, decay, sigma=0.5, threshold=0.3, least=0.001):
  score, left, found = list(score), [i for i in range(len(score)) if score[i] >= least], []
  while left:
    best = max(left, key=lambda i: (score[i], -i))
    left.remove(best)
    found.append((best, score[best]))
    for i in left:
      if group[i] == group[best]:
        o = overlap(box[i], box[best], "union")
        score[i] *= np.exp(-o * o / sigma) if decay == "gaussian" else (1 - o if o > threshold else 1)
    left = [i for i in left if score[i] >= least]
  return found


def brute_average(box, score, group, threshold, share):
  """Clusters by merging, from the definition: best box, and mean of the boxes near its score."""
  clusters = [{i} for i in range(len(score))]
  for i in range(len(score)):
    for j in range(i):
      if group[i] == group[j] and overlap(box[i], box[j], "union") > threshold:
        one, two = (next(cluster for cluster in clusters if k in cluster) for k in (i, j))
        if one is not two:
          clusters.remove(two)
          one |= two
  found = []
  for cluster in clusters:
    best = min(cluster, key=lambda i: (-score[i], i))
    found.append((-score[best], best, np.mean([box[i] for i in cluster if score[i] >= share * score[best]], 0)))
  return sorted(found, key=lambda row: row[:2])


def padded(array, size=SIZE):
  """Rows up to a fixed number; the added ones would win if they counted."""
  return np.concatenate([array, np.full((size - len(array), *array.shape[1:]), 99, array.dtype)])


@pytest.mark.parametrize("of", ["union", "smaller"])
@given(st.integers(0, SIZE), seeds, st.floats(0, 1), st.booleans())
def test_hard_suppression_equals_the_definition(of, count, seed, threshold, distinct):
  box, score, group = crowded(count, seed, distinct)
  expected = brute(box, score, group, threshold, of)
  assert detection.nms(box, score, threshold, of=of, group_n=group).tolist() == expected


@pytest.mark.parametrize("of", ["union", "smaller"])
@given(st.integers(0, SIZE), seeds, st.sampled_from([0.1, 0.3, 0.5, 0.7]))
def test_the_fixed_size_equals_the_free_one(of, count, seed, threshold):
  box, score, group = crowded(count, seed)
  box = np.round(8 * box) / 8  # exact in float32: no overlap changes sides of the threshold by rounding
  kept = _masks[of](padded(box), padded(score), np.arange(SIZE) < count, threshold, group_n=padded(group))
  assert np.flatnonzero(kept).tolist() == sorted(detection.nms(box, score, threshold, of=of, group_n=group))


@pytest.mark.parametrize("decay", ["gaussian", "linear"])
@given(st.integers(0, SIZE), seeds)
@settings(max_examples=50)
def test_soft_suppression_equals_the_definition(decay, count, seed):
  box, score, group = crowded(count, seed)
  expected = brute_soft(box, score, group, decay)
  index, new = detection.soft_nms(box, score, decay=decay, group_n=group)
  assert index.tolist() == [i for i, _ in expected]
  np.testing.assert_allclose(new, [s for _, s in expected], rtol=1e-12)
  whole = np.zeros(count)
  whole[index] = new
  fixed = np.asarray(_softened[decay](padded(box), padded(score), np.arange(SIZE) < count, group_n=padded(group)))
  # float32 against float64: a score next to `least` may fall on the other side
  np.testing.assert_allclose(fixed[:count], whole, rtol=1e-4, atol=1.1e-3)
  assert (fixed[count:] == 0).all()


@given(st.integers(0, SIZE), seeds, st.floats(0, 1), st.floats(0, 1), st.booleans(), st.sampled_from([3, 512]))
@settings(max_examples=50)
def test_averaging_equals_the_definition(count, seed, threshold, share, distinct, rows):
  box, score, group = crowded(count, seed, distinct)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr("jaxface.detection.suppression._ROWS", rows)
    index, mean = detection.nms_average(box, score, threshold, share=share, group_n=group)
  expected = brute_average(box, score, group, threshold, share)
  assert index.tolist() == [best for _, best, _ in expected]
  np.testing.assert_allclose(mean, np.array([each for *_, each in expected]).reshape(-1, 4), rtol=1e-12)


def test_averaging_by_hand():
  # The first three are a chain: the first and the third do not overlap by more than 0.4.
  box = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10], [40, 0, 50, 10]], float)
  score = np.array([0.95, 0.5, 0.9, 0.3])
  index, mean = detection.nms_average(box, score, 0.4)
  assert index.tolist() == [0, 3]
  np.testing.assert_allclose(mean, [[4, 0, 14, 10], [40, 0, 50, 10]])  # 0.5 is less than nine tenths of 0.95
  assert detection.nms_average(box, score, 0.4, share=1)[1][0].tolist() == [0, 0, 10, 10]
  assert detection.nms_average(box, score, 0.5)[0].tolist() == [0, 2, 1, 3]
  with pytest.raises(ValueError, match=r"share is 1\.1"):
    detection.nms_average(box, score, 0.4, share=1.1)


@given(st.integers(1, SIZE), seeds, st.floats(0.1, 0.9))
def test_laws(count, seed, threshold):
  box, score, _ = crowded(count, seed)
  kept = detection.nms(box, score, threshold)
  assert kept[0] == np.argmax(score)
  assert (np.diff(score[kept]) < 0).all()
  among = detection.iou(box[kept], box[kept])
  assert (among[np.triu_indices(len(kept), 1)] <= threshold).all()
  assert set(np.flatnonzero((detection.iou(box, box[kept]) > threshold).any(-1))) | set(kept) == set(range(count))
  assert (detection.nms(box[kept], score[kept], threshold) == np.arange(len(kept))).all()  # twice is once
  turn = np.random.default_rng(seed).permutation(count)
  assert (turn[detection.nms(box[turn], score[turn], threshold)] == kept).all()
  assert (detection.nms(3 * box + 7, score, threshold) == kept).all()
  assert len(detection.nms(box, score, 1.0)) == count


def test_by_hand():
  box = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]], float)  # the first two: 50 / 100
  score = np.array([0.8, 0.9, 0.1])
  assert detection.nms(box, score, 0.5).tolist() == [1, 0, 2]
  assert detection.nms(box, score, 0.49).tolist() == [1, 2]
  assert detection.nms(box, score, 0.5, of="smaller").tolist() == [1, 2]
  index, new = detection.soft_nms(box, score, decay="linear", threshold=0.3)
  assert index.tolist() == [1, 0, 2]
  np.testing.assert_allclose(new, [0.9, 0.4, 0.1])


def test_wrong_arguments_are_named():
  with pytest.raises(ValueError, match="2 boxes, 3 scores"):
    detection.nms(np.zeros((2, 4)), np.zeros(3), 0.5)
  with pytest.raises(ValueError, match="box 1 is"):
    detection.nms(np.array([[0, 0, 1, 1], [0, 0, np.nan, 1]]), np.ones(2), 0.5)
  with pytest.raises(ValueError, match="decay 'cubic': takes gaussian, linear"):
    detection.soft_nms(np.zeros((1, 4)), np.ones(1), decay="cubic")
  with pytest.raises(ValueError, match="sigma is 0"):
    detection.soft_nms(np.zeros((1, 4)), np.ones(1), sigma=0)
