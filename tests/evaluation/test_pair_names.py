"""Names that differ in the form of a path, and notes on peculiarities of a list."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.evaluation.pairs.pair_names import list_notes, matched, threshold_notes
from jaxface.evaluation.pairs.pair_score import score_pairs
from jaxface.evaluation.pairs.verification import verify_pairs
from jaxface.formats.pairs import Pairs, read_pairs


def made(*rows, fold=None) -> Pairs:
  left, right, same = zip(*rows)
  return Pairs(list(left), list(right), np.array(same, bool), np.zeros(len(rows), int) if fold is None else np.array(fold))


@pytest.mark.parametrize(
  ("written", "name"),
  [("Ann/1.jpg", "Ann/1"), ("./Ann/1.png", "Ann/1"), ("Ann\\\\1.JPG".replace("\\\\", "\\"), "Ann/1"), ("Ann/1", "Ann/1.jpg"),
   ("Ann/1.webp", "Ann/1.jpg"), ("Ann/v1.2", "Ann/v1.2.jpg")],
)
def test_a_list_of_files_finds_records_and_the_other_way_round(written, name):
  found = matched(made((written, "b", True)), [name, "b"])
  assert (found.left, found.right) == ([name], ["b"])


def test_what_several_embeddings_could_be_stays_and_is_an_error():
  names = ["Ann/1.jpg", "Ann/1.png", "b"]
  assert matched(made(("Ann/1", "b", True)), names).left == ["Ann/1"]
  assert matched(made(("Ann/1.png", "b", True)), names).left == ["Ann/1.png"]
  with pytest.raises(ValueError, match="no embedding is named 'Ann/1' "):
    score_pairs(np.ones((3, 2), np.float32), names, made(("Ann/1", "b", True)))


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.booleans()), min_size=1, max_size=20))
def test_counts_are_those_of_a_slow_loop(rows):
  notes = " ".join(list_notes(made(*rows)))
  itself = sum(left == right for left, right, _ in rows)
  again = torn = 0
  for index, (left, right, same) in enumerate(rows):
    before = [row for row in rows[:index] if {row[0], row[1]} == {left, right}]
    again += bool(before) and before[0][2] == same
    torn += bool(before) and before[0][2] != same
  for count, words in (
    (itself, (f"{itself} pairs compare an image with itself", "1 pair compares an image with itself")),
    (again, (f"{again} pairs are some that the list already contains: each", "1 pair is one that the list already contains: each")),
    (torn, (f"{torn} pairs are some that the list already contains with", "1 pair is one that the list already contains with")),
  ):
    assert any(word in notes for word in words) == (count > 0)


def test_notes_name_lines(tmp_path):
  path = tmp_path / "pairs.csv"
  path.write_text("a,b,1\na,a,1\nb,a,1\nc,d,0\nd,c,1\n")
  pairs = read_pairs(path)
  itself, again, torn = list_notes(pairs)
  assert itself == f"1 pair compares an image with itself (first: {path}, line 2): the cosine is 1 for any network."
  assert f"each counts again (first: {path}, line 3, as {path}, line 1)." in again
  assert f"one of the two is wrong (first: {path}, line 5, as {path}, line 4)." in torn
  assert list_notes(made(("a", "b", True), ("a", "c", False))) == []


def test_where_the_threshold_was_chosen():
  embedding_nd = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
  names = ["a", "b", "c", "d"]
  one = made(("a", "b", True), ("a", "c", False))
  two = made(("a", "b", True), ("a", "c", False), ("c", "d", True), ("b", "d", False), fold=[0, 0, 1, 1])
  (line,) = verify_pairs(embedding_nd, names, one).notes
  assert line.startswith("the list has one fold: the threshold was chosen on the same pairs")
  assert verify_pairs(embedding_nd, names, two).notes == ()
  other = made(("c", "d", True), ("b", "d", False))
  assert verify_pairs(embedding_nd, names, one, train=other).notes == ()
  (line,) = verify_pairs(embedding_nd, names, one, train=two).notes
  assert line.startswith("2 of 2 pairs are among those on which the threshold was chosen")
  assert threshold_notes(one, "train pairs", other) == []
  assert verify_pairs(embedding_nd, names, one).to_json()["notes"]


def test_the_table_has_the_thresholds_of_the_json():
  rng = np.random.default_rng(0)
  embedding_nd = rng.normal(size=(40, 4)).astype(np.float32)
  names = [f"x{row}" for row in range(40)]
  pairs = made(*((names[row], names[row + 20], row % 2) for row in range(20)), fold=np.arange(20) % 4)
  found = verify_pairs(embedding_nd, names, pairs)
  plain, lines = found.to_json(), found.threshold_table().splitlines()
  assert len(lines) == 9 and lines[1].split() == ["cosine", "L2²", "FAR", "TAR", "95", "%", "of", "TAR"]
  assert all("rule of" in line for line in lines[6:])
  for line, name in zip(lines[3:], ("1e-1", "1e-2", "1e-3")):
    cosine, point = plain["tar_at_far_threshold_cosine"][name], found.operating[name]
    low, high = plain["tar_at_far_interval"][name]
    assert line.split() == [
      "FAR", "≤", name, f"{cosine:.4f}", f"{2 - 2 * cosine:.4f}", f"{100 * point.far:.2f}", "%", f"{100 * point.tar:.2f}", "%",
      f"{100 * low:.2f}", "to", f"{100 * high:.2f}",
    ]
  accepted = found.score_p >= found.threshold_cosine
  assert f"{found.threshold_cosine:.4f}" in lines[2]
  assert found.at(found.threshold_cosine)[:2] == (accepted[pairs.same].mean(), accepted[~pairs.same].mean())


@pytest.mark.real_data
def test_real_lists_of_lfw_are_sound_but_for_known_repetitions(face_data):
  """View 2 compares no image with itself; a table of files gives the very scores of LFW's own list."""
  view_2 = read_pairs(face_data / "protocols" / "pairs.txt")
  assert not any("itself" in note or "wrong" in note for note in list_notes(view_2))
  names = sorted({*view_2.left, *view_2.right})
  files = Pairs([f"./{name}.jpg" for name in view_2.left], [f"{name}.JPG" for name in view_2.right], view_2.same, view_2.fold)
  found = matched(files, names)
  assert (found.left, found.right) == (view_2.left, view_2.right)
