"""The detector of HOG and a linear SVM: canvases against loops, the map of values against single windows, and its training."""

import numpy as np
import pytest

from jaxface import detection
from jaxface.descriptors import hog
from jaxface.detection import (
  HogSvm,
  HogSvmConfig,
  HogSvmTraining,
  detect,
  iou,
  load_detector,
  read_detector,
  train_hog_svm,
)
from jaxface.detection.cell_pyramid import _weights, cell_canvases, draw_levels
from jaxface.detection.detector_data import empty_photos, read_crops
from jaxface.detection.hog_svm import crop_blocks
from jaxface.detection.hog_svm_training import _Empty
from jaxface.detection.photos import read_photo
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import decode_image, encode_jpeg
from jaxface.pipeline.api import train

CELL, SIDE = 4, 16


def slow_level(grey_hw, scale, rows, columns, margin):
  """A level with its margins: each pixel is the mean of the photo's, weighted by a triangle."""
  height, width = grey_hw.shape
  wide, found = max(1 / scale, 1), np.zeros((rows, columns))
  for row in range(rows):
    for column in range(columns):
      y = min(max((row - margin + 0.5) / scale - 0.5, 0), height - 1)
      x = min(max((column - margin + 0.5) / scale - 0.5, 0), width - 1)
      weight_hw = np.maximum(1 - abs(np.arange(height) - y) / wide, 0)[:, None] * np.maximum(1 - abs(np.arange(width) - x) / wide, 0)
      found[row, column] = (weight_hw * grey_hw).sum() / weight_hw.sum()
  return found


def some_detector(seed=0, **settings):
  draw, blocks = np.random.default_rng(seed), SIDE // CELL - 1
  params = {"kernel": draw.normal(0, 0.3, (blocks, blocks, 36)).astype(np.float32), "bias": np.float32([-0.2])}
  return HogSvm({"svm": params}, HogSvmConfig(**{"cell": CELL, "smallest": 12.0, "factor": 0.7, "threshold": 0.5, **settings}))


@pytest.mark.parametrize(("height", "width", "seed"), [(17, 30, 0), (28, 23, 1), (32, 32, 2)])
def test_levels_are_weighted_means_of_the_photo(height, width, seed):
  photo_hw = np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)
  (canvas,) = cell_canvases(32, 32, window=SIDE, cell=CELL, smallest=12.0, factor=0.7)
  got = draw_levels(photo_hw, canvas)
  for scale, (top, left, rows, columns) in zip(canvas.scales, canvas.place_l4):
    assert not top % CELL and not left % CELL
    np.testing.assert_allclose(got[top : top + rows, left : left + columns], slow_level(photo_hw, scale, rows, columns, CELL), rtol=1e-6, atol=0.51 / 256)


@pytest.mark.parametrize("scale", [0.07, 0.5, 0.83, 1.0, 1.7])
def test_shares_of_a_level_are_triangles_as_wide_as_its_pixels(scale):
  length, count, wide = 61, int(61 * scale) + 2 * CELL + 1, max(1 / scale, 1)
  centre_n = np.clip((np.arange(count) - CELL + 0.5) / scale - 0.5, 0, length - 1)
  slow_nm = np.maximum(1 - abs(np.arange(length) - centre_n[:, None]) / wide, 0)
  np.testing.assert_allclose(_weights(count, length, scale, CELL).toarray(), slow_nm / slow_nm.sum(1, keepdims=True), atol=1e-6)


def test_a_level_of_scale_one_is_the_photo():
  photo_hw = np.random.default_rng(0).uniform(0, 255, (24, 32)).astype(np.float32)
  canvas = cell_canvases(24, 32, window=SIDE, cell=CELL, smallest=SIDE, factor=0.5)[0]
  top, left = canvas.place_l4[0, :2] + CELL
  np.testing.assert_allclose(draw_levels(photo_hw, canvas)[top : top + 24, left : left + 32], photo_hw, atol=0.51 / 256)


def test_a_flat_photo_has_flat_levels():
  # HOG would normalise whatever differences rounding left.
  (canvas,) = cell_canvases(64, 64, window=SIDE, cell=CELL, smallest=13.0, factor=0.83)
  got = draw_levels(np.full((61, 57), 187, np.float32), canvas)
  for top, left, rows, columns in canvas.place_l4:
    assert (got[top : top + rows, left : left + columns] == 187).all()


def test_places_of_levels_do_not_overlap_and_large_photos_have_several_canvases(monkeypatch):
  monkeypatch.setattr("jaxface.detection.cell_pyramid.MOST_PIXELS", 3000)
  cell_canvases.cache_clear()
  canvases = cell_canvases(64, 48, window=SIDE, cell=CELL, smallest=12.0, factor=0.8)
  cell_canvases.cache_clear()
  assert len(canvases) > 1
  assert np.allclose(np.diff(np.log([scale for canvas in canvases for scale in canvas.scales])), np.log(0.8))
  for canvas in canvases:
    covered = np.zeros(canvas.size, int)
    for top, left, rows, columns in canvas.place_l4:
      covered[top : top + rows, left : left + columns] += 1
    assert covered.max() == 1


def test_values_of_the_map_are_those_of_single_windows():
  detector = some_detector()
  photo = np.random.default_rng(1).integers(0, 256, (27, 30, 3), np.uint8)
  image_bhwc, size_b2 = np.zeros((1, 32, 32, 3), np.uint8), np.array([[27, 30]])
  image_bhwc[0, :27, :30] = photo
  (canvas,), (margin_bk,) = detector.canvases(32, 32), detector.margins(image_bhwc, size_b2)
  grey_hw = photo @ np.array([0.299, 0.587, 0.114])
  kernel, bias = detector.params["svm"]["kernel"], detector.params["svm"]["bias"][0]
  seen, levels = 0, {}
  for (level, row, column), got in zip(canvas.window_k3, margin_bk[0]):
    scale = canvas.scales[level]
    if row * CELL + SIDE > int(27 * scale + 1e-6) or column * CELL + SIDE > int(30 * scale + 1e-6):
      assert got == -np.inf
      continue
    _, _, rows, columns = canvas.place_l4[level]
    level_hw = levels.setdefault(level, None)
    if level_hw is None:
      level_hw = levels[level] = slow_level(grey_hw, scale, rows, columns, CELL)
    part = level_hw[row * CELL : row * CELL + SIDE + 2 * CELL, column * CELL : column * CELL + SIDE + 2 * CELL]
    missing = [(0, SIDE + 2 * CELL - length) for length in part.shape]
    feature = np.asarray(hog(np.pad(part, missing, mode="edge")[None], cell=CELL))[0, 1:-1, 1:-1]
    assert got == pytest.approx(float((feature.reshape(kernel.shape) * kernel).sum() + bias), abs=2e-3)
    seen += 1
  assert seen > 10


def test_neither_batch_nor_padding_changes_the_faces():
  threshold = 0.4
  detector, draw = some_detector(threshold=threshold), np.random.default_rng(2)
  photos = [draw.integers(0, 256, (height, width, 3), np.uint8) for height, width in ((40, 33), (38, 40), (16, 11))]
  alone = [detect([photo], detector)[0] for photo in photos]
  for one, other in zip(alone, detect(photos, detector, batch_size=4)):
    np.testing.assert_allclose(one.box_n4, other.box_n4, atol=1e-3)
    np.testing.assert_allclose(one.score_n, other.score_n, atol=1e-4)
    assert one.size == other.size and (one.score_n >= threshold).all() and one.point_n52 is None
  assert len(alone[0]) and not len(alone[2])
  x0, y0, x1, y1 = alone[0].box_n4.T
  assert (x0 >= 0).all() and (y0 >= 0).all() and (x1 <= 33 + 1e-3).all() and (y1 <= 40 + 1e-3).all()


def pattern(draw, count):
  """Crops with a bright square ring, in noise."""
  crop_nhw = draw.integers(0, 60, (count, SIDE, SIDE))
  crop_nhw[:, 3:13, 3:13] += 150
  crop_nhw[:, 6:10, 6:10] -= 140
  return np.clip(crop_nhw, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
  """Crops of a pattern, and two photos without it."""
  folder, draw = tmp_path_factory.mktemp("hog"), np.random.default_rng(3)
  np.savez(folder / "crops.npz", faces=pattern(draw, 60), flat=np.zeros((2, 3)))
  (folder / "empty").mkdir()
  for number in range(2):
    image = draw.integers(0, 256, (48 // (1 + number), 52, 3), np.uint8).repeat(1 + number, 0)
    (folder / f"empty/{number}.jpg").write_bytes(encode_jpeg(image))
  return folder


SETTINGS = {"cell": CELL, "smallest": 14.0, "factor": 0.7, "windows": 60, "rounds": 1, "hardest": 8}


def test_training_finds_the_pattern_where_it_is(sets, tmp_path, capsys):
  given = {**SETTINGS, "faces": str(sets / "crops.npz"), "no_faces": str(sets / "empty"), "licence": "MIT"}
  (tmp_path / "mine.py").write_text('"""Mine."""\nfrom jaxface.detection import HogSvmExperiment\nEXPERIMENT = HogSvmExperiment()\n')
  result = train(tmp_path / "mine.py", tmp_path / "run", overrides=given)
  assert "crops: face 120, other" in str(result) and result.saved.licence == "MIT"
  assert "round 1: 120 faces" in capsys.readouterr().err
  saved = read_detector(tmp_path / "run/model")
  assert saved.settings == {"cell": CELL} and saved.params["svm"]["kernel"].shape == (3, 3, 36)
  draw = np.random.default_rng(4)
  photo = draw.integers(0, 60, (48, 52)).astype(np.uint8)
  photo[8:40, 12:44] = pattern(draw, 1)[0].repeat(2, 0).repeat(2, 1)
  found = detect([photo], load_detector(tmp_path / "run/model", smallest=14, factor=0.7))[0]
  assert iou(found.box_n4[:1], np.array([[12, 8, 44, 40]]))[0, 0] > 0.6
  again = train_hog_svm(read_crops(sets / "crops.npz", "faces"), empty_photos(sets / "empty"), HogSvmTraining(**SETTINGS))
  np.testing.assert_array_equal(again.params["svm"]["kernel"], saved.params["svm"]["kernel"])


def test_rounds_add_the_windows_with_the_largest_values_once(sets):
  detector = some_detector()
  photo = _Empty(empty_photos(sets / "empty")[0], detector)
  count, blocks = photo.count, SIDE // CELL - 1
  image_bhwc = np.zeros((1, 128, 128, 3), np.uint8)
  image_bhwc[0, :48, :52] = decode_image((sets / "empty/0.jpg").read_bytes(), where="")
  margin_n = np.concatenate([margin_bk[0] for margin_bk in detector.margins(image_bhwc, np.array([[48, 52]]))])
  kernel, bias = detector.params["svm"]["kernel"].ravel(), detector.params["svm"]["bias"][0]
  first, second = (photo.hardest(detector, 5, blocks) @ kernel + bias for _ in range(2))
  np.testing.assert_allclose(np.sort([*first, *second]), np.sort(margin_n)[-10:], atol=1e-3)
  assert first.min() >= second.max() - 1e-3 and photo.count == count - 10
  assert len(photo.random(10**6, blocks, np.random.default_rng(0))) == count - 10 and photo.count == 0
  assert len(photo.hardest(detector, 5, blocks)) == 0


def test_mistakes_are_named(sets, tmp_path, monkeypatch):
  faces, photos = read_crops(sets / "crops.npz", "faces"), empty_photos(sets / "empty")
  with pytest.raises(ValueError, match="16 pixels and cells 6"):
    train_hog_svm(faces, photos, HogSvmTraining(cell=6))
  with pytest.raises(ValueError, match="no window of 100 pixels"):
    train_hog_svm(faces, photos, HogSvmTraining(cell=4, smallest=100))
  with pytest.raises(DamagedData, match="has no array 'face'; it has faces, flat"):
    read_crops(sets / "crops.npz", "face")
  with pytest.raises(DamagedData, match="expected uint8"):
    read_crops(sets / "crops.npz", "flat")
  for settings, text in (({"cell": 0}, "cell is 0"), ({"smallest": 2}, "smallest is 2"), ({"threshold": 2}, "threshold is 2"), ({"factor": 1}, "factor is 1")):
    with pytest.raises(ValueError, match=text):
      HogSvmConfig(**settings)
  with pytest.raises(ValueError, match="penalty is 0"):
    HogSvmTraining(penalty=0)
  with pytest.raises(ValueError, match=r"kernel of shape \(2, 3\)"):
    HogSvm({"svm": {"kernel": np.zeros((2, 3)), "bias": np.zeros(1)}})
  with pytest.raises(ValueError, match="hogsvm has no released weights"):
    detection.import_detector(tmp_path, "hogsvm")
  monkeypatch.chdir(tmp_path)
  monkeypatch.delenv("JAXFACE_DETECTOR", raising=False)
  with pytest.raises(FileNotFoundError, match="`jaxface train hogsvm --workdir DIR` trains them"):
    load_detector("hogsvm")


@pytest.mark.real_data
def test_real_faces_and_windows_are_told_apart(face_data):
  face_nhw, photos = read_crops(face_data / "photos/caltech_faces_36x36.npz", "faces"), empty_photos(face_data / "photos/no_faces")
  assert face_nhw.shape == (6743, 36, 36) and len(photos) == 97
  saved = train_hog_svm(face_nhw[::20], photos[:4], HogSvmTraining(smallest=36, factor=0.7, windows=600, rounds=1, hardest=50))
  detector = HogSvm(saved.params, HogSvmConfig(smallest=36, factor=0.7))
  kernel, bias = saved.params["svm"]["kernel"], saved.params["svm"]["bias"][0]
  held_out = np.asarray(crop_blocks(face_nhw[7::40], 6)).reshape(-1, kernel.size) @ kernel.ravel() + bias
  assert (held_out > 0).mean() > 0.9
  values = []
  for photo in photos[4:6]:
    image_hwc = read_photo(photo.file)[0]
    values += [margin_bk[np.isfinite(margin_bk)] for margin_bk in detector.margins(image_hwc[None], np.array([image_hwc.shape[:2]]))]
  assert (np.concatenate(values) > 0).mean() < 0.1
