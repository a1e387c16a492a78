"""Confusion matrix and accuracy of each class: against scikit-learn, and by hand."""

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from jaxface.evaluation import draw_confusion
from jaxface.evaluation.measures import confusion
from jaxface.evaluation.measures.confusion import class_accuracy, confusion_matrix
from jaxface.evaluation.measures.identification import search_gallery, top_n

rows = st.lists(st.tuples(st.integers(-2, 3), st.integers(-2, 4)), min_size=1, max_size=30)


def arrays(example):
  return np.array([label for label, _ in example]), np.array([predicted for _, predicted in example])


@given(rows)
def test_equals_scikit_learn(example):
  label_n, predicted_n = arrays(example)
  found = confusion_matrix(label_n, predicted_n)
  np.testing.assert_array_equal(found.label, np.unique(label_n))
  every = np.unique(np.append(label_n, predicted_n))
  if every.size > 1:  # scikit-learn warns of a single label
    expected = metrics.confusion_matrix(label_n, predicted_n, labels=every)
    known = np.isin(every, label_n)
    np.testing.assert_array_equal(found.samples, expected[np.ix_(known, known)])
  np.testing.assert_array_equal(found.samples.sum(1) + found.elsewhere, [(label_n == c).sum() for c in found.label])
  by_class = class_accuracy(label_n, predicted_n)
  assert by_class.accuracy == pytest.approx(metrics.accuracy_score(label_n, predicted_n), abs=1e-15)
  np.testing.assert_allclose(np.diag(found.share), by_class.per_class, atol=1e-15)
  recall_c = metrics.recall_score(label_n, predicted_n, labels=found.label, average=None, zero_division=0)
  np.testing.assert_allclose(by_class.per_class, recall_c, atol=1e-15)
  assert by_class.mean_per_class == pytest.approx(recall_c.mean(), abs=1e-15)


@given(rows)
def test_order_and_blocks_change_nothing(example):
  label_n, predicted_n = arrays(example)
  order = np.random.default_rng(0).permutation(len(example))
  found, moved = confusion_matrix(label_n, predicted_n), confusion_matrix(label_n[order], predicted_n[order])
  np.testing.assert_array_equal(moved.samples, found.samples)
  twice = confusion_matrix(np.tile(label_n, 2), np.tile(predicted_n, 2))
  np.testing.assert_array_equal(twice.samples, 2 * found.samples)
  np.testing.assert_array_equal(twice.elsewhere, 2 * found.elsewhere)


def test_by_hand_with_names():
  """Ann: right twice, once Bo. Bo: once Ann, once somebody else. Cy: right."""
  label_n = np.array(["Ann", "Ann", "Ann", "Bo", "Bo", "Cy"])
  predicted_n = np.array(["Ann", "Bo", "Ann", "Ann", "Zoe", "Cy"])
  found = confusion_matrix(label_n, predicted_n)
  assert found.label.tolist() == ["Ann", "Bo", "Cy"]
  np.testing.assert_array_equal(found.samples, [[2, 1, 0], [1, 0, 0], [0, 0, 1]])
  np.testing.assert_array_equal(found.elsewhere, [0, 1, 0])
  np.testing.assert_allclose(found.share, [[2 / 3, 1 / 3, 0], [1 / 2, 0, 0], [0, 0, 1]])
  assert found.most_confused(5) == [("Ann", "Bo", 1), ("Bo", "Ann", 1)]
  assert found.most_confused(1) == [("Ann", "Bo", 1)]
  by_class = class_accuracy(label_n, predicted_n)
  np.testing.assert_allclose(by_class.per_class, [2 / 3, 0, 1])
  assert by_class.accuracy == 0.5
  assert by_class.mean_per_class == pytest.approx(5 / 9, abs=1e-15)


def test_perfect_and_inverted():
  label_n = np.array([0, 0, 1])
  assert class_accuracy(label_n, label_n).mean_per_class == 1
  assert class_accuracy(label_n, 1 - label_n).mean_per_class == 0
  np.testing.assert_array_equal(confusion_matrix(label_n, 1 - label_n).samples, [[0, 2], [1, 0]])


def test_accuracy_is_top_1_of_scores_without_ties():
  rng = np.random.default_rng(0)
  score_nc, label_n = rng.normal(size=(300, 7)), rng.integers(0, 7, 300)
  rank_n = search_gallery(score_nc, label_n, np.arange(7)).rank
  assert class_accuracy(label_n, score_nc.argmax(1)).accuracy == top_n(rank_n, 1)


def test_table_and_picture_show_the_counts():
  found = confusion_matrix(np.array(["Ann", "Ann", "Bo", "Bo", "Bo"]), np.array(["Ann", "Bo", "Bo", "Bo", "Zoe"]))
  assert found.table().splitlines() == ["     Ann  Bo  else", "Ann    1   1     ·", " Bo    ·   2     1"]
  whole = confusion_matrix(np.array([0, 0, 1]), np.array([0, 0, 1]))
  assert whole.table().splitlines() == ["   0  1", "0  2  ·", "1  ·  1"]
  svg = draw_confusion(found, "5 < 6 samples")
  assert svg == draw_confusion(found, "5 < 6 samples") != draw_confusion(whole)
  texts = [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
  assert {"Ann", "Bo", "5 < 6 samples", "predicted class"} <= set(texts)
  # The numbers of the three cells that are not empty, beside the labels of the colour bar, which have a point.
  assert sorted(text for text in texts if text.isdigit()) == ["1", "1", "2"]


def test_wrong_input(monkeypatch):
  label_n = np.array([0, 0, 1])
  for measure in (class_accuracy, confusion_matrix):
    with pytest.raises(ValueError, match="2 predicted labels: there must be 3"):
      measure(label_n, label_n[:2])
    with pytest.raises(ValueError, match=r"true labels \(0,\): they must be \[N\], at least one"):
      measure(np.empty(0, int), np.empty(0, int))
    with pytest.raises(ValueError, match="class 2 has no samples: its accuracy is undefined; leave it out"):
      measure(label_n, label_n, classes=np.arange(3))
    with pytest.raises(ValueError, match="sample 2 is of class 1, which is none of the 1 classes"):
      measure(label_n, label_n, classes=np.array([0]))
    with pytest.raises(ValueError, match="they must be of one kind"):
      measure(label_n, np.array(["0", "0", "1"]))
  monkeypatch.setattr(confusion, "MOST_CLASSES", 1)
  with pytest.raises(ValueError, match="a confusion matrix of 2 classes takes 0 GiB: at most 1 classes"):
    confusion_matrix(label_n, label_n)
