"""The walk through a folder: what it finds, in which order, and that all ignored entries are reported."""

import os

import pytest

from jaxface.data.folder import FolderSource
from jaxface.formats import walk as module
from jaxface.formats.packing import pack
from jaxface.formats.recordset import RecordSet
from jaxface.formats.sources import read_source
from jaxface.formats.walk import level_note, name_note, record_names, walk


def touch(root, *paths):
  for path in paths:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(b"")


def only(notes, word):
  found = [note for note in notes if word in note]
  assert len(found) == 1, notes
  return found[0]


def test_images_are_sorted_whatever_the_order_of_the_disk(tmp_path, monkeypatch):
  touch(tmp_path, "b/2.jpg", "b/1.PNG", "a/deep/deeper/x.webp", "a/y.jfif", "loose.jpg", "a-b/z.jpg")
  expected = ("a-b/z.jpg", "a/deep/deeper/x.webp", "a/y.jfif", "b/1.PNG", "b/2.jpg", "loose.jpg")
  assert walk(tmp_path).paths == expected
  real = os.scandir

  def backwards(path):
    return reversed(sorted(real(path), key=lambda entry: entry.name)) if path != tmp_path else real(path)

  monkeypatch.setattr(module.os, "scandir", backwards)
  assert walk(tmp_path).paths == expected
  assert walk(tmp_path).folders == ("a", "a-b", "b") and walk(tmp_path).notes == ()


def test_hidden_files_are_passed_over_and_counted(tmp_path):
  touch(tmp_path, "a/1.jpg", "a/._1.jpg", "a/.DS_Store", ".git/x.jpg", "@eaDir/a/1.jpg", "__MACOSX/a/1.jpg")
  found = walk(tmp_path)
  assert found.paths == ("a/1.jpg",) and found.folders == ("a",)
  assert found.notes == ("5 hidden files and folders (first: .git) are ignored.",)


def test_files_that_are_not_read_are_counted_by_suffix_photos_first(tmp_path):
  touch(tmp_path, "a/1.jpg", "a/x.txt", "a/y.txt", "a/z.TXT", "a/1.HEIC", "b/2.heic", "b/clip.mp4", "b/README")
  (note,) = walk(tmp_path).notes
  assert note == (
    "not read, since they have no image suffix: "
    ".heic: 2 files, first a/1.HEIC (convert to JPEG, for example: magick mogrify -format jpg '*.heic'); "
    ".mp4: 1 file, first b/clip.mp4 (extract frames, for example: ffmpeg -i CLIP.mp4 %04d.jpg); "
    ".txt: 3 files, first a/x.txt; no suffix: 1 file, first b/README."
  )


def test_linked_folders_are_followed_once_and_those_that_lead_out_are_named(tmp_path):
  root, other = tmp_path / "root", tmp_path / "other"
  touch(root, "a/1.jpg")
  touch(other, "1.jpg", "deep/2.jpg")
  (root / "b").symlink_to(other)
  (root / "c").symlink_to(other)
  (root / "d").symlink_to(root / "a")
  found = walk(root)
  assert found.paths == ("a/1.jpg", "b/1.jpg", "b/deep/2.jpg")
  assert only(found.notes, "followed") == f"1 linked folder (b -> {other}) is followed, 1 of them outside of {root}."
  again = only(found.notes, "ignored")
  assert again == f"2 linked folders (first: c -> {other}) are ignored: already read at their real path."


def test_links_that_lead_in_circles_end(tmp_path):
  root = tmp_path / "root"
  touch(root, "a/1.jpg")
  touch(tmp_path / "other", "2.jpg")
  (root / "a" / "up").symlink_to(root)
  (root / "a" / "itself").symlink_to("itself")
  (root / "b").symlink_to(tmp_path / "other")
  (tmp_path / "other" / "back").symlink_to(root)
  (tmp_path / "other" / "there").symlink_to(tmp_path / "other")
  found = walk(root)
  assert found.paths == ("a/1.jpg", "b/2.jpg")
  assert only(found.notes, "ignored").startswith("3 linked folders")
  (root / "c").symlink_to(tmp_path)  # a folder that root itself lies in
  assert walk(root).paths == ("a/1.jpg", "b/2.jpg")
  assert only(walk(root).notes, "ignored").startswith("5 linked folders")


def test_files_linked_out_of_the_folder_are_named(tmp_path):
  root = tmp_path / "root"
  touch(root, "a/1.jpg")
  touch(tmp_path, "secret.jpg")
  (root / "a" / "2.jpg").symlink_to(tmp_path / "secret.jpg")
  (root / "a" / "3.jpg").symlink_to(root / "a" / "1.jpg")
  found = walk(root)
  assert found.paths == ("a/1.jpg", "a/2.jpg", "a/3.jpg")
  assert found.notes == (f"1 image (a/2.jpg) is read through a link to outside of {root}.",)
  (tmp_path / "link").symlink_to(root)
  assert walk(tmp_path / "link").paths == found.paths


def test_a_folder_that_cannot_be_opened_is_named(tmp_path, monkeypatch):
  touch(tmp_path, "a/1.jpg", "closed/1.jpg")
  real = os.scandir

  def refuse(path):
    if str(path).endswith("closed"):
      raise PermissionError(13, "Permission denied")
    return real(path)

  monkeypatch.setattr(module.os, "scandir", refuse)
  found = walk(tmp_path)
  assert found.paths == ("a/1.jpg",)
  assert found.notes == ("1 folder (closed (Permission denied)) is skipped: cannot be opened.",)


def test_a_name_that_is_no_text_is_left_out_and_the_job_goes_on(make_folder):
  root = make_folder([2])
  try:
    with open(os.fsencode(root) + b"/person00/\xff.jpg", "wb"):
      pass
  except OSError:
    pytest.skip("this file system takes UTF-8 names only")
  source = read_source(root)
  assert [image.name for image in source.images] == ["person00/0000", "person00/0001"]
  assert "1 file ('person00/\\udcff.jpg') is skipped: the name is not UTF-8" in only(source.notes, "UTF-8")


def test_names_keep_a_suffix_only_where_they_must():
  assert record_names(["a/1.jpg", "a/2.jpg", "b/1.png"]) == ["a/1", "a/2", "b/1"]
  paths = ["a/1.jpg", "a/1.jpg.png", "a/1.png", "a/2.jpg"]
  assert record_names(paths) == ["a/1.jpg", "a/1.jpg.png", "a/1.png", "a/2"]
  assert name_note(paths, record_names(paths)) == [
    "3 images differ from another only in their suffix and keep it in their names (first: a/1.jpg)."
  ]
  assert name_note(["a/1.jpg"], ["a/1"]) == []


def test_a_root_one_level_too_high_is_warned_of(make_folder, tmp_path):
  for part in ("train", "test"):
    make_folder([2, 2, 2], name=f"set/{part}")
  notes = []
  manifest = pack(tmp_path / "set", tmp_path / "out", say=notes.append)
  assert manifest.num_identities == 2
  warning = only(notes, "warning")
  assert "only 2 identities (test, train) with 6 sub-folders of images" in warning
  assert f"give {tmp_path / 'set' / 'train'}" in warning
  assert warning in FolderSource(tmp_path / "set", size=(8, 8)).notes
  assert level_note(tmp_path, walk(tmp_path / "set" / "train").paths) == []
  many = [f"person{person}/day{day}/1.jpg" for person in range(11) for day in range(3)]
  assert level_note(tmp_path, many) == [] and len(level_note(tmp_path, many[:30])) == 1


def test_pack_and_embed_name_the_same_images_and_people(make_folder, tmp_path, make_jpeg):
  root = make_folder([2, 1, 2])
  (root / "person00" / "0000.png").write_bytes(make_jpeg(8))
  (root / "person01" / "day2").mkdir()
  (root / "person01" / "day2" / "0.jpg").write_bytes(make_jpeg(9))
  touch(root, "person00/._0000.jpg", "person02/x.heic", ".hidden/x.jpg")
  (tmp_path / "elsewhere").mkdir()
  (tmp_path / "elsewhere" / "1.jpg").write_bytes(make_jpeg(10))
  (root / "person03").symlink_to(tmp_path / "elsewhere")
  pack(root, tmp_path / "out")
  packed, folder = RecordSet.open(tmp_path / "out"), FolderSource(root, size=(8, 8))
  labels = dict(zip(packed.names(), packed.label_n.tolist()))
  assert labels == dict(zip(folder.names(), folder.label_n.tolist()))
  assert {"person00/0000.png", "person00/0000.jpg", "person03/1", "person01/day2/0"} <= set(labels)
  assert set(read_source(root).notes) == set(folder.notes) and len(folder.notes) == 4


def test_no_folder(tmp_path):
  (tmp_path / "x.jpg").write_bytes(b"")
  with pytest.raises(FileNotFoundError, match=r"x\.jpg: is a file, not a folder of images"):
    walk(tmp_path / "x.jpg")
  with pytest.raises(FileNotFoundError, match="no such folder"):
    walk(tmp_path / "absent")


@pytest.mark.real_data
def test_real_folders(face_data, tmp_path):
  orl = walk(face_data / "orl_faces")
  assert len(orl.paths) == 400 and len(orl.folders) == 40
  assert all(path.endswith(".pgm") for path in orl.paths)
  assert level_note(orl.root, orl.paths) == []
  (tmp_path / "sets").mkdir()
  for part in ("train", "test"):
    (tmp_path / "sets" / part).symlink_to(face_data / "orl_faces")
  assert walk(tmp_path / "sets").paths[0].startswith("test/s1/") and len(walk(tmp_path / "sets").paths) == 400
  manifest = pack(face_data / "orl_faces", tmp_path / "out")
  assert (manifest.num_records, manifest.num_identities, manifest.image_size) == (400, 40, (112, 92, 3))
