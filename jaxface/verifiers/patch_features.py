"""The features of an ensemble's embedding patch by patch: their names, their scores of pairs, and embeddings of some of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxface.evaluation.pairs.pair_names import matched
from jaxface.formats.checked_json import read_checked_json
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.errors import DamagedData
from jaxface.formats.pairs import Pairs
from jaxface.verifiers.base import Verifier
from jaxface.verifiers.joint_bayesian import JointBayesian
from jaxface.verifiers.patch_selection import KIND, PairScores
from jaxface.verifiers.plain import Cosine, InnerProduct

SCORES = ("cosine", "inner-product", "joint-bayesian")
MIRRORED = "_mirrored"


@dataclass(frozen=True)
class PatchFeatures:
  """Where each patch's features are in an embedding.

  Attributes:
    names: N names, in the order of the embedding.
    size: numbers of each patch.
  """

  names: tuple[str, ...]
  size: int

  @classmethod
  def of(cls, embeddings: Embeddings, patches: Sequence[str] = (), *, size: int = 160) -> "PatchFeatures":
    """The patches of an embedding; with `mirror` "concat" in its metadata, those of the mirrored face follow, named NAME_mirrored.

    Args:
      embeddings: of an ensemble of networks.
      patches: names of the networks' patches, in their order; none numbers them.
      size: numbers of each patch without names; with names it follows from their number.
    Raises:
      ValueError: the embedding is not divisible so.
    """
    total = embeddings.embedding_nd.shape[1]
    halves = 2 if embeddings.meta.get("mirror") == "concat" else 1
    if total % (halves * (len(patches) or size)):
      parts = f"{len(patches)} patches" if patches else f"patches of {size} numbers"
      raise ValueError(f"embeddings of {total:,} numbers{' of image and mirror image' if halves == 2 else ''} are not those of {parts}")
    each = total // halves // len(patches) if patches else size
    names = tuple(patches) or tuple(f"patch{number:03d}" for number in range(total // halves // size))
    return cls((*names, *(f"{name}{MIRRORED}" for name in names)) if halves == 2 else names, each)

  def columns(self, name: str) -> slice:
    """The columns of a patch.

    Raises:
      ValueError: an unknown name.
    """
    if name not in self.names:
      raise ValueError(f"patch {name!r}: the embeddings have {', '.join(self.names[:5])}{', …' if len(self.names) > 5 else ''}")
    start = self.names.index(name) * self.size
    return slice(start, start + self.size)

  def take(self, embeddings: Embeddings, chosen: Sequence[str]) -> Embeddings:
    """Embeddings of some patches, in the given order; the metadata name them in `patches`.

    Args:
      embeddings: of all patches.
      chosen: names.
    Raises:
      ValueError: an unknown name, or embeddings of another size.
    """
    self._check(embeddings)
    column_d = np.concatenate([np.arange(here.start, here.stop) for here in map(self.columns, chosen)])
    meta = {**embeddings.meta, "patches": list(chosen)}
    return Embeddings(np.ascontiguousarray(embeddings.embedding_nd[:, column_d]), embeddings.names, embeddings.label_n, meta)

  def pair_scores(
    self, embeddings: Embeddings, pairs: Iterable[Pairs], *, score: str = "cosine", training: Embeddings | None = None,
    components: int | None = None, watch: Callable[[Iterable], Iterable] = iter,
  ) -> list[PairScores]:
    """Scores of pairs by every patch alone, for `select_patches`.

    Args:
      embeddings: of all patches, of the pairs' images.
      pairs: lists.
      score: "cosine", "inner-product" or "joint-bayesian", of each patch's features.
      training: labelled embeddings of other people, on which Joint Bayesian is fitted for each patch.
      components: principal components of each patch before Joint Bayesian.
      watch: wraps the iterable of patches, for a progress bar.
    Returns:
      For each list its scores.
    Raises:
      ValueError: an unknown score, missing images or training; what the verifiers raise, with the name of the patch.
    """
    if score not in SCORES:
      raise ValueError(f"score {score!r}: takes one of {', '.join(SCORES)}")
    if score == "joint-bayesian" and (training is None or training.label_n is None):
      raise ValueError("joint-bayesian is fitted: give training embeddings with labels")
    for given in (embeddings, training):
      if given is not None:
        self._check(given)
    listed = [matched(one, embeddings.names) for one in pairs]
    row = {name: i for i, name in enumerate(embeddings.names)}
    for one in listed:
      for missing in {*one.left, *one.right} - set(row):
        raise ValueError(f"{one.file or 'the pairs'}: {missing!r} has no embedding")
    rows = [tuple(np.array([row[name] for name in side]) for side in (one.left, one.right)) for one in listed]
    score_np = [np.empty((len(self.names), len(one))) for one in listed]
    for number, name in enumerate(watch(self.names)):
      column = self.columns(name)
      try:
        verifier = self._verifier(score, training, column, components)
        for (left_p, right_p), out_np in zip(rows, score_np):
          out_np[number] = verifier.score(embeddings.embedding_nd[left_p, column], embeddings.embedding_nd[right_p, column])
      except ValueError as error:
        raise ValueError(f"patch {name!r}: {error}") from error
    return [PairScores(out_np, one.same) for out_np, one in zip(score_np, listed)]

  def _verifier(self, score: str, training: Embeddings | None, column: slice, components: int | None) -> Verifier:
    if score == "joint-bayesian":
      assert training is not None
      return JointBayesian.fit(training.embedding_nd[:, column], training.label_n, components=components, say=lambda line: None)
    return (Cosine if score == "cosine" else InnerProduct).fit(np.zeros((0, self.size)))

  def _check(self, embeddings: Embeddings) -> None:
    if embeddings.embedding_nd.shape[1] != len(self.names) * self.size:
      raise ValueError(f"embeddings of {embeddings.embedding_nd.shape[1]:,} numbers: {len(self.names)} patches of {self.size} have {len(self.names) * self.size:,}")


def read_selection(path: str | Path) -> tuple[PatchFeatures, list[list[str]]]:
  """The features and the groups of a file of `jaxface patches select`.

  Args:
    path: its `selection.json`.
  Raises:
    FileNotFoundError: no such file.
    DamagedData: not such a file, or damaged.
  """
  found = read_checked_json(path)
  try:
    if found["kind"] != KIND:
      raise DamagedData(f"is a {found['kind']}, not a patch selection", file=str(path))
    made: Mapping = found["made_from"]
    return PatchFeatures(tuple(map(str, found["names"])), int(made["size"])), [list(map(str, group)) for group in found["groups"]]
  except (KeyError, TypeError, ValueError) as error:
    raise DamagedData("not the file of a patch selection", file=str(path)) from error


__all__ = ["MIRRORED", "SCORES", "PatchFeatures", "read_selection"]
