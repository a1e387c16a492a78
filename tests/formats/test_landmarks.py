"""Files of face points: formats by hand, round trips, damage."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.formats import AnnotatedFace, DamagedData, read_landmarks, read_pts, write_landmarks, write_pts

PTS = "version: 1\nn_points:  2\n{\n1.0 1.0\n30.5 12.25\n}\n"


def test_pts_count_from_one(tmp_path):
  path = tmp_path / "face.pts"
  path.write_text(PTS)
  np.testing.assert_array_equal(read_pts(path), [[0, 0], [29.5, 11.25]])
  write_pts(path, np.array([[0, 0], [29.5, 11.25]]))
  assert [line.split() for line in path.read_text().splitlines()[3:5]] == [["1.000000", "1.000000"], ["30.500000", "12.250000"]]


@given(st.integers(1, 70), st.integers(0, 10**6))
def test_points_survive_all_formats(tmp_path_factory, count, seed):
  folder = tmp_path_factory.mktemp("points")
  rng = np.random.default_rng(seed)
  faces = [AnnotatedFace(f"a/ü,{index // 2}.jpg", rng.uniform(-50, 4000, (count, 2))) for index in range(3)]
  write_pts(folder / "face.pts", faces[0].point_k2)
  np.testing.assert_allclose(read_pts(folder / "face.pts"), faces[0].point_k2, atol=1e-5)
  for name in ("faces.json", "faces.csv"):
    write_landmarks(folder / name, faces)
    back = read_landmarks(folder / name)
    assert [face.file for face in back] == [face.file for face in faces]
    for before, after in zip(faces, back):
      np.testing.assert_allclose(after.point_k2, before.point_k2, atol=1e-4)


def test_json_keeps_boxes_and_selects_a_set(tmp_path):
  path = tmp_path / "faces.json"
  face = AnnotatedFace("a.jpg", np.array([[1.5, 2]]), (0.0, 1.0, 9.0, 9.5), 0.75)
  write_landmarks(path, [face])
  assert read_landmarks(path)[0].box == face.box and read_landmarks(path)[0].score == 0.75
  path.write_text(json.dumps([{"file": "a.jpg", "faces": [{"points5": [[1, 2]]}, {"points68": [[3, 4], [5, 6]]}]}]))
  (found,) = read_landmarks(path, points="points68")
  np.testing.assert_array_equal(found.point_k2, [[3, 4], [5, 6]])


@pytest.mark.parametrize(
  "text, says",
  [
    (PTS.replace("2\n{", "3\n{"), "n_points is 3, but there are 2 lines"),
    (PTS.replace("30.5", "nan"), "not finite"),
    (PTS.replace("30.5", "x"), "not two numbers"),
    (PTS.replace("30.5 ", ""), "not two numbers"),
    (PTS[:20], "no points file"),
  ],
)
def test_damaged_pts_are_named(tmp_path, text, says):
  path = tmp_path / "face.pts"
  path.write_text(text)
  with pytest.raises(DamagedData, match=says) as caught:
    read_pts(path)
  assert "face.pts" in str(caught.value)


@pytest.mark.parametrize(
  "name, text, says",
  [
    ("f.json", "[", "no valid JSON"),
    ("f.json", "{}", "list of photos"),
    ("f.json", '[{"file": "a.jpg"}]', "photo 0"),
    ("f.json", '[{"file": "a.jpg", "faces": [{"points": [[1, "x"]]}]}]', r"photo 0 \(a.jpg\), face 0"),
    ("f.json", '[{"file": "a.jpg", "faces": [{"points": [[1, 2, 3]]}]}]', "should be a list of"),
    ("f.json", '[{"file": "a.jpg", "faces": [{"points": [[1, NaN]]}]}]', "not finite"),
    ("f.json", '[{"file": "a.jpg", "faces": [{"points": [[1, 2]], "box": [1, 2]}]}]', "box is"),
    ("f.csv", "name,x,y\n", "expected a header"),
    ("f.csv", "file,x0,y0\na.jpg,1\n", "line 2"),
    ("f.csv", "file,x0,y0\na.jpg,1,x\n", "no numbers"),
    ("f.csv", "file,x0,y0\na.jpg,1,inf\n", "not finite"),
  ],
)
def test_damaged_lists_are_named(tmp_path, name, text, says):
  path = tmp_path / name
  path.write_text(text)
  with pytest.raises(DamagedData, match=says):
    read_landmarks(path)


def test_what_cannot_be_written_is_named(tmp_path):
  face = AnnotatedFace("a.jpg", np.zeros((5, 2)))
  with pytest.raises(ValueError, match=r"\.json or \.csv"):
    write_landmarks(tmp_path / "f.txt", [face])
  with pytest.raises(ValueError, match="same number"):
    write_landmarks(tmp_path / "f.csv", [face, AnnotatedFace("b.jpg", np.zeros((6, 2)))])
  with pytest.raises(ValueError, match=r"a\.jpg: points"):
    write_landmarks(tmp_path / "f.json", [AnnotatedFace("a.jpg", np.full((5, 2), np.nan))])
  assert list(tmp_path.iterdir()) == []


@pytest.mark.real_data
def test_helen_is_read(face_data):
  faces = read_landmarks(face_data / "photos/helen_test.json", points="points68")
  assert len(faces) == 298 and all(face.point_k2.shape == (68, 2) for face in faces)
