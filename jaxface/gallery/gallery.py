"""People by embeddings of their photos, and the search among them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np

from jaxface.evaluation.matrix_checks import unit_rows
from jaxface.evaluation.pairs.pair_score import PairScore
from jaxface.evaluation.streaming.score_blocks import score_error


class OtherMaker(ValueError):
  """Embeddings of another model, template or mirror setting than the gallery's: their scores mean nothing."""


@dataclass(frozen=True)
class Maker:
  """What made the embeddings of a gallery.

  Attributes:
    model: name of the network.
    digest: digest of its variables, see `SavedModel.digest`.
    template: alignment template of the faces.
    mirror: use of the mirror image, see `Model.__call__`.
    verifier: digest of the verifier that scores them; "" for the cosine.
  """

  model: str
  digest: str
  template: str
  mirror: str
  verifier: str = ""

  def check(self, other: "Maker", where: str = "the gallery") -> None:
    """Rejects embeddings of another maker.

    Args:
      other: what made the embeddings that are compared with the gallery.
      where: the gallery, for the message.
    Raises:
      OtherMaker: names each difference.
    """
    ours, theirs = asdict(self), asdict(other)
    differ = [f"{name} {_told(name, ours[name])}, not {_told(name, theirs[name])}" for name in ours if ours[name] != theirs[name]]
    if differ:
      what = "verifier" if ours | {"verifier": ""} == theirs | {"verifier": ""} else "model"
      raise OtherMaker(f"{where} was made with {'; '.join(differ)}. Use that {what}, or enrol the people again with this one")


def _told(name: str, value: str) -> str:
  return "none (the cosine)" if name == "verifier" and not value else repr(value)


@dataclass(frozen=True)
class Candidate:
  """A person of the gallery, for one probe.

  Attributes:
    person: name.
    score: cosine of the probe and the person's template, or the score of the gallery's verifier, float64.
  """

  person: str
  score: float


@dataclass(frozen=True)
class Found:
  """Result of one search.

  Attributes:
    candidates: the nearest people, the best first; of equal scores in order of their names.
    threshold: a person is accepted where score >= threshold.
  """

  candidates: tuple[Candidate, ...]
  threshold: float

  @property
  def accepted(self) -> str | None:
    """Name of the best candidate if its score reaches the threshold, else None: nobody of the gallery."""
    best = self.candidates[0] if self.candidates else None
    return best.person if best and best.score >= self.threshold else None


@dataclass(frozen=True, eq=False)
class Gallery:
  """People, each with one or several photos. Immutable: `enrol` and `remove` return another gallery.

  Attributes:
    maker: what made the embeddings.
    people: P names, sorted, each with at least one photo.
    photos: N names of photos; a person has each once.
    person_n: [N] int64, row of `people`.
    embedding_nd: [N, D] float32 of length one.
    quality_n: [N] float32, positive weights of the photos in their person's template.
  """

  maker: Maker
  people: tuple[str, ...]
  photos: tuple[str, ...]
  person_n: np.ndarray
  embedding_nd: np.ndarray
  quality_n: np.ndarray

  @classmethod
  def empty(cls, maker: Maker, size: int) -> "Gallery":
    """A gallery without people, for embeddings of `size` numbers."""
    return cls(maker, (), (), np.zeros(0, np.int64), np.zeros((0, size), np.float32), np.zeros(0, np.float32))

  def __len__(self) -> int:
    return len(self.people)

  def __repr__(self) -> str:
    return f"<gallery of {len(self):,} people, {len(self.photos):,} photos, by {self.maker.model} {self.maker.digest}>"

  def enrol(
    self, people: Sequence[str], photos: Sequence[str], embedding_nd: np.ndarray, quality_n: np.ndarray | None = None
  ) -> "Gallery":
    """The gallery with more photos, of new people or of those it has.

    Args:
      people: M names, the person of each photo.
      photos: M names; a photo that the person has is replaced.
      embedding_nd: [M, D] float, not necessarily normalised.
      quality_n: [M] positive weights; default 1.
    Raises:
      ValueError: sizes that do not fit, an empty name, a photo given twice for one person, an embedding that is zero or not finite, a
        quality that is not positive, photos of one person that cancel each other.
    """
    count, size = len(people), self.embedding_nd.shape[1]
    embedding_nd = np.asarray(embedding_nd)
    quality_n = np.ones(count, np.float32) if quality_n is None else np.asarray(quality_n, np.float32)
    if embedding_nd.shape != (count, size) or len(photos) != count or quality_n.shape != (count,):
      raise ValueError(
        f"{count} people, {len(photos)} photos, embeddings {embedding_nd.shape}, qualities {quality_n.shape}: expected one of each a"
        f" photo, and {size} numbers in an embedding"
      )
    new = list(zip(people, photos))
    if not all(person.strip() for person in people):
      raise ValueError("a person has an empty name")
    if len(set(new)) < count:
      twice = next(one for one in new if new.count(one) > 1)
      raise ValueError(f"photo {twice[1]!r} of {twice[0]!r} is given twice")
    wrong = np.flatnonzero(~(np.isfinite(quality_n) & (quality_n > 0)))
    if wrong.size:
      raise ValueError(f"the quality of {photos[wrong[0]]!r} is {quality_n[wrong[0]]}: it must be positive")
    unit_nd = unit_rows(embedding_nd, "photo").astype(np.float32)
    replaced = set(new)
    kept = [row for row, one in enumerate(self._entries()) if one not in replaced]
    return self._of(
      [self._entries()[row] for row in kept] + new,
      np.concatenate([self.embedding_nd[kept], unit_nd]), np.concatenate([self.quality_n[kept], quality_n]),
    )

  def remove(self, person: str) -> "Gallery":
    """The gallery without a person.

    Raises:
      ValueError: nobody has this name.
    """
    if person not in self.people:
      raise ValueError(f"nobody is named {person!r}; the gallery has {len(self):,} people, such as {', '.join(self.people[:3]) or 'nobody'}")
    kept = np.flatnonzero(self.person_n != self.people.index(person))
    entries = self._entries()
    return self._of([entries[row] for row in kept], self.embedding_nd[kept], self.quality_n[kept])

  @cached_property
  def template_pd(self) -> np.ndarray:
    """[P, D] float64 of length one: the mean of each person's embeddings, weighted by quality."""
    total_pd = np.zeros((len(self), self.embedding_nd.shape[1]))
    np.add.at(total_pd, self.person_n, self.quality_n[:, None].astype(np.float64) * self.embedding_nd)
    length_p = np.linalg.norm(total_pd, axis=1)
    weight_p = np.bincount(self.person_n, self.quality_n, minlength=len(self))
    # Photos of one person have cosines above 0; a mean this short comes from embeddings in opposite directions.
    wrong = np.flatnonzero(length_p <= 1e-6 * weight_p)
    if wrong.size:
      raise ValueError(f"the photos of {self.people[wrong[0]]!r} cancel each other: their mean has no direction")
    return total_pd / length_p[:, None]

  def identify(self, probe_qd: np.ndarray, *, threshold: float, count: int = 5, score: PairScore | None = None) -> list[Found]:
    """The nearest people of each probe.

    Args:
      probe_qd: [Q, D] float, not necessarily normalised.
      threshold: cosine, or score of `score`; the best candidate is accepted where its score is at least this.
      count: number of candidates, at most all people.
      score: what scores a probe and a template, such as a `jaxface.verifiers.Verifier`; None is the cosine.
    Returns:
      Q results; scores are float64 and do not depend on the number of probes.
    Raises:
      ValueError: an empty gallery, another embedding size, a probe that is zero or not finite, a cosine as threshold outside [-1, 1],
        or another that is not finite.
    """
    probe_qd = np.asarray(probe_qd)
    if not len(self):
      raise ValueError("the gallery is empty: enrol somebody first")
    if probe_qd.ndim != 2 or probe_qd.shape[1] != self.embedding_nd.shape[1]:
      raise ValueError(f"probes {probe_qd.shape}: the gallery has embeddings of {self.embedding_nd.shape[1]} numbers")
    if score is None and not -1 <= threshold <= 1:
      raise ValueError(f"threshold {threshold}: a cosine lies in [-1, 1]")
    if not np.isfinite(threshold):
      raise ValueError(f"threshold {threshold}: it must be a finite score")
    if count < 1:
      raise ValueError(f"{count} candidates: at least one")
    unit_qd = unit_rows(probe_qd, "probe")
    count = min(count, len(self))
    if score is None:
      return [Found(self._nearest(unit_d, count), threshold) for unit_d in unit_qd]
    score_qp = [score.score(np.broadcast_to(unit_d, self.template_pd.shape), self.template_pd) for unit_d in unit_qd]
    return [Found(self._best(np.arange(len(self)), score_p, count), threshold) for score_p in score_qp]

  def score(self, person: str, probe_qd: np.ndarray) -> np.ndarray:
    """[Q] float64, cosines of probes [Q, D] with one person's template: whether they are who they claim to be.

    Raises:
      ValueError: nobody has this name; a probe that is zero or not finite.
    """
    if person not in self.people:
      raise ValueError(f"nobody is named {person!r} in the gallery")
    return np.clip(unit_rows(np.asarray(probe_qd), "probe") @ self.template_pd[self.people.index(person)], -1.0, 1.0)

  @cached_property
  def _narrow_pd(self) -> np.ndarray:
    return self.template_pd.astype(np.float32)

  def _nearest(self, unit_d: np.ndarray, count: int) -> tuple[Candidate, ...]:
    # Products in float32 take half the time; those that may be among the best are scored again in float64.
    product_p = self._narrow_pd @ unit_d.astype(np.float32)
    least = np.partition(product_p, len(self) - count)[len(self) - count] - 2 * score_error(len(unit_d))
    near = np.flatnonzero(product_p >= least)
    score_n = np.clip((self.template_pd[near] * unit_d).sum(1), -1.0, 1.0)
    return self._best(near, score_n, count)

  def _best(self, near: np.ndarray, score_n: np.ndarray, count: int) -> tuple[Candidate, ...]:
    """The highest scores of some people, of equal ones in order of their names."""
    best = np.lexsort((near, -score_n))[:count]
    return tuple(Candidate(self.people[near[row]], float(score_n[row])) for row in best)

  def _entries(self) -> list[tuple[str, str]]:
    return [(self.people[person], photo) for person, photo in zip(self.person_n, self.photos)]

  def _of(self, entries: list[tuple[str, str]], embedding_nd: np.ndarray, quality_n: np.ndarray) -> "Gallery":
    """With other photos, in order of their people and names."""
    order = sorted(range(len(entries)), key=entries.__getitem__)
    people = sorted({person for person, _ in entries})
    row_of = {person: row for row, person in enumerate(people)}
    made = replace(
      self, people=tuple(people), photos=tuple(entries[row][1] for row in order),
      person_n=np.array([row_of[entries[row][0]] for row in order], np.int64),
      embedding_nd=np.ascontiguousarray(embedding_nd[order]), quality_n=quality_n[order],
    )
    _ = made.template_pd  # reports photos that cancel each other now, not at the first search
    return made


__all__ = ["Candidate", "Found", "Gallery", "Maker", "OtherMaker"]
