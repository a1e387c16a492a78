"""Pair lists: what LFW's files mean, and that every line that does not fit is named."""

from pathlib import Path

import numpy as np
import pytest

from jaxface.formats.errors import DamagedData
from jaxface.formats.pairs import Pairs, read_lfw_pairs, read_pairs, read_people, write_pairs

VIEW_2 = "2\t1\nAnn\t1\t4\nAnn\t1\tBob\t2\nCy_D\t2\t10\nBob\t1\tCy_D\t3\n"
VIEW_1 = "Ann\t1\t4\nBob\t1\t2\nAnn\t1\tBob\t2\nBob\t2\tAnn\t4\n"


@pytest.fixture
def written(tmp_path: Path):
  def write(text: str | bytes) -> Path:
    path = tmp_path / "list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path

  return write


def test_view_2_by_hand(written):
  pairs = read_lfw_pairs(written(VIEW_2))
  assert pairs.left == ["Ann/Ann_0001", "Ann/Ann_0001", "Cy_D/Cy_D_0002", "Bob/Bob_0001"]
  assert pairs.right == ["Ann/Ann_0004", "Bob/Bob_0002", "Cy_D/Cy_D_0010", "Cy_D/Cy_D_0003"]
  np.testing.assert_array_equal(pairs.same, [True, False, True, False])
  np.testing.assert_array_equal(pairs.fold, [0, 0, 1, 1])
  assert pairs.where(2).endswith("list.txt, line 4")


@pytest.mark.parametrize(
  "text", [VIEW_1, "2\n" + VIEW_1, VIEW_1.replace("\n", "\r\n"), VIEW_1.replace("\t", "  ") + "\n\n"]
)
def test_view_1_with_and_without_count_and_with_other_blanks(written, text):
  pairs = read_pairs(written(text))
  np.testing.assert_array_equal(pairs.same, [True, True, False, False])
  np.testing.assert_array_equal(pairs.fold, [0, 0, 0, 0])
  assert pairs.left[3] == "Bob/Bob_0002"


def test_byte_order_mark_and_names_beyond_ascii(written):
  pairs = read_pairs(written(b"\xef\xbb\xbf" + "Zoë\t1\t2\nZoë\t1\tAnn\t1\n".encode()))
  assert pairs.left[0] == "Zoë/Zoë_0001"


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", r"line 1: no pairs"),
    ("2\t1\n", r"line 1: no pairs"),
    ("2\t1\nAnn\t1\t4\nAnn\t1\tBob\t2\n", r"line 3: 2 pairs, but the header 2 1 means 2 × \(1 same"),
    ("1\t1\nAnn\t1\tBob\t2\nAnn\t1\t4\n", r"line 2: expected a pair of the same person"),
    ("1\t1\nAnn\t1\t2\nAnn\t1\t4\n", r"line 3: expected a pair of different people"),
    ("Ann\t1\n", r"line 1: 2 fields; expected `name n1 n2`"),
    ("Ann\t1\t2\nAnn\tx\t2\n", r"line 2: 'x' where a whole number from 1"),
    ("Ann\t0\t2\n", r"line 1: '0' where a whole number from 1"),
    ("Ann\t1\tAnn\t2\n", r"line 1: a pair of different people names 'Ann' twice"),
    ("../etc\t1\t2\n", r"line 1: '../etc' is not a valid person name"),
    ("..\t1\t2\n", r"line 1: '..' is not a valid person name"),
    (b"Ann\t1\t2\nB\xff\t1\t2\n", r"line 2: byte 1 is not UTF-8"),
    ("99999999999\t1\nAnn\t1\t2\n", r"line 1: '99999999999' where a whole number"),
  ],
)
def test_a_line_that_does_not_fit_is_named(written, text, message):
  path = written(text)
  with pytest.raises(DamagedData, match=message) as caught:
    read_lfw_pairs(path)
  assert caught.value.file == str(path)


def test_plain_table_returns_what_was_written(tmp_path):
  pairs = Pairs(["a/1", "b c/2"], ["a/2", "d/1"], np.array([True, False]), np.array([0, 3]))
  path = tmp_path / "own.tsv"
  write_pairs(path, pairs)
  back = read_pairs(path)
  assert (back.left, back.right) == (pairs.left, pairs.right)
  np.testing.assert_array_equal(back.same, pairs.same)
  np.testing.assert_array_equal(back.fold, pairs.fold)
  assert back.where(1) == f"{path}, line 3"


@pytest.mark.parametrize("row", ["a\tb\t2\t0", "a\tb\t1", "a\tb\t1\t-1", "a\tb\tyes\t0"])
def test_plain_table_names_a_bad_row(written, row):
  with pytest.raises(DamagedData, match=r"line 3: .*expected `left right same fold`"):
    read_pairs(written(f"left\tright\tsame\tfold\na\tb\t1\t0\n{row}\n"))


TABLE = [("a/1.jpg", "b/2.jpg", False, 0), ("c d/1.jpg", "c d/2.jpg", True, 1), ("e,f/1", "e,f/2", True, 1)]


def joined(mark: str, rows, header: str = "", fold: bool = True) -> str:
  quoted = [[f'"{name}"' if mark in name else name for name in row[:2]] + [str(int(row[2])), str(row[3])] for row in rows]
  return header + "\n".join(mark.join(row if fold else row[:3]) for row in quoted) + "\n"


@pytest.mark.parametrize("mark", ["\t", ",", ";"])
@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("header", ["", "left{0}right{0}same", "Path 1{0}path_2{0}is_same?", "image1{0}image2{0}label"])
def test_tables_with_and_without_header_and_fold(written, mark, fold, header):
  head = header.format(mark) + (f"{mark}fold" if fold else "") + "\n" if header else ""
  pairs = read_pairs(written("# our pairs\n\n" + joined(mark, TABLE, head, fold) + "# the end\n"))
  assert pairs.left == [row[0] for row in TABLE] and pairs.right == [row[1] for row in TABLE]
  assert pairs.same.tolist() == [row[2] for row in TABLE]
  assert pairs.fold.tolist() == ([row[3] for row in TABLE] if fold else [0, 0, 0])
  assert pairs.where(0).endswith(f"line {4 if header else 3}")


def test_blanks_part_columns_where_no_name_has_one(written):
  pairs = read_pairs(written("a/1.jpg  b/2.jpg 0\ne,f/1.jpg e,f/2.jpg 1\n"))
  assert pairs.left == ["a/1.jpg", "e,f/1.jpg"] and pairs.right == ["b/2.jpg", "e,f/2.jpg"]
  assert pairs.same.tolist() == [False, True]
  with pytest.raises(DamagedData, match=r"line 2: .*separated by tabs, commas, semicolons, or blanks if no name contains one"):
    read_pairs(written("a/1.jpg b/2.jpg 0\nmy face.jpg your face.jpg 1\n"))


def test_columns_of_a_header_come_in_any_order_among_others(written):
  pairs = read_pairs(written("id,match,file1,score,file2\n7,True,a,0.5,b\n8,false,c,0.1,d\n9,-1,e,,f\n"))
  assert (pairs.left, pairs.right, pairs.same.tolist()) == (["a", "c", "e"], ["b", "d", "f"], [True, False, False])


def test_ytf_by_hand(written):
  pairs = read_pairs(written("1, 1, Ann/1, Ann/5, 1\n1, 2, Ann/0, Bob/2, 0\n2, 3, Cy/0, Bob/1, 0\n"))
  assert pairs.left == ["Ann/1", "Ann/0", "Cy/0"] and pairs.right == ["Ann/5", "Bob/2", "Bob/1"]
  assert pairs.same.tolist() == [True, False, False] and pairs.fold.tolist() == [1, 1, 2]


def test_numbers_that_could_be_of_either_form_are_refused(written):
  assert read_pairs(written("Ann\t2\t1\n")).right == ["Ann/Ann_0001"]
  assert read_pairs(written("12 17 0\n13 14 1\nx y 1\n")).left == ["12", "13", "x"]
  with pytest.raises(DamagedData, match=r"'12 17 1' could be LFW's .* begin the list with the header `left right same`"):
    read_pairs(written("12 17 1\n13 14 1\n"))
  assert read_pairs(written("left right same\n12 17 1\n13 14 1\n")).right == ["17", "14"]


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("1006,586\n1007,482\n", r"line 1: '1006,586' has fewer than three columns\. a list of pairs has lines of these forms: `left right"),
    ("imgA,imgB,gt\na,b,1\n", r"line 1: \['imgA', 'imgB', 'gt'\]: expected `left .* header of names such as left, path1, right"),
    ("1,a/1.jpg,b/1.jpg\n0,a/1.jpg,c/1.jpg\n", r"line 1: .*a list of pairs has lines of these forms"),
    ("a,b,1\na,b,7\nc,d,0\n", r"line 2: \['a', 'b', '7'\]: expected"),
    ("a,b,1\na,,1\n", r"line 2: .*a name is empty"),
    ("a,b,1,0\na,b,1\n", r"line 2: .*expected"),
    ("# nothing\n\n", "line 1: no pairs: a list of pairs has lines"),
    ("left,right,same\n", "line 1: no pairs"),
  ],
)
def test_what_fits_no_form_is_named_with_the_forms(written, text, message):
  with pytest.raises(DamagedData, match=message):
    read_pairs(written(text))


@pytest.mark.parametrize("name", ["", "a\tb", "a\n", " a", "#a"])
def test_a_name_that_would_break_the_table_is_refused_and_nothing_is_left(tmp_path, name):
  path = tmp_path / "own.tsv"
  with pytest.raises(ValueError, match="cannot be written to a tab-separated list"):
    write_pairs(path, Pairs([name], ["b"], np.array([True]), np.array([0])))
  assert not list(tmp_path.iterdir())


def test_lengths_must_agree():
  with pytest.raises(ValueError, match="left 1, right 2, same 1, fold 1"):
    Pairs(["a"], ["b", "c"], np.array([True]), np.array([0]))


def test_people_by_hand(written):
  assert read_people(written("2\n1\nAnn\t3\n2\nBob\t1\nCy\t2\n")) == [{"Ann": 3}, {"Bob": 1, "Cy": 2}]
  assert read_people(written("2\nAnn\t3\nBob\t1\n"), folds=False) == [{"Ann": 3, "Bob": 1}]
  with pytest.raises(DamagedData, match="the last with 2 people"):
    read_people(written("3\nAnn\t3\nBob\t1\n"), folds=False)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("Ann\t1\n", "line 1: the first line must be the number of folds"),
    ("2\n1\nAnn\t3\nBob\t1\n1\nCy\t2\n", "line 5: fold 0 has 2 people, expected 1"),
    ("1\n2\nAnn\t3\nAnn\t1\n", "line 4: .*expected a new `name images`"),
    ("2\n1\nAnn\t3\n", "ends after 1 folds"),
    ("1\nAnn\t3\n", "line 2: .*size of a fold before it"),
    ("1\n1\nAnn\tmany\n", "line 3: 'many' where a whole number"),
  ],
)
def test_people_names_what_does_not_fit(written, text, message):
  with pytest.raises(DamagedData, match=message):
    read_people(written(text))


@pytest.mark.real_data
def test_ytf_protocol_file(face_data):
  pairs = read_pairs(face_data / "protocols" / "ytf_splits.txt")
  assert len(pairs) == 5000 and pairs.same.sum() == 2500
  np.testing.assert_array_equal(np.unique(pairs.fold, return_counts=True), [np.arange(1, 11), [500] * 10])
  same_person = [left.split("/")[0] == right.split("/")[0] for left, right in zip(pairs.left, pairs.right)]
  np.testing.assert_array_equal(pairs.same, same_person)


@pytest.mark.real_data
def test_cfp_lists_of_numbers_are_refused_with_the_forms(face_data):
  for name in ("Split/FP/01/same.txt", "Pair_list_F.txt"):
    with pytest.raises(DamagedData, match=r"line 1: .*has fewer than three columns\. a list of pairs has lines of these forms"):
      read_pairs(face_data / "protocols" / "cfp" / name)


@pytest.mark.real_data
def test_lfw_lists_written_as_a_table_of_files(face_data, tmp_path):
  view_2 = read_lfw_pairs(face_data / "protocols" / "pairs.txt")
  lines = [f"{left}.jpg,{right}.jpg,{int(same)}" for left, right, same in zip(view_2.left, view_2.right, view_2.same)]
  (tmp_path / "pairs.csv").write_text("# LFW\n" + "\n".join(lines) + "\n")
  table = read_pairs(tmp_path / "pairs.csv")
  assert table.left[17] == f"{view_2.left[17]}.jpg" and table.fold.max() == 0
  np.testing.assert_array_equal(table.same, view_2.same)


@pytest.mark.real_data
def test_lfw_protocol_files(face_data):
  have = {
    f"{person.name}/{image.stem}"
    for person in (face_data / "lfw_aligned112").iterdir()
    for image in person.glob("*.jpg")
  }
  sizes = {"pairs.txt": 6000, "pairsDevTrain.txt": 2200, "pairsDevTest.txt": 1000}
  for name, size in sizes.items():
    pairs = read_pairs(face_data / "protocols" / name)
    assert len(pairs) == size
    assert pairs.same.sum() * 2 == size
    assert set(pairs.left) | set(pairs.right) <= have
    same_person = [left.split("/")[0] == right.split("/")[0] for left, right in zip(pairs.left, pairs.right)]
    np.testing.assert_array_equal(pairs.same, same_person)
  view_2 = read_lfw_pairs(face_data / "protocols" / "pairs.txt")
  np.testing.assert_array_equal(np.bincount(view_2.fold), [600] * 10)
  people = read_people(face_data / "protocols" / "people.txt")
  assert len(people) == 10
  assert sum(map(sum, (fold.values() for fold in people))) == len(have) == 13233
  for pair, fold in enumerate(view_2.fold):  # the folds of both files are the same people
    assert view_2.left[pair].split("/")[0] in people[fold]
