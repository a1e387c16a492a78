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
    ("2\t1\nAnn\t1\t4\nAnn\t1\tBob\t2\n", r"line 3: 2 pairs where the header 2 1 announces 2 × \(1 same"),
    ("1\t1\nAnn\t1\tBob\t2\nAnn\t1\t4\n", r"line 2: a pair of the same person belongs here"),
    ("1\t1\nAnn\t1\t2\nAnn\t1\t4\n", r"line 3: a pair of different people belongs here"),
    ("Ann\t1\n", r"line 1: 2 fields; expected `name n1 n2`"),
    ("Ann\t1\t2\nAnn\tx\t2\n", r"line 2: 'x' where a whole number from 1"),
    ("Ann\t0\t2\n", r"line 1: '0' where a whole number from 1"),
    ("Ann\t1\tAnn\t2\n", r"line 1: a pair of different people names 'Ann' twice"),
    ("../etc\t1\t2\n", r"line 1: '../etc' is no person's name"),
    ("..\t1\t2\n", r"line 1: '..' is no person's name"),
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


@pytest.mark.parametrize("row", ["a\tb\t2\t0", "a\tb\t1", "a\tb\t1\t-1", "a\tb\tTrue\t0"])
def test_plain_table_names_a_bad_row(written, row):
  with pytest.raises(DamagedData, match=r"line 3: .*expected `left right same fold`"):
    read_pairs(written(f"left\tright\tsame\tfold\na\tb\t1\t0\n{row}\n"))


@pytest.mark.parametrize("name", ["", "a\tb", "a\n", " a"])
def test_a_name_that_would_break_the_table_is_refused_and_nothing_is_left(tmp_path, name):
  path = tmp_path / "own.tsv"
  with pytest.raises(ValueError, match="cannot stand in a tab-separated list"):
    write_pairs(path, Pairs([name], ["b"], np.array([True]), np.array([0])))
  assert not list(tmp_path.iterdir())


def test_lengths_must_agree():
  with pytest.raises(ValueError, match="left 1, right 2, same 1, fold 1"):
    Pairs(["a"], ["b", "c"], np.array([True]), np.array([0]))


def test_people_by_hand(written):
  assert read_people(written("2\n1\nAnn\t3\n2\nBob\t1\nCy\t2\n")) == [{"Ann": 3}, {"Bob": 1, "Cy": 2}]


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("Ann\t1\n", "line 1: the first line must be the number of folds"),
    ("2\n1\nAnn\t3\nBob\t1\n1\nCy\t2\n", "line 5: fold 0 has 2 people where it announced 1"),
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
