"""Galleries: enrolment, search, the decision, and the file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.formats.errors import DamagedData
from jaxface.gallery import Gallery, Maker, OtherMaker, read_gallery, write_gallery

MAKER = Maker("mobilefacenet", "0123456789abcdef", "arcface112", "sum")


def filled(people=7, photos=3, size=8, seed=0):
  random = np.random.default_rng(seed)
  names = [f"person {number:02}" for number in range(people) for _ in range(photos)]
  files = [f"{number}.jpg" for number in range(people * photos)]
  embedding_nd = random.standard_normal((people, 1, size)) + 0.3 * random.standard_normal((people, photos, size))
  return Gallery.empty(MAKER, size).enrol(names, files, embedding_nd.reshape(-1, size), random.uniform(0.1, 2, len(names)))


def brute_force(gallery, probe_d, count):
  """Candidates by the definition, one person at a time."""
  found = []
  for row, person in enumerate(gallery.people):
    mean_d = np.zeros(len(probe_d))
    for at in np.flatnonzero(gallery.person_n == row):
      mean_d += float(gallery.quality_n[at]) * gallery.embedding_nd[at].astype(np.float64)
    found.append((-float(mean_d @ probe_d / np.linalg.norm(mean_d) / np.linalg.norm(probe_d)), person))
  return [(person, -score) for score, person in sorted(found)[:count]]


@settings(max_examples=25, deadline=None)
@given(people=st.integers(1, 20), photos=st.integers(1, 4), count=st.integers(1, 25), seed=st.integers(0, 2**32 - 1))
def test_candidates_are_those_of_a_loop_over_people(people, photos, count, seed):
  gallery = filled(people, photos, seed=seed)
  probe_qd = np.random.default_rng(seed + 1).standard_normal((3, 8))
  for found, probe_d in zip(gallery.identify(probe_qd, threshold=0.0, count=count), probe_qd):
    expected = brute_force(gallery, probe_d, count)
    assert [one.person for one in found.candidates] == [person for person, _ in expected]
    np.testing.assert_allclose([one.score for one in found.candidates], [score for _, score in expected], atol=1e-12)


def test_a_worked_case_weights_photos_by_quality():
  axes = np.eye(2)
  gallery = Gallery.empty(MAKER, 2).enrol(["Ann", "Ann", "Bob"], ["a1", "a2", "b1"], [axes[0], axes[1], -axes[0]], [3, 4, 1])
  np.testing.assert_allclose(gallery.template_pd, [[0.6, 0.8], [-1, 0]], rtol=1e-12)
  [found] = gallery.identify(axes[1:] * 5, threshold=0.8 - 1e-9)
  assert found.candidates[0].score == pytest.approx(0.8)
  assert found.accepted == "Ann"
  assert gallery.identify(axes[1:], threshold=0.8 + 1e-9)[0].accepted is None


def test_the_threshold_itself_accepts():
  gallery = Gallery.empty(MAKER, 2).enrol(["Ann"], ["a"], np.eye(2)[:1])
  assert gallery.identify(np.eye(2)[:1], threshold=1.0)[0].accepted == "Ann"


def test_equal_scores_come_in_order_of_the_names():
  gallery = Gallery.empty(MAKER, 2).enrol(["Zoe", "Ann", "Max"], ["z", "a", "m"], np.tile([1.0, 2.0], (3, 1)))
  [found] = gallery.identify(np.ones((1, 2)), threshold=0.5, count=2)
  assert [one.person for one in found.candidates] == ["Ann", "Max"]


def test_the_order_of_enrolment_does_not_matter():
  whole, size = filled(), 8
  parts = Gallery.empty(MAKER, size)
  for row in np.random.default_rng(3).permutation(len(whole.photos)):
    person = whole.people[whole.person_n[row]]
    parts = parts.enrol([person], [whole.photos[row]], whole.embedding_nd[row : row + 1], whole.quality_n[row : row + 1])
  assert (parts.people, parts.photos) == (whole.people, whole.photos)
  np.testing.assert_array_equal(parts.person_n, whole.person_n)
  np.testing.assert_allclose(parts.embedding_nd, whole.embedding_nd, atol=1e-7)


def test_a_photo_enrolled_again_is_replaced_and_a_person_can_be_removed():
  gallery = filled(3, 2)
  again = gallery.enrol(["person 01"], ["2.jpg"], np.eye(8)[:1])
  assert len(again.photos) == len(gallery.photos)
  np.testing.assert_array_equal(again.embedding_nd[again.photos.index("2.jpg")], np.eye(8, dtype=np.float32)[0])
  less = again.remove("person 01")
  assert less.people == ("person 00", "person 02") and len(less.photos) == 4
  with pytest.raises(ValueError, match="nobody is named 'person 01'"):
    less.remove("person 01")


def test_the_score_of_a_claimed_person_is_that_of_the_search():
  gallery, probe_qd = filled(), np.random.default_rng(5).standard_normal((2, 8))
  for row, found in enumerate(gallery.identify(probe_qd, threshold=0.0, count=7)):
    for one in found.candidates:
      assert gallery.score(one.person, probe_qd)[row] == pytest.approx(one.score, abs=1e-12)


@pytest.mark.parametrize(("people", "photos", "embedding", "quality", "message"), [
  (["Ann", "Ann"], ["a", "a"], np.eye(2), None, "photo 'a' of 'Ann' is given twice"),
  (["Ann"], ["a"], np.zeros((1, 2)), None, "photo 0 is zero or not finite"),
  (["Ann"], ["a"], [[np.nan, 1]], None, "photo 0 is zero or not finite"),
  (["Ann"], ["a"], np.eye(3)[:1], None, "2 numbers in an embedding"),
  ([" "], ["a"], np.eye(2)[:1], None, "empty name"),
  (["Ann"], ["a"], np.eye(2)[:1], [0], "the quality of 'a' is 0.0"),
  (["Ann", "Ann"], ["a", "b"], [[1, 0], [-1, 0]], None, "photos of 'Ann' cancel each other"),
])
def test_wrong_photos_are_named(people, photos, embedding, quality, message):
  with pytest.raises(ValueError, match=message):
    Gallery.empty(MAKER, 2).enrol(people, photos, np.asarray(embedding, np.float64), quality)


@pytest.mark.parametrize(("probe", "options", "message"), [
  (np.ones((1, 3)), {"threshold": 0.5}, "embeddings of 8 numbers"),
  (np.zeros((1, 8)), {"threshold": 0.5}, "probe 0 is zero"),
  (np.ones((1, 8)), {"threshold": 1.5}, "a cosine lies in"),
  (np.ones((1, 8)), {"threshold": 0.5, "count": 0}, "at least one"),
])
def test_wrong_searches_are_named(probe, options, message):
  with pytest.raises(ValueError, match=message):
    filled().identify(probe, **options)
  with pytest.raises(ValueError, match="the gallery is empty"):
    Gallery.empty(MAKER, 8).identify(np.ones((1, 8)), threshold=0.5)


def test_another_model_is_refused():
  MAKER.check(Maker("mobilefacenet", "0123456789abcdef", "arcface112", "sum"))
  with pytest.raises(OtherMaker, match=r"digest '0123456789abcdef', not 'f'.*mirror 'sum', not 'none'"):
    MAKER.check(Maker("mobilefacenet", "f", "arcface112", "none"))


def test_the_file_gives_the_same_gallery_and_bytes(tmp_path):
  gallery = filled()
  write_gallery(tmp_path / "one", gallery)
  read = read_gallery(tmp_path / "one")
  assert (read.maker, read.people, read.photos) == (gallery.maker, gallery.people, gallery.photos)
  np.testing.assert_array_equal(read.embedding_nd, gallery.embedding_nd)
  write_gallery(tmp_path / "two", read)
  assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
  write_gallery(tmp_path / "none", Gallery.empty(MAKER, 8))
  assert len(read_gallery(tmp_path / "none")) == 0


def test_a_damaged_or_foreign_file_is_named(tmp_path):
  path = tmp_path / "people.gallery"
  write_gallery(path, filled())
  whole = path.read_bytes()
  for at in range(0, len(whole), 97):
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
    try:
      read = read_gallery(path)
    except DamagedData as error:
      assert "people.gallery" in str(error)
      continue
    again = tmp_path / "again"  # a byte of the archive that is not content, such as a time
    write_gallery(again, read)
    assert again.read_bytes() == whole
  path.write_bytes(whole[: len(whole) // 2])
  with pytest.raises(DamagedData, match=r"people\.gallery"):
    read_gallery(path)
  np.savez(tmp_path / "other.npz", embedding=np.eye(2))
  with pytest.raises(DamagedData, match="not a gallery"):
    read_gallery(tmp_path / "other.npz")
