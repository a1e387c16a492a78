"""Photos of every kind: decoded, reduced, or named as damaged while the others go on; the command and its outputs."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from jaxface import detection
from jaxface.commands.main import main
from jaxface.detection.detections import Detections, no_faces
from jaxface.detection.photos import read_photo
from jaxface.detection.report import draw_faces, find_photos
from jaxface.formats.errors import DamagedData
from jaxface.formats.reduced import decode_reduced, shrink_image


class Bright:
  """A detector that finds the box around all pixels of a photo that are not black."""

  name, points, params = "bright", False, {}

  def __init__(self):
    self.batches = []

  def detect_batch(self, image_bhwc, size_b2, device=None):
    self.batches.append(image_bhwc.shape)
    found = []
    for image, (height, width) in zip(image_bhwc, size_b2):
      y, x = np.nonzero(image[:height, :width].max(-1) > 40)
      box = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], np.float32) if len(y) else np.zeros((0, 4), np.float32)
      found.append(Detections(box, np.ones(len(box), np.float32), None, (int(height), int(width))))
    return found


def spot(height=60, width=80, box=(20, 10, 50, 40)):
  image = np.zeros((height, width, 3), np.uint8)
  image[box[1] : box[3], box[0] : box[2]] = 200
  return image


def saved(image, kind, **options):
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def kinds_of_files():
  colour, grey = Image.fromarray(spot()), Image.fromarray(spot()[..., 0])
  alpha = colour.convert("RGBA")
  deep = Image.fromarray(spot()[..., 0].astype(np.uint16) * 257)
  turned = Image.Exif()
  turned[0x0112] = 6  # shown after a quarter turn
  return {
    "colour": saved(colour, "PNG"), "grey": saved(grey, "JPEG"), "cmyk": saved(colour.convert("CMYK"), "JPEG"),
    "alpha": saved(alpha, "PNG"), "deep": saved(deep, "PNG"), "palette": saved(colour.convert("P"), "GIF"),
    "animation": saved(colour, "GIF", save_all=True, append_images=[Image.new("RGB", colour.size, "white")]),
    "turned": saved(colour.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=turned, quality=95),
  }


def test_every_kind_of_file_is_read_as_the_eye_sees_it():
  files = kinds_of_files()
  for name, found in zip(files, detection.detect(files.values(), Bright())):
    assert found.size == (60, 80), name
    np.testing.assert_allclose(found.box_n4, [[20, 10, 50, 40]], atol=3, err_msg=name)


def test_damaged_photos_are_named_and_the_others_go_on(tmp_path):
  good = saved(Image.fromarray(spot()), "JPEG")
  (tmp_path / "cut.jpg").write_bytes(good[: len(good) // 2])
  (tmp_path / "empty.jpg").write_bytes(b"")
  (tmp_path / "good.jpg").write_bytes(good)
  photos = [tmp_path / name for name in ("cut.jpg", "empty.jpg", "good.jpg", "gone.jpg")]
  errors, done = {}, []
  found = detection.detect(photos, Bright(), on_damage=errors.__setitem__, done=done.append)
  assert [one is None for one in found] == [True, True, False, True]
  assert sorted(done) == [0, 1, 2, 3]
  for number, error in errors.items():
    assert photos[number].name in str(error) and "\n" not in str(error)
  with pytest.raises(DamagedData, match=r"cut\.jpg"):
    detection.detect(photos, Bright())


@pytest.mark.parametrize("array, message", [
  (np.zeros((4, 4, 4), np.uint8), r"photo 1: array of shape \(4, 4, 4\)"),
  (np.zeros((4, 4, 3), np.float32), "dtype float32"),
  (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
])
def test_arrays_that_are_no_photos_are_named(array, message):
  with pytest.raises(ValueError, match=message):
    detection.detect([spot(), array], Bright())


def test_large_photos_are_reduced_and_boxes_are_in_pixels_of_the_photo():
  image = spot(1200, 1600, (400, 200, 1000, 800))
  found = detection.detect([image, image[..., 0]], bright := Bright(), largest=200)
  assert all(shape[1] <= 160 and shape[2] <= 224 for shape in bright.batches)
  for one in found:
    assert one.size == (1200, 1600)
    np.testing.assert_allclose(one.box_n4, [[400, 200, 1000, 800]], atol=8)


def test_photos_of_twenty_thousand_pixels_are_decoded_at_a_fraction():
  wide = Image.new("L", (20_000, 3_300))
  wide.paste(220, (8000, 1000, 12000, 2000))
  image, size = decode_reduced(saved(wide, "JPEG"), 1000, where="wide")
  assert size == (3300, 20_000)
  assert max(image.shape) == 1000
  found = detection.detect([saved(wide, "JPEG")], Bright(), largest=1000)[0]
  np.testing.assert_allclose(found.box_n4, [[8000, 1000, 12000, 2000]], atol=40)
  with pytest.raises(DamagedData, match="huge progressive JPEG: 20000×3300 pixels, at most 64,000,000"):
    decode_reduced(saved(wide, "JPEG", progressive=True), 1000, where="wide")
  with pytest.raises(DamagedData, match="huge image: 20000×3300"):
    decode_reduced(saved(wide, "PNG"), 1000, where="wide")


def test_shrinking_keeps_the_mean():
  image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
  small = shrink_image(image, 40)
  assert small.shape == (30, 40, 3)
  # Pillow rounds after the columns and after the rows
  np.testing.assert_allclose(small, image.reshape(30, 3, 40, 3, 3).mean((1, 3)), atol=1)
  assert shrink_image(image, 120) is image


def test_batches_hold_one_class_and_the_rest_is_not_lost():
  detector = Bright()
  images = [spot(60, 80)] * 5 + [spot(200, 100)] * 2 + [spot(64, 80)]
  found = detection.detect(images, detector, batch_size=4)
  assert [len(one) for one in found] == [1] * 8
  assert {shape[0] for shape in detector.batches} == {4}
  assert len(detector.batches) == 3


def test_detections_as_plain_values():
  points = np.arange(10, dtype=np.float32).reshape(1, 5, 2)
  found = Detections(np.array([[1.234567, 2, 3, 4]], np.float32), np.array([0.9], np.float32), points, (5, 6))
  plain = found.to_json()
  assert plain["faces"][0]["box"] == [1.23, 2, 3, 4]
  assert plain["faces"][0]["points"][4] == [8, 9]
  assert no_faces((5, 6)).to_json() == {"height": 5, "width": 6, "faces": []}
  assert found.scaled(2, (10, 12)).box_n4[0, 3] == 8


def test_boxes_are_drawn_also_beyond_the_border():
  found = Detections(np.array([[-50, -50, 20, 20], [70, 70, 500, 500]], np.float32), np.ones(2, np.float32), None, (100, 100))
  drawn = np.asarray(Image.open(io.BytesIO(draw_faces(np.zeros((50, 50, 3), np.uint8), found))))
  assert drawn.shape == (50, 50, 3)
  assert drawn[5, 9:11, 1].max() > 100  # the right side of the first box


def test_the_command(random_params, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  monkeypatch.delenv("JAXFACE_DETECTOR", raising=False)
  saved_detector = detection.SavedDetector("mtcnn", {"smallest": 14, "thresholds": [0.55, 0.42, 0.28]}, random_params, {})
  detection.write_detector("models/mtcnn", saved_detector)
  (tmp_path / "in").mkdir()
  noise = np.random.default_rng(0).integers(0, 256, (11, 15, 3)).astype(np.uint8)
  Image.fromarray(np.kron(noise, np.ones((4, 4, 1), np.uint8))).save("in/a.png")
  (tmp_path / "in" / "b.jpg").write_text("no image")
  assert main(["detect", "in", "--json", "out.json", "--html", "out.html"]) == 0
  out = capsys.readouterr()
  assert "1 not read" in out.out and "not read: in/b.jpg" in out.err
  first, second = json.loads((tmp_path / "out.json").read_text())["photos"]
  assert first["photo"] == "in/a.png" and (first["height"], first["width"]) == (44, 60)
  assert len(first["faces"]) > 0 and len(first["faces"][0]["points"]) == 5
  assert "not an image" in second["error"]
  page = (tmp_path / "out.html").read_text()
  assert page.count("<img") == 1 and "b.jpg" in page
  assert main(["detect", "in/a.png", "--threshold", "1"]) == 0
  assert capsys.readouterr().out.startswith("in/a.png: 0 faces")
  assert main(["detect", "in/b.jpg"]) == 2
  assert main(["detect", "nowhere"]) == 2
  assert "nowhere: no such file or folder" in capsys.readouterr().err


def test_photos_of_folders(tmp_path):
  for name in ("b.jpg", "a.png", "notes.txt"):
    (tmp_path / name).write_text("")
  assert [file.name for file in find_photos([tmp_path, tmp_path / "b.jpg"])] == ["a.png", "b.jpg"]
  (tmp_path / "sub").mkdir()
  with pytest.raises(FileNotFoundError, match="no images in this folder"):
    find_photos([tmp_path / "sub"])


def test_read_photo_takes_arrays_paths_and_bytes(tmp_path):
  data = saved(Image.fromarray(spot()), "PNG")
  (tmp_path / "x.png").write_bytes(data)
  for image in (spot(), data, tmp_path / "x.png", str(tmp_path / "x.png")):
    np.testing.assert_array_equal(read_photo(image)[0], spot())
