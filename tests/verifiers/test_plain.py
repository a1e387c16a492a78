"""Inner product, distance and cosine, with principal components before them, and the file of a verifier."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA, IncrementalPCA

from jaxface.evaluation import fit_components, fit_components_by_blocks
from jaxface.formats.embedding_rows import EmbeddingRows
from jaxface.formats.embeddings import Embeddings, write_embeddings
from jaxface.formats.errors import DamagedData
from jaxface.verifiers import L2, VERIFIERS, Cosine, InnerProduct, read_verifier, write_verifier

PLAIN = (InnerProduct, L2, Cosine)
seeds = st.integers(0, 2**32 - 1)


def rows(seed=0, count=40, size=6):
  random = np.random.default_rng(seed)
  return random.normal(size=(count, size)) * [3, 2, 1, 1, 0.5, 0.1] + [1, 0, 0, 0, 2, 0]


def loop(kind, a_k, b_k):
  """The score of one pair, number by number."""
  if kind == "inner-product":
    return sum(a * b for a, b in zip(a_k, b_k))
  if kind == "l2":
    return -(sum((a - b) ** 2 for a, b in zip(a_k, b_k)) ** 0.5)
  return sum(a * b for a, b in zip(a_k, b_k)) / (sum(a * a for a in a_k) * sum(b * b for b in b_k)) ** 0.5


def slow_front(train_nd, row_d, unit, components, whiten):
  """One embedding through the front, with scikit-learn's components."""
  scale = lambda one_d: one_d / np.linalg.norm(one_d) if unit else one_d  # noqa: E731
  if components is None:
    return scale(row_d)
  pca = PCA(components, whiten=whiten, svd_solver="full").fit(np.array([scale(one_d) for one_d in train_nd]))
  return pca.transform(scale(row_d)[None])[0]


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("unit, components, whiten", [(False, None, False), (True, None, False), (False, 3, False), (True, 4, True)])
def test_scores_equal_a_loop_after_scikit_learns_components(kind, unit, components, whiten):
  train_nd, left_pd, right_pd = rows(), rows(1, 7), rows(2, 7)
  found_p = kind.fit(train_nd, unit=unit, components=components, whiten=whiten).score(left_pd, right_pd)
  front_of = lambda row_d: slow_front(train_nd, row_d, unit, components, whiten)  # noqa: E731
  np.testing.assert_allclose(found_p, [loop(kind.kind, front_of(a), front_of(b)) for a, b in zip(left_pd, right_pd)], rtol=1e-9, atol=1e-12)


@given(seed=seeds, components=st.sampled_from([None, 1, 5]), unit=st.booleans())
def test_scores_are_symmetric_and_a_matrix_has_those_of_its_pairs(seed, components, unit):
  left_nd, right_md = rows(seed, 4), rows(seed + 1, 3)
  for kind in PLAIN:
    verifier = kind.fit(rows(7), unit=unit, components=components)
    score_nm = verifier.score_matrix(left_nd, right_md)
    for row in range(4):
      pair_m = verifier.score(np.tile(left_nd[row], (3, 1)), right_md)
      np.testing.assert_allclose(score_nm[row], pair_m, rtol=1e-12, atol=1e-12)
      np.testing.assert_array_equal(pair_m, verifier.score(right_md, np.tile(left_nd[row], (3, 1))))


@given(seed=seeds)
def test_distances_keep_under_all_components_and_cosines_under_scaling(seed):
  left_pd, right_pd = rows(seed, 5), rows(seed + 1, 5)
  np.testing.assert_allclose(L2.fit(rows(7), components=6).score(left_pd, right_pd), L2.fit(rows(7)).score(left_pd, right_pd), rtol=1e-9)
  cosine = Cosine.fit(rows(7), unit=True, components=3)
  np.testing.assert_allclose(cosine.score(3 * left_pd, right_pd), cosine.score(left_pd, 0.5 * right_pd), atol=1e-12)


def test_whitened_rows_have_unit_covariance():
  row_nk = Cosine.fit(rows(0, 200), components=5, whiten=True).front.apply(rows(0, 200))
  np.testing.assert_allclose(np.cov(row_nk.T), np.eye(5), atol=1e-10)
  np.testing.assert_allclose(row_nk.mean(0), 0, atol=1e-12)


@given(seed=seeds, cuts=st.lists(st.integers(0, 40), max_size=4))
def test_components_of_blocks_are_those_of_all_rows(seed, cuts):
  row_nd = rows(seed)
  blocks = np.split(row_nd, sorted(cuts))
  found, whole = fit_components_by_blocks(blocks), fit_components(row_nd)
  np.testing.assert_allclose(found.mean_d, row_nd.mean(0), atol=1e-12)
  np.testing.assert_allclose(found.variance_k, whole.variance_k, rtol=1e-9)
  np.testing.assert_allclose(np.abs((found.axis_kd * whole.axis_kd).sum(1)), 1, atol=1e-9)


def test_variances_equal_scikit_learns_and_one_pass_is_exact():
  row_nd = rows(0, 300)
  found = fit_components_by_blocks(np.split(row_nd, 6))
  np.testing.assert_allclose(found.variance_k, PCA().fit(row_nd).explained_variance_, rtol=1e-10)
  full = IncrementalPCA(6, batch_size=50).fit(row_nd)  # with all components it loses nothing either
  np.testing.assert_allclose(found.variance_k, full.explained_variance_, rtol=1e-8)


@pytest.mark.parametrize("count", [1, 3, 9, 40, 99])
def test_the_first_components_are_those_of_all(count):
  draw = np.random.default_rng(0)
  row_nd = draw.standard_normal((30, 40)) * np.linspace(3, 1, 40)
  found, whole = fit_components_by_blocks([row_nd], count), fit_components(row_nd)
  assert len(found.axis_kd) == len(found.variance_k) == min(count, 29)
  np.testing.assert_allclose(found.variance_k, whole.variance_k[:count], rtol=1e-9)
  np.testing.assert_allclose(np.abs((found.axis_kd * whole.axis_kd[:count]).sum(1)), 1, atol=1e-8)


def test_embeddings_of_a_file_are_read_by_blocks(tmp_path, monkeypatch):
  row_nd = rows(0, 50).astype(np.float32)
  write_embeddings(tmp_path / "e.npz", Embeddings(row_nd, [f"{row}" for row in range(50)]))
  asked = []

  class Watched(EmbeddingRows):
    def __getitem__(self, part):
      asked.append(part.stop - part.start)
      return super().__getitem__(part)

  monkeypatch.setattr("jaxface.verifiers.front.BLOCK", 16)
  opened = EmbeddingRows.open(tmp_path / "e.npz")
  found = Cosine.fit(Watched(opened.path, opened.shape, opened._source), components=4)
  assert asked == [16, 16, 16, 16]
  np.testing.assert_allclose(found.score(row_nd[:9], row_nd[9:18]), Cosine.fit(row_nd, components=4).score(row_nd[:9], row_nd[9:18]), atol=1e-12)


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("components", [None, 3])
def test_a_file_gives_the_same_scores_and_bytes(kind, components, through_a_file):
  verifier = kind.fit(rows(), unit=True, components=components, whiten=components is not None)
  again = through_a_file(verifier, rows(1), rows(2))
  assert type(again) is kind and repr(again) == repr(verifier)
  assert sorted(VERIFIERS[kind.kind].fit(rows()).settings()) == []


@pytest.mark.parametrize("options, message", [
  ({"components": 0}, "whole numbers from 1 to 6"),
  ({"components": 7}, "whole numbers from 1 to 6"),
  ({"whiten": True}, "whitening needs a number of principal components"),
])
def test_settings_out_of_range_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    Cosine.fit(rows(), **options)


def test_axes_without_variance_cannot_be_whitened():
  flat_nd = rows()
  flat_nd[:, 5] = flat_nd[:, 0]
  with pytest.raises(ValueError, match="6 components cannot be whitened: the rows of the fit vary along 5 axes only"):
    L2.fit(flat_nd, components=6, whiten=True)


def test_unusable_embeddings_are_named():
  verifier, zero_nd, nan_nd = Cosine.fit(rows()), rows(1), rows(1)
  zero_nd[3], nan_nd[2, 1] = 0, np.nan
  with pytest.raises(ValueError, match="right embedding 2 is not finite"):
    verifier.score(rows(), nan_nd[:40])
  with pytest.raises(ValueError, match="pair 3: an embedding is zero"):
    verifier.score(rows(), zero_nd)
  with pytest.raises(ValueError, match="left embedding 3 is zero or not finite"):
    L2.fit(rows(), unit=True).score(zero_nd, rows())
  with pytest.raises(ValueError, match=r"left embeddings \(40, 5\): this verifier compares embeddings of 6 numbers"):
    verifier.score(rows()[:, :5], rows()[:, :5])
  with pytest.raises(ValueError, match="pairs need as many of both"):
    verifier.score(rows(), rows()[:3])
  with pytest.raises(ValueError, match=r"embedding 3 is zero or not finite: its direction is undefined\."):
    Cosine.fit(zero_nd, unit=True, components=2)


def test_files_that_are_no_verifiers_are_named(tmp_path):
  good = tmp_path / "good.npz"
  write_verifier(good, Cosine.fit(rows(), components=3))
  with np.load(good) as archive:
    array = dict(archive)
  about = json.loads(str(array["about"]))

  def changed(**parts):
    np.savez(tmp_path / "bad.npz", **{name: value for name, value in {**array, **parts}.items() if value is not None})
    return tmp_path / "bad.npz"

  def says(**parts):
    return np.array(json.dumps({**about, **parts}))

  for parts, message in [
    ({"about": None}, "not a verifier: it has the arrays"),
    ({"about": np.array("{")}, "not a verifier"),
    ({"about": says(kind="gallery")}, "not a verifier"),
    ({"about": says(format_version=2)}, "format version 2; this release reads version 1"),
    ({"about": says(verifier="oracle")}, "'oracle'; this release has inner-product, l2, cosine"),
    ({"about": says(front={**about["front"], "size": 5})}, "other sizes"),
    ({"front_mean_d": None}, "was written with"),
    ({"front_axis_kd": array["front_axis_kd"] * np.nan}, "not finite"),
    ({"front_axis_kd": array["front_axis_kd"].astype(np.float32)}, "float32"),
  ]:
    with pytest.raises(DamagedData, match=message):
      read_verifier(changed(**parts))
  good.write_bytes(good.read_bytes()[:200])
  with pytest.raises(DamagedData, match="not a complete"):
    read_verifier(good)
  with pytest.raises(ValueError, match=r"verifiers are stored in \.npz"):
    write_verifier(tmp_path / "a.json", Cosine.fit(rows()))
  with pytest.raises(FileNotFoundError):
    read_verifier(tmp_path / "none.npz")
