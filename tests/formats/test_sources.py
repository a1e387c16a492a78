"""Three layouts, and every way in which a list can be wrong."""

import pytest

from jaxface.formats.errors import UnsafePath
from jaxface.formats.sources import read_source


@pytest.fixture
def flat(tmp_path, make_jpeg):
  root = tmp_path / "flat"
  root.mkdir()
  for number in range(4):
    (root / f"{number:06d}.jpg").write_bytes(make_jpeg(number))
  return root


def listed(tmp_path, text: str):
  path = tmp_path / "list.txt"
  path.write_text(text, encoding="utf-8")
  return path


def test_folders(make_folder):
  root = make_folder([2, 1])
  (root / "person00" / "deep").mkdir()
  (root / "person00" / "deep" / "x.PNG").write_bytes(b"")
  (root / "person00" / "notes.txt").write_text("x")
  (root / ".hidden").mkdir()
  (root / "nobody").mkdir()
  (root / "loose.jpg").write_bytes(b"")
  source = read_source(root)
  assert [(image.path, image.identity, image.name) for image in source.images] == [
    ("person00/0000.jpg", "person00", "person00/0000"),
    ("person00/0001.jpg", "person00", "person00/0001"),
    ("person00/deep/x.PNG", "person00", "person00/deep/x"),
    ("person01/0000.jpg", "person01", "person01/0000"),
  ]
  assert source.notes == (
    f"1 images are in {root} itself, not in an identity's folder: ignored (is it --layout flat?).",
    "1 folders contain no image: ignored (first: nobody).",
    "not read, since they have no image suffix: .txt: 1 file, first person00/notes.txt.",
    "1 hidden file or folder (.hidden) is ignored.",
  )


def test_names_that_differ_in_their_suffix_alone_keep_it(make_folder):
  root = make_folder([1])
  (root / "person00" / "0000.png").write_bytes(b"")
  assert [image.name for image in read_source(root).images] == ["person00/0000.jpg", "person00/0000.png"]


def test_linked_folders_are_followed(make_folder, tmp_path):
  root = make_folder([2])
  (tmp_path / "some").mkdir()
  (tmp_path / "some" / "person00").symlink_to(root / "person00")
  assert len(read_source(tmp_path / "some").images) == 2


def test_stamp_changes_with_a_file(make_folder):
  root = make_folder([2])
  before = read_source(root).stamp()
  assert read_source(root).stamp() == before
  (root / "person00" / "0001.jpg").write_bytes(b"other")
  assert read_source(root).stamp() != before


def test_list_with_tabs_spaces_comments(flat, tmp_path):
  (flat / "with space.jpg").write_bytes(b"")
  text = "\ufeff# faces\n000000.jpg Ann\n\n000001.jpg\tBo Li\r\nwith space.jpg 17\n000000.jpg Ann\n"
  source = read_source(flat, "list", listed(tmp_path, text))
  assert [(image.name, image.identity) for image in source.images] == [
    ("000000", "Ann"),
    ("000001", "Bo Li"),
    ("with space", "17"),
  ]
  assert "1 lines" in source.notes[0]


def test_flat(flat, tmp_path):
  source = read_source(flat, "flat", listed(tmp_path, "000000.jpg 2880\n000002.jpg 17\n"))
  assert [image.identity for image in source.images] == ["2880", "17"]
  assert "2 images" in source.notes[0] and len(source.notes) == 1
  for name in ("a.heic", "._000000.jpg", "list.txt"):
    (flat / name).write_text("000000.jpg 2880\n")
  (flat / "folder.x").mkdir()
  notes = read_source(flat, "flat", flat / "list.txt").notes
  assert "3 images" in notes[0]
  assert notes[1].endswith(".heic: 1 file, first a.heic (convert to JPEG, for example: magick mogrify -format jpg '*.heic').")


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/secret.jpg", "out/secret.jpg"])
@pytest.mark.parametrize("layout", ["list", "flat"])
def test_a_list_that_points_outside_is_refused_by_line(flat, tmp_path, path, layout):
  (flat / "out").symlink_to(tmp_path)
  with pytest.raises(UnsafePath, match=r"list\.txt, line 2: .*secret\.jpg' leaves"):
    read_source(flat, layout, listed(tmp_path, f"000000.jpg 1\n{path} 2\n"))


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("000000.jpg\n", r"line 1: '000000\.jpg' should be a path and an identity"),
    ("a.jpg\tb\tc\n", "line 1.*separated by a tab"),
    ("000000.jpg 1\n000000.jpg 2\n", "line 2: '000000.jpg' is '2' here and '1' on line 1"),
    ("notes.txt 1\n", "not an image by its suffix; supported are"),
    ("face.HEIC 1\n", "not an image by its suffix: convert to JPEG, for example: magick .*; supported are"),
    ("", "no images"),
  ],
)
def test_wrong_lines_are_named(flat, tmp_path, text, message):
  with pytest.raises(ValueError, match=message):
    read_source(flat, "list", listed(tmp_path, text))


def test_wrong_use_is_named(flat, tmp_path, make_folder):
  with pytest.raises(FileNotFoundError, match="no such folder"):
    read_source(tmp_path / "absent")
  with pytest.raises(ValueError, match="folders, list, flat"):
    read_source(flat, "tree")
  with pytest.raises(ValueError, match="needs a list: --list FILE"):
    read_source(flat, "flat")
  with pytest.raises(ValueError, match="takes no list"):
    read_source(flat, "folders", listed(tmp_path, ""))
  with pytest.raises(ValueError, match=r"no images.*4 images are in.*--layout flat"):
    read_source(flat)
  with pytest.raises(ValueError, match="plain file name"):
    read_source(make_folder([1]), "flat", listed(tmp_path, "person00/0000.jpg 1\n"))
  (tmp_path / "empty").mkdir()
  with pytest.raises(ValueError, match="no images"):
    read_source(tmp_path / "empty")
  (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
  with pytest.raises(ValueError, match="UTF-8"):
    read_source(flat, "list", tmp_path / "binary")


def test_identities_that_a_table_cannot_hold_are_refused(make_folder):
  root = make_folder([1])
  (root / "person00").rename(root / "tab\there")
  with pytest.raises(ValueError, match="rename it"):
    read_source(root)
