"""People of two sets whose faces look alike by embedding: under another name, or on a photo that was cropped in another way."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxface.evaluation.matrix_checks import unit_rows
from jaxface.evaluation.streaming.nearest import nearest_embeddings
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.formats.threshold import Threshold
from jaxface.inference.model import Model, load
from jaxface.models.threshold import read_threshold
from jaxface.pipeline.leaks.names import plain_name

# Nearest training images of each test image, and nearest training identities of each test identity.
NEAREST = 20


@dataclass(frozen=True)
class FaceLeak:
  """An identity of the training set that is suspected to be one of the test set.

  Attributes:
    train: name of the identity in the training set.
    test: name in the test set.
    cosine: of the most similar pair of their images.
    centre: cosine of the means of their unit embeddings.
    train_image: image of that pair, of the training set.
    test_image: likewise of the test set.
    same_name: whether the names agree but for their spelling.
  """

  train: str
  test: str
  cosine: float
  centre: float
  train_image: str
  test_image: str
  same_name: bool


def same_faces(train: Embeddings, test: Embeddings, similarity: float, *, nearest: int = NEAREST) -> list[FaceLeak]:
  """Identities with a pair of images, or with means, whose cosine is at least a threshold; the most similar ones first.

  The search is exact: the `nearest` training images of each test image, and training identities of each test identity. An identity is
  the folder of an image; an image without a folder is its own.

  Args:
    train: embeddings of the training set.
    test: of the test set, by the same model.
    similarity: threshold, a cosine.
    nearest: how many to look at.
  Raises:
    ValueError: embeddings of different sizes; one that is zero or not finite; a threshold outside [-1, 1].
  """
  if not -1 <= similarity <= 1:
    raise ValueError(f"similarity {similarity}: a cosine lies in [-1, 1]")
  if train.embedding_nd.shape[1] != test.embedding_nd.shape[1]:
    raise ValueError(f"embeddings of {train.embedding_nd.shape[1]} and {test.embedding_nd.shape[1]} numbers: they are of different models")
  left, right = _People.of(train), _People.of(test)
  suspected: set[tuple[int, int]] = set()
  for ours, theirs, ours_of, theirs_of in (
    (right.unit_nd, left.unit_nd, right.person_n, left.person_n),
    (right.centre_id, left.centre_id, np.arange(len(right.names)), np.arange(len(left.names))),
  ):
    found = nearest_embeddings(ours, theirs, min(nearest, len(theirs)))
    row_p, place_p = np.nonzero(found.score >= similarity)
    suspected |= set(zip(theirs_of[found.row[row_p, place_p]].tolist(), ours_of[row_p].tolist()))
  leaks = [_leak(left, right, *both) for both in suspected]
  return sorted(leaks, key=lambda leak: (-leak.cosine, leak.train, leak.test))


@dataclass(frozen=True)
class _People:
  """Unit embeddings [N, D] with the identity of each [N], names of images and of identities, and mean directions [I, D]."""

  unit_nd: np.ndarray
  person_n: np.ndarray
  images: Sequence[str]
  names: list[str]
  centre_id: np.ndarray

  @classmethod
  def of(cls, given: Embeddings) -> "_People":
    unit_nd = unit_rows(given.embedding_nd, names=given.names)
    names, first_i, person_n = np.unique([name.rsplit("/", 1)[0] for name in given.names], return_index=True, return_inverse=True)
    centre_id = np.zeros((len(names), unit_nd.shape[1]))
    np.add.at(centre_id, person_n, unit_nd)
    flat_i = np.linalg.norm(centre_id, axis=1) < 1e-9  # opposite embeddings have no mean direction: the first stands for it
    centre_id[flat_i] = unit_nd[first_i[flat_i]]
    return cls(unit_nd, person_n, given.names, names.tolist(), unit_rows(centre_id))

  def rows(self, person: int) -> np.ndarray:
    return np.flatnonzero(self.person_n == person)


def _leak(left: _People, right: _People, train: int, test: int) -> FaceLeak:
  rows_a, rows_b = left.rows(train), right.rows(test)
  cosine_ab = left.unit_nd[rows_a] @ right.unit_nd[rows_b].T
  a, b = np.unravel_index(int(cosine_ab.argmax()), cosine_ab.shape)
  names = left.names[train], right.names[test]
  return FaceLeak(
    *names, min(float(cosine_ab[a, b]), 1.0), min(float(left.centre_id[train] @ right.centre_id[test]), 1.0),
    left.images[rows_a[a]], right.images[rows_b[b]], bool(plain_name(names[0])) and plain_name(names[0]) == plain_name(names[1]),
  )


@dataclass(frozen=True)
class FaceSearch:
  """How faces are compared.

  Attributes:
    model: a `Model`, or the path of a model folder or workdir; None where embeddings and `similarity` are given.
    embeddings: files of `jaxface embed` of the training and of the test set; None embeds both.
    similarity: cosine from which two faces are suspected to show one person; None takes the model's threshold.
  """

  model: Model | str | Path | None = None
  embeddings: tuple[str | Path, str | Path] | None = None
  similarity: float | None = None

  def find(self, train: str | Path, test: str | Path, *, progress: bool = False) -> tuple[list[FaceLeak], list[str]]:
    """Suspected identities, and lines for the user.

    Raises:
      ValueError: neither a model nor embeddings; no threshold; embeddings of different models or mirror settings.
      FileNotFoundError: the model has no threshold; says how to measure it.
    """
    notes: list[str] = []
    model = load(self.model) if isinstance(self.model, (str, Path)) else self.model
    threshold = model.threshold if model is not None else None
    if self.similarity is None:
      if model is None:
        raise ValueError("give a model with a threshold, or similarity, a cosine")
      if threshold is None:
        if isinstance(self.model, (str, Path)):
          read_threshold(self.model)  # says what is wrong
        raise ValueError("the model has no threshold: give similarity, a cosine, or measure it with `jaxface threshold`")
    mirror = threshold.mirror if threshold is not None else "sum"
    if self.embeddings is not None:
      first, second = (read_embeddings(file) for file in self.embeddings)
    elif model is not None:
      first, second = (
        model.embed_named(path, mirror=mirror, skip_unreadable=True, progress=progress, say=notes.append) for path in (train, test)
      )
    else:
      raise ValueError("give a model, or embeddings of both sets")
    made = [(one.meta.get("model_digest"), one.meta.get("mirror")) for one in (first, second)]
    if made[0] != made[1]:
      raise ValueError(f"the embeddings of the two sets are of different models or mirror settings: {made[0]} and {made[1]}")
    if self.similarity is None and threshold is not None and made[0] != (threshold.model_digest, threshold.mirror):
      raise ValueError(
        f"the embeddings are not those of the model's threshold: they have digest and mirror {made[0]}, the threshold"
        f" {(threshold.model_digest, threshold.mirror)}"
      )
    similarity = threshold.value if self.similarity is None and threshold is not None else self.similarity
    assert similarity is not None
    notes.append(_expected(similarity, threshold, len(first.names) * len(second.names)))
    return same_faces(first, second, similarity), notes


def _expected(similarity: float, threshold: Threshold | None, pairs: int) -> str:
  """A line on the threshold and on how many strangers it suspects."""
  if threshold is None or similarity != threshold.value:
    return f"faces with a cosine of {similarity:.4f} or more are suspected to show one person; look at the pictures"
  low, high = (end * pairs for end in threshold.far_interval)
  return (
    f"faces with a cosine of {similarity:.4f} or more, the model's threshold, are suspected to show one person. At its FAR of"
    f" {threshold.far:.2g}, {threshold.far * pairs:,.0f} (95 %: {low:,.0f} to {high:,.0f}) of {pairs:,} pairs of images of different people"
    " reach it: look at the pictures, or raise --similarity"
  )


__all__ = ["NEAREST", "FaceLeak", "FaceSearch", "same_faces"]
