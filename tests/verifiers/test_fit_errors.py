"""Data from which a verifier cannot be fitted, through the command: one sentence that says why, and no file."""

import numpy as np
import pytest

from jaxface.commands.main import main
from jaxface.formats import Embeddings, Pairs, write_embeddings, write_pairs
from jaxface.verifiers import read_verifier

SIZE = 4
PAIRED = ("siamese", "chi-square")


def made(people, images, change=None):
  random = np.random.default_rng(0)
  row_nd = (random.normal(size=(people, 1, SIZE)) + 0.5 * random.normal(size=(people, images, SIZE))).reshape(-1, SIZE)
  if change is not None:
    change(row_nd)
  names = [f"p{person}/{image}" for person in range(people) for image in range(images)]
  return Embeddings(row_nd.astype(np.float32), names, np.arange(len(names)) // images, {})


def not_finite(row_nd):
  row_nd[5, 2] = np.nan


def the_same(row_nd):
  row_nd[:] = 1


def dependent(row_nd):
  row_nd[:, 3] = row_nd[:, 2]


def copies(row_nd):
  row_nd[:] = np.repeat(row_nd[::3], 3, 0)


def fitted(tmp_path, kind, embeddings, *more):
  write_embeddings(tmp_path / "e.npz", embeddings)
  split = ["--split"] if kind == "chi-square" else []
  return main(["verifier", "fit", kind, "--embeddings", str(tmp_path / "e.npz"), "--out", str(tmp_path / "v.npz"), *split, *more])


@pytest.mark.parametrize("kind, people, images, change, message", [
  ("joint-bayesian", 30, 1, None, "30 images of 30 people leave 0 differences within people"),
  ("joint-bayesian", 1, 20, None, "the covariance between people vanished"),
  ("joint-bayesian", 2, 2, None, "4 images of 2 people leave 2 differences within people: embeddings of 4 numbers need at least as many"),
  ("joint-bayesian", 20, 3, the_same, "do not vary along all 4 numbers: use fewer principal components"),
  ("joint-bayesian", 20, 3, dependent, "do not vary along all 4 numbers: use fewer principal components"),
  ("joint-bayesian", 20, 3, copies, "do not vary along all 4 numbers: use fewer principal components"),
  *((kind, 30, 1, None, "30 identities, 0 of them with two rows or more") for kind in PAIRED),
  *((kind, 1, 20, None, "1 identities, 1 of them with two rows or more: to draw pairs, at least two identities need two") for kind in PAIRED),
  *((kind, 20, 3, the_same, "have the same features: there is nothing to learn from") for kind in PAIRED),
  *((kind, 20, 3, not_finite, "the embedding of 'p1/2' is not finite") for kind in ("joint-bayesian", *PAIRED, "l2")),
])
def test_what_cannot_be_fitted_is_named_with_its_file(tmp_path, capsys, kind, people, images, change, message):
  assert fitted(tmp_path, kind, made(people, images, change)) == 2
  shown = capsys.readouterr().err
  assert message in shown and "e.npz: " in shown and not (tmp_path / "v.npz").exists()


@pytest.mark.parametrize("kind, people, images, change", [
  ("joint-bayesian", 2, 10, None), *((kind, *data) for kind in PAIRED for data in ((2, 10, None), (20, 3, dependent), (20, 3, copies))),
])
def test_two_identities_and_dependent_features_can_be_enough(tmp_path, kind, people, images, change):
  given = made(people, images, change)
  assert fitted(tmp_path, kind, given) == 0
  first_n, second_n = given.embedding_nd[::images], given.embedding_nd[1::images]
  score_nm = read_verifier(tmp_path / "v.npz").score_matrix(first_n, second_n)
  assert np.isfinite(score_nm).all() and np.diag(score_nm).mean() > score_nm[~np.eye(people, dtype=bool)].mean()


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("kind", PAIRED)
def test_pairs_of_one_kind_are_refused(tmp_path, capsys, kind, same):
  right = [f"p{person}/1" if same else f"p{(person + 1) % 20}/1" for person in range(20)]
  write_pairs(tmp_path / "p.tsv", Pairs([f"p{person}/0" for person in range(20)], right, np.full(20, same), np.zeros(20, np.int64)))
  assert fitted(tmp_path, kind, made(20, 3), "--pair-list", str(tmp_path / "p.tsv")) == 2
  assert "20 pairs of one kind: both mated and non-mated pairs are needed" in capsys.readouterr().err
