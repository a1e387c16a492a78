"""Finished levels of a sweep on disk: each is written whole, and belongs to one model, one set of images and one pair list."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxface.data.fingerprint import digest
from jaxface.data.source import Source
from jaxface.formats.checked_json import read_checked_json, write_checked_json
from jaxface.formats.embeddings import Embeddings, read_embeddings, write_embeddings
from jaxface.formats.errors import DamagedData
from jaxface.formats.pairs import Pairs
from jaxface.models.saved import SavedModel

CHUNK = 256
PLAIN = "plain"
KEY = "sweep"


class OtherSweep(ValueError):
  """The folder has levels of another model, other images, other pairs or other settings."""


@dataclass(frozen=True)
class Level:
  """What is kept of a level: everything else follows from it.

  Attributes:
    score_p: [P] float64, cosine of each pair.
    threshold_f: [F] float64, threshold of each fold.
    threshold_from: see `Folds`.
    seconds: time spent on it.
  """

  score_p: np.ndarray
  threshold_f: np.ndarray
  threshold_from: str
  seconds: float


@dataclass(frozen=True)
class Store:
  """The levels in a folder.

  Attributes:
    folder: the folder.
    facts: what all of its levels have in common, plain JSON values by name.
  """

  folder: Path
  facts: Mapping[str, Any]

  def load(self, name: str, facts: Mapping[str, Any]) -> Level | None:
    """A finished level; None if there is none.

    Args:
      name: of the level, such as "jpeg_30".
      facts: further ones of this level.
    Raises:
      OtherSweep: it is of another model, images, pairs or settings; says which.
      DamagedData: the file is damaged.
    """
    file = self._file(name)
    if not file.is_file():
      return None
    plain = read_checked_json(file)
    self._check(file, plain.get("facts"), facts)
    try:
      score_p, threshold_f = (np.asarray(plain[key], np.float64) for key in ("score", "threshold"))
      return Level(score_p, threshold_f, str(plain["threshold_from"]), float(plain["seconds"]))
    except (KeyError, TypeError, ValueError) as error:
      raise DamagedData(f"not a level of a sweep: {error!r}; delete it to compute it again", file=file) from error

  def save(self, name: str, facts: Mapping[str, Any], level: Level) -> None:
    """Write a finished level, atomically."""
    write_checked_json(self._file(name), {
      "facts": {**self.facts, **facts}, "seconds": level.seconds, "threshold_from": level.threshold_from,
      "threshold": level.threshold_f.tolist(), "score": level.score_p.tolist(),
    })

  def load_embeddings(self) -> Embeddings | None:
    """Embeddings of the unchanged images; None if there are none.

    Raises:
      OtherSweep: see `load`.
    """
    file = self._file(PLAIN).with_suffix(".npz")
    if not file.is_file():
      return None
    found = read_embeddings(file)
    self._check(file, found.meta.get(KEY), {})
    return found

  def save_embeddings(self, embeddings: Embeddings) -> None:
    """Write the embeddings of the unchanged images, atomically."""
    write_embeddings(
      self._file(PLAIN).with_suffix(".npz"),
      Embeddings(embeddings.embedding_nd, embeddings.names, embeddings.label_n, {**embeddings.meta, KEY: dict(self.facts)}),
    )

  def _file(self, name: str) -> Path:
    return self.folder / "levels" / f"{name}.json"

  def _check(self, file: Path, found: Any, facts: Mapping[str, Any]) -> None:
    expected = {**self.facts, **facts}
    if not isinstance(found, dict):
      raise DamagedData("not a level of a sweep; delete it to compute it again", file=file)
    differ = [name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)]
    if differ:
      shown = [
        name if len(str(found.get(name))) > 20 else f"{name} ({found.get(name)}, now {expected.get(name)})" for name in differ
      ]
      raise OtherSweep(f"{file} was made with other values of: {', '.join(shown)}. Give another --out, or delete the folder {self.folder}")


def level_name(axis: str, value: float) -> str:
  """Name of a level in a folder."""
  return f"{axis}_{value:.12g}"


def model_digest(saved: SavedModel) -> str:
  """Digest of network, options, input convention and variables."""
  leaves = jax.tree_util.tree_leaves_with_path(saved.variables)
  named = [part for where, leaf in leaves for part in (jax.tree_util.keystr(where), np.asarray(leaf))]
  return digest([saved.name, repr(sorted(saved.options.items())), repr(saved.preprocess.to_json()), *named])


def pairs_digest(pairs: Pairs, train: Pairs | None) -> str:
  """Digest of names, labels and folds of a list, and of the one that sets the threshold."""
  parts: list[Any] = []
  for one in (pairs, *([train] if train else [])):
    parts += [*one.left, *one.right, np.asarray(one.same), np.asarray(one.fold, np.int64)]
  return digest(parts)


def images_digest(source: Source, *, progress: bool = False) -> str:
  """Digest of names and pixels of all images of a source, which are read once.

  Raises:
    DamagedData: an image cannot be read.
  """
  parts: list[Any] = list(source.names())
  starts = range(0, source.num_records, CHUNK)

  def chunks() -> Any:
    yield from parts
    for start in tqdm(starts, desc="check images", unit=f"{CHUNK} images", disable=not progress):
      record_n = np.arange(start, min(start + CHUNK, source.num_records))
      image_nhwc = np.empty((len(record_n), *source.image_shape), np.uint8)
      for error in source.read(record_n, image_nhwc):
        raise error
      yield image_nhwc

  return digest(chunks())


def folder_name(path: str) -> str:
  """A name for a model's folder, from its path."""
  parts = [part for part in Path(path).parts if part not in ("model", "/", ".", "..")]
  return re.sub(r"[^\w.-]", "_", parts[-1] if parts else "model")


__all__ = ["PLAIN", "Level", "OtherSweep", "Store", "folder_name", "images_digest", "level_name", "model_digest", "pairs_digest"]
