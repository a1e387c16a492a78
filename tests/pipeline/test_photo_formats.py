"""Photos of any format, what is no photo, and real photos beside crops that others made."""

import json

import numpy as np
import pytest
from painted import PaintedDetector, photo, save
from PIL import Image

import jaxface
from jaxface.detection.mtcnn import Mtcnn, MtcnnConfig
from jaxface.detection.mtcnn_files import read_mtcnn
from jaxface.pipeline import find_faces


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "I;16", "P"])
def test_photos_of_any_mode_are_read(mode, tmp_path):
  image = Image.fromarray(photo(((30, 20, 0.8),)))
  if mode == "I;16":
    image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
  else:
    image = image.convert(mode)
  path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
  image.save(path)
  [found] = find_faces([path], detector=PaintedDetector())
  assert found.found >= 1 and found.faces[0].image_hwc.shape == (112, 112, 3)


def test_what_is_no_photo_gets_a_line_and_the_others_go_on(tmp_path):
  (tmp_path / "video.jpg").write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(100))
  (tmp_path / "empty.png").write_bytes(b"")
  save(tmp_path / "one.png", np.full((1, 1, 3), 20, np.uint8))
  save(tmp_path / "good.png", photo())
  paths = [tmp_path / name for name in ("video.jpg", "empty.png", "absent.png", "one.png", "good.png")]
  found = list(find_faces(paths, detector=PaintedDetector()))
  assert [bool(one.faces) for one in found] == [False] * 4 + [True]
  assert all(one.refused for one in found[:4]) and found[3].refused == "no face was found"
  assert found[0].refused.endswith("(112 bytes): no known format")  # the same in each run


@pytest.mark.real_data
def test_real_photos_are_aligned_like_the_given_crops(face_data, pretrained_onnx, tmp_path):
  """Embeddings of our crops of LFW photos beside those of crops that others made; strangers are far below."""
  weights = pretrained_onnx.parent / "mtcnn"
  if not weights.is_dir():
    pytest.skip(f"REAL DATA ABSENT: no weights of the detector at {weights}")
  detector = Mtcnn(read_mtcnn(weights)[0], MtcnnConfig(smallest=60))
  rows = [row["file"] for row in json.loads((face_data / "photos" / "lfw_raw.json").read_text()) if row["part"] == "folds12"][::200]
  found = list(find_faces([face_data / "photos" / "lfw_raw" / row for row in rows], which="central", detector=detector))
  assert all(one.faces for one in found)
  net = jaxface.inference.Model(jaxface.interop.import_onnx(pretrained_onnx, "mobilefacenet", preprocess="imagenet"))
  ours_nd = net.embed(np.stack([one.faces[0].image_hwc for one in found]), batch_size=8)
  given_nd = net.embed([face_data / "lfw_aligned112" / row for row in rows], batch_size=8)
  cosine_nn = ours_nd @ given_nd.T
  assert np.diag(cosine_nn).min() > 0.85 and cosine_nn[~np.eye(len(rows), dtype=bool)].max() < 0.5
