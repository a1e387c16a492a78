"""A folder of images as a source."""


import numpy as np
import pytest
from PIL import Image

from jaxface.data.folder import FolderSource


@pytest.fixture
def folder(tmp_path):
  rng = np.random.default_rng(0)
  for person, name, side in (("b", "b_1.png", 8), ("a", "a_2.png", 10), ("a", "a_1.png", 8)):
    (tmp_path / person).mkdir(exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(tmp_path / person / name)
  (tmp_path / "a" / "notes.txt").write_text("no image")
  return tmp_path


def test_names_labels_and_pixels(folder):
  source = FolderSource(folder, size=(8, 8))
  assert source.names() == ["a/a_1", "a/a_2", "b/b_1"]
  assert source.label_n.tolist() == [0, 0, 1] and source.num_identities == 2
  out = np.empty((2, 8, 8, 3), np.uint8)
  assert source.read(np.array([1, 2]), out) == []
  np.testing.assert_array_equal(out[0], np.asarray(Image.open(folder / "a" / "a_2.png"))[1:9, 1:9])
  np.testing.assert_array_equal(out[1], np.asarray(Image.open(folder / "b" / "b_1.png")))


def test_what_cannot_be_read_is_named_with_its_row(folder):
  (folder / "b" / "b_0.jpg").write_bytes(b"\xff\xd8 not an image")
  source = FolderSource(folder, size=(10, 10))
  errors = source.read(np.arange(4), np.empty((4, 10, 10, 3), np.uint8))
  assert [error.row for error in errors] == [0, 2, 3]
  assert "8x8 pixels, the model takes 10x10" in str(errors[0]) and "b_0.jpg" in str(errors[1])


def test_images_taken_whole_have_the_size_of_the_first_that_can_be_read(folder):
  (folder / "a" / "a_0.jpg").write_bytes(b"\xff\xd8 not an image")
  source = FolderSource(folder, size=None)
  assert source.image_shape == (8, 8, 3)
  out = np.empty((4, 8, 8, 3), np.uint8)
  errors = source.read(np.arange(4), out)
  assert [error.row for error in errors] == [0, 2]
  assert "a_2.png" in str(errors[1]) and "image is 10x10 pixels" in str(errors[1]) and "8x8" in str(errors[1])
  np.testing.assert_array_equal(out[3], np.asarray(Image.open(folder / "b" / "b_1.png")))
  for file in folder.rglob("*.png"):
    file.unlink()
  with pytest.raises(ValueError, match="none of the 1 images"):
    FolderSource(folder, size=None)


@pytest.mark.parametrize(("name", "message"), [("nowhere", "no such folder"), ("empty", "no images below")])
def test_a_folder_without_images_is_refused(tmp_path, name, message):
  (tmp_path / "empty").mkdir()
  with pytest.raises((ValueError, FileNotFoundError), match=message):
    FolderSource(tmp_path / name, size=(8, 8))


def test_two_images_of_one_name_keep_their_suffixes(folder):
  (folder / "a" / "a_1.jpg").write_bytes((folder / "a" / "a_1.png").read_bytes())
  source = FolderSource(folder, size=(8, 8))
  assert source.names() == ["a/a_1.jpg", "a/a_1.png", "a/a_2", "b/b_1"]
  assert any("differ from another only in their suffix" in note for note in source.notes)


def test_one_image(folder):
  source = FolderSource(folder / "b" / "b_1.png", size=None)
  assert (source.names(), source.num_records, source.image_shape, source.notes) == (["b_1"], 1, (8, 8, 3), ())
  out = np.empty((1, 8, 8, 3), np.uint8)
  assert source.read(np.array([0]), out) == []
  np.testing.assert_array_equal(out[0], np.asarray(Image.open(folder / "b" / "b_1.png")))
  (folder / "face.heic").write_bytes(b"")
  with pytest.raises(ValueError, match=r"face\.heic: not an image by its suffix: convert to JPEG"):
    FolderSource(folder / "face.heic", size=None)


def test_a_file_that_may_not_be_read_is_named_with_its_row(folder, forbid_reading):
  forbid_reading("a_1.png")
  (folder / "b" / "gone.jpg").symlink_to(folder / "nothing")
  source = FolderSource(folder, size=(8, 8))
  errors = source.read(np.arange(4), np.empty((4, 8, 8, 3), np.uint8))
  assert [(error.row, error.what) for error in errors] == [
    (0, "cannot be read: Permission denied"), (3, "cannot be read: No such file or directory"),
  ]
