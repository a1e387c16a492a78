"""MTCNN with the released weights on real photos: box by box as facenet-pytorch, and equivariant."""

import json

import jax
import numpy as np
import pytest
from mtcnn_boxes_golden import FILE, photo_files

from jaxface import detection
from jaxface.detection.mtcnn import Mtcnn, MtcnnConfig
from jaxface.detection.mtcnn_files import read_mtcnn
from jaxface.formats.images import decode_image


@pytest.fixture(scope="module")
def params(mtcnn_weights):
  return read_mtcnn(mtcnn_weights)[0]


@pytest.mark.real_data
def test_boxes_are_those_of_facenet_pytorch(face_data, params):
  golden = json.loads(FILE.read_text())
  files = photo_files(face_data / "photos")
  for name, found in zip(files, detection.detect(files.values(), Mtcnn(params, MtcnnConfig(border="crop", points_in="box")))):
    expected = golden[name]
    assert len(found) == len(expected["score"]), name
    for box, score, point in zip(expected["box"], expected["score"], expected["points"]):
      # scores that saturate at 1 are equal: the order may differ
      row = int(np.abs(found.box_n4 - box).max(-1).argmin())
      np.testing.assert_allclose(found.box_n4[row], box, atol=1e-2)
      np.testing.assert_allclose(found.point_n52[row], point, atol=1e-2)
      assert abs(found.score_n[row] - score) < 1e-4
  assert [len(golden[name]["score"]) > 0 for name in golden] == [True, True, True, False]


@pytest.mark.real_data
def test_moved_and_enlarged_photos_give_moved_and_enlarged_boxes(face_data, params):
  photo = decode_image(next(iter(photo_files(face_data / "photos").values())).read_bytes(), where="photo")[50:210, 40:200]
  detector = Mtcnn(params, MtcnnConfig(smallest=40))
  moved = np.zeros((256, 224, 3), np.uint8)
  moved[64:224, 32:192] = photo
  alone, other = detection.detect([photo, moved], detector)
  assert len(other) == len(alone) == 1
  # The levels of a larger photo have another rounding, and windows lie every two pixels of a level: the box is near, not equal.
  assert detection.iou(alone.box_n4 + np.float32([32, 64, 32, 64]), other.box_n4)[0, 0] > 0.8
  twice = np.repeat(np.repeat(photo, 2, 0), 2, 1)  # of the same levels, if the smallest face is twice as large too
  large = detection.detect([twice], Mtcnn(params, MtcnnConfig(smallest=80)))[0]
  assert len(large) == 1
  assert detection.iou(2 * alone.box_n4, large.box_n4)[0, 0] > 0.95
  np.testing.assert_allclose(large.point_n52, 2 * alone.point_n52, atol=4)


@pytest.mark.real_data
def test_points_are_where_they_are_in_the_mirrored_photo(face_data, params):
  """A point at x lies at width − x in the mirrored photo if (0, 0) is the corner of the first pixel; at width − 1 − x if it is its centre."""
  files = sorted((face_data / "photos" / "lfw_raw").rglob("*_0001.jpg"))[::160]
  photos = [decode_image(file.read_bytes(), where=file.name) for file in files]
  means = {}
  for points_in in ("crop", "box"):
    detector = Mtcnn(params, MtcnnConfig(smallest=60, points_in=points_in))
    found = detection.detect(photos + [np.ascontiguousarray(photo[:, ::-1]) for photo in photos], detector, devices=jax.local_devices()[:1])
    pairs = list(zip(found[: len(photos)], found[len(photos) :]))
    total = [
      (one.point_n52[0, :, 0] + other.point_n52[0, [1, 0, 2, 4, 3], 0] - 250).mean()
      for one, other in pairs if len(one) == len(other) == 1  # surely the same face
    ]
    assert len(total) >= 5
    means[points_in] = np.mean(total)
  assert abs(means["crop"]) < 0.5 and means["box"] < means["crop"] - 0.5
