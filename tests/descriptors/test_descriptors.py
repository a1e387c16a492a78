"""Dense local descriptors and VLAD against slow loops from their definitions."""

import numpy as np
import pytest

from jaxface.descriptors import DENSE_SIZE, bag_of_words, dense_descriptors, fit_words, vlad


def slow_descriptors(grey_hw, cell, step):
  height, width = grey_hw.shape
  edge = np.pad(grey_hw, 1, mode="edge")
  rows, columns = height // cell, width // cell
  cells = np.zeros((rows, columns, 8))
  for y in range(rows * cell):
    for x in range(columns * cell):
      dx, dy = edge[y + 1, x + 2] - edge[y + 1, x], edge[y + 2, x + 1] - edge[y, x + 1]
      turn = np.arctan2(dy, dx) * 8 / (2 * np.pi) % 8
      low = int(turn)
      cells[y // cell, x // cell, low % 8] += np.hypot(dx, dy) * (1 - (turn - low))
      cells[y // cell, x // cell, (low + 1) % 8] += np.hypot(dx, dy) * (turn - low)
  found = []
  for y in range(0, rows - 3, step):
    for x in range(0, columns - 3, step):
      one = cells[y : y + 4, x : x + 4].ravel()
      one = np.minimum(one / np.linalg.norm(one), 0.2)
      found.append(one / np.linalg.norm(one))
  return np.array(found)


def test_descriptors_against_a_loop():
  grey_nhw = np.random.default_rng(0).uniform(0, 255, (2, 18, 22))
  got = dense_descriptors(grey_nhw, cell=3, step=1)
  assert got.shape == (2, 3 * 4, DENSE_SIZE)
  for image, expected in zip(grey_nhw, got):
    np.testing.assert_allclose(expected, slow_descriptors(image, 3, 1), atol=2e-4)
  assert not dense_descriptors(np.full((1, 16, 16), 9.0)).any()
  np.testing.assert_allclose(dense_descriptors(3 * grey_nhw + 7, cell=3, step=1), got, atol=1e-4)
  with pytest.raises(ValueError, match="at least 16 pixels"):
    dense_descriptors(np.zeros((1, 15, 16)))


def test_vlad_against_a_loop_and_words_of_separate_clusters():
  generator = np.random.default_rng(1)
  word_kd, found_nrd = generator.normal(size=(3, 4)), generator.normal(size=(2, 9, 4))
  found_nrd[1, 0] = 0
  for one, got in zip(found_nrd, vlad(found_nrd, word_kd)):
    total = np.zeros((3, 4))
    for row in one[np.abs(one).max(1) > 0]:
      nearest = np.argmin(((row - word_kd) ** 2).sum(1))
      total[nearest] += row - word_kd[nearest]
    total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-6)
    np.testing.assert_allclose(got, (total / np.linalg.norm(total)).ravel(), atol=1e-5)
  assert not vlad(np.zeros((1, 5, 4)), word_kd).any()
  centre_kd = np.array([[0, 0], [10, 0], [0, 10]])
  words = fit_words(np.repeat(centre_kd, 20, 0) + generator.normal(size=(60, 2)) * 0.1, 3)
  np.testing.assert_allclose(sorted(words.tolist()), sorted(centre_kd.tolist()), atol=0.2)


def test_bags_of_words_against_a_loop():
  generator = np.random.default_rng(2)
  word_kd, found_nrd = generator.normal(size=(5, 4)), generator.normal(size=(3, 11, 4))
  found_nrd[1, :4] = 0
  found_nrd[2] = 0
  got = bag_of_words(found_nrd, word_kd)
  for one, counts in zip(found_nrd[:2], got):
    total = np.zeros(5)
    for row in one[np.abs(one).max(1) > 0]:
      total[np.argmin(((row - word_kd) ** 2).sum(1))] += 1
    np.testing.assert_allclose(counts, total / np.linalg.norm(total), atol=1e-6)
  assert not got[2].any()
  # The order of an image's descriptors and their number of repetitions do not matter.
  np.testing.assert_allclose(bag_of_words(np.concatenate([found_nrd, found_nrd[:, ::-1]], 1), word_kd), got, atol=1e-6)
