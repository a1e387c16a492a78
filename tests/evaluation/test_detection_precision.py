"""Average precision of detectors: cases by hand, laws, and the readers of labelled photos."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface import evaluation
from jaxface.formats.errors import DamagedData, UnsafePath

seeds = st.integers(0, 2**32 - 1)
FACE, OTHER = [0.0, 0, 10, 10], [50.0, 50, 60, 60]


def test_matching_by_hand():
  box = np.array([[0, 0, 10, 8], [0, 0, 10, 10], [100, 0, 110, 10], [50, 50, 60, 60], [0, 0, 10, 4.9]])
  score = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
  truth = np.array([FACE, OTHER])
  # the second is a duplicate, the third overlaps nothing, the last overlaps 0.49 only
  assert evaluation.match_boxes(box, score, truth).tolist() == [1, 0, 0, 1, 0]
  assert evaluation.match_boxes(box, score, truth, np.array([True, False])).tolist() == [1, 0, 0, -1, 0]
  assert evaluation.match_boxes(box, score, truth, np.array([False, True])).tolist() == [-1, -1, 0, 1, 0]
  assert evaluation.match_boxes(box, score, truth, least=0.85).tolist() == [0, 1, 0, 1, 0]
  # with the last pixels inside: 11·5.9 of 11·11, or 0.54
  assert evaluation.match_boxes(np.array([[0, 0, 10, 4.9]]), np.ones(1), truth, inclusive=True).tolist() == [1]
  assert evaluation.match_boxes(box, score, np.zeros((0, 4))).tolist() == [0] * 5
  assert evaluation.match_boxes(box[:0], score[:0], truth).tolist() == []


def test_average_precision_by_hand():
  # true, false, true of 4 faces: precision 1, 1/2, 2/3 at recall 1/4, 1/4, 2/4
  curve = evaluation.precision_recall([np.array([0.9, 0.7]), np.array([0.8])], [np.array([1, 1]), np.array([0])], 4)
  np.testing.assert_allclose(curve.precision_k, [1, 1 / 2, 2 / 3])
  np.testing.assert_allclose(curve.recall_k, [1 / 4, 1 / 4, 1 / 2])
  assert math.isclose(curve.average, 1 / 4 * 1 + 1 / 4 * 2 / 3)
  assert (curve.recall, curve.faces, curve.boxes) == (0.5, 4, 3)
  # a false box with the score of a true one: one point of the curve, in any order
  for kinds in ([1, 0], [0, 1]):
    tied = evaluation.precision_recall([np.array([0.5, 0.5])], [np.array(kinds)], 1)
    assert (tied.precision_k.tolist(), tied.average) == ([0.5], 0.5)
  assert evaluation.precision_recall([], [], 3).average == 0
  assert math.isnan(evaluation.precision_recall([], [], 0).average)


@given(st.integers(1, 12), st.integers(1, 6), seeds)
def test_laws(boxes, faces, seed):
  rng = np.random.default_rng(seed)
  low = rng.uniform(0, 20, (boxes + faces, 2))
  box = np.concatenate([low, low + rng.uniform(5, 20, low.shape)], -1)
  box, truth, score = box[:boxes], box[boxes:], rng.permutation(boxes) / boxes
  counted = rng.random(faces) < 0.7
  kind = evaluation.match_boxes(box, score, truth, counted)
  assert (kind == 1).sum() <= counted.sum()
  turn = rng.permutation(boxes)
  assert (evaluation.match_boxes(box[turn], score[turn], truth, counted) == kind[turn]).all()
  assert (evaluation.match_boxes(3 * box + 5, score, 3 * truth + 5, counted) == kind).all()
  curve = evaluation.precision_recall([score], [kind], int(counted.sum()))
  assert 0 <= (curve.average if counted.any() else 0) <= 1
  same = evaluation.precision_recall([score**3], [kind], int(counted.sum()))  # only the order of the scores counts
  np.testing.assert_array_equal(same.precision_k, curve.precision_k)
  perfect = evaluation.precision_recall([np.ones(faces)], [evaluation.match_boxes(truth, np.ones(faces), truth)], faces)
  distinct = (evaluation.match_boxes(truth, np.arange(faces, 0, -1), truth) == 1).all()
  assert not distinct or perfect.average == 1


def test_point_errors_by_hand():
  truth = np.array([[[0, 0], [10, 0], [5, 5], [2, 8], [8, 8]]], float)
  assert evaluation.point_errors(truth + np.array([3, 4]), truth).tolist() == [0.5]
  with pytest.raises(ValueError, match="face 0: both eyes"):
    evaluation.point_errors(truth * 0, truth * 0)


def test_wrong_arguments_are_named():
  with pytest.raises(ValueError, match="1 boxes with 2 scores"):
    evaluation.match_boxes(np.array([FACE]), np.ones(2), np.array([FACE]))
  with pytest.raises(ValueError, match="score_n has NaN in row 0"):
    evaluation.match_boxes(np.array([FACE]), np.array([np.nan]), np.array([FACE]))
  with pytest.raises(ValueError, match="2 faces were found, but there are 1"):
    evaluation.precision_recall([np.ones(2)], [np.ones(2, int)], 1)


WIDER = "a/x.jpg\n2\n1 2 10 20 0 0 0 0 0 0\n5 6 7 8 0 0 0 0 0 0 \na/y.jpg\n0\n0 0 0 0 0 0 0 0 0 0 \n"
SUBSETS = {"a/x.jpg": {"easy": [1], "hard": [0, 1]}, "a/y.jpg": {"easy": [], "hard": []}}


def wider(folder, text=WIDER, subsets=SUBSETS):
  (folder / "bbx_gt.txt").write_text(text)
  (folder / "subsets.json").write_text(json.dumps(subsets))
  return evaluation.read_wider(folder)


def test_wider_is_read(tmp_path):
  first, second = wider(tmp_path)
  assert first.name == "a/x.jpg"
  assert first.box_n4.tolist() == [[1, 2, 11, 22], [5, 6, 12, 14]]
  assert {name: mask.tolist() for name, mask in first.subsets.items()} == {"easy": [False, True], "hard": [True, True]}
  assert second.box_n4.shape == (0, 4)


@pytest.mark.parametrize("text, message", [
  (WIDER.replace("\n2\n", "\ntwo\n"), "line 2: 'two', expected 1 number"),
  (WIDER.replace("5 6 7 8", "5 6 nan 8"), "line 4: "),
  (WIDER[:40], "line 4: "),
  (WIDER + WIDER, "'a/x.jpg' occurs twice"),
])
def test_damaged_lists_are_named(tmp_path, text, message):
  with pytest.raises(DamagedData, match=message):
    wider(tmp_path, text)


def test_subsets_belong_to_the_photos(tmp_path):
  with pytest.raises(DamagedData, match=r"'a/x.jpg', 'easy': faces \[2\], it has 0 to 1"):
    wider(tmp_path, subsets={**SUBSETS, "a/x.jpg": {"easy": [2]}})
  with pytest.raises(DamagedData, match=r"'b\.jpg' is in one of them"):
    wider(tmp_path, subsets={**SUBSETS, "b.jpg": {}})
  with pytest.raises(UnsafePath):
    wider(tmp_path, WIDER.replace("a/x", "../x"))


def test_a_box_list_is_read(tmp_path):
  file = tmp_path / "test_images_gt.txt"
  file.write_text("b.jpg 1 2 3 4\na.jpg 5 6 7 8\nb.jpg 2 3 4 5\n")
  first, second = evaluation.read_box_list(tmp_path)
  assert (first.name, second.box_n4.tolist()) == ("a.jpg", [[1, 2, 3, 4], [2, 3, 4, 5]])
  for line in ("b.jpg 3 2 1 4", "b.jpg 1 2 3", "b.jpg 1 2 3 x"):
    file.write_text(line)
    with pytest.raises(DamagedData, match="line 1"):
      evaluation.read_box_list(tmp_path)


@pytest.mark.real_data
def test_the_sets_have_their_faces(face_data):
  photos = evaluation.read_wider(face_data / "photos" / "wider_dev")
  assert (len(photos), sum(len(photo.box_n4) for photo in photos)) == (183, 1272)
  assert sum(len(photo.box_n4) for photo in evaluation.read_box_list(face_data / "photos" / "cmu_mit")) == 511
