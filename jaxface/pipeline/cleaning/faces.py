"""Unit embeddings of the images of a folder that is cleaned: from files, or by a model in parts that a rerun keeps."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxface.data.source import UnreadableRow
from jaxface.evaluation.matrix_checks import unit_rows
from jaxface.formats.atomic import atomic_file
from jaxface.formats.embeddings import read_embeddings
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import fit_image
from jaxface.formats.lock import FolderLock
from jaxface.formats.manifest import UNKNOWN_TEMPLATE
from jaxface.formats.npz import npz_array, reading_npz
from jaxface.inference.model import Model, load
from jaxface.pipeline.cleaning.state import Cleaning

_PART = 4096
_log = logging.getLogger(__name__)


class _Part:
  """Some images of a folder as a source, see `jaxface.data.Source`."""

  def __init__(self, cleaning: Cleaning, rows: np.ndarray, size: tuple[int, int], template: str):
    self._cleaning, self._rows = cleaning, rows
    self.num_records, self.num_identities, self.label_n = len(rows), 1, np.zeros(len(rows), np.int32)
    self.image_shape, self.template = (*size, 3), template

  def names(self) -> list[str]:
    return [self._cleaning.source.images[row].path for row in self._rows]

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    errors = []
    for place, record in enumerate(np.asarray(record_n).tolist()):
      try:
        out[place] = fit_image(self._cleaning.image(int(self._rows[record])), self.image_shape[:2])
      except DamagedData as error:
        errors.append(UnreadableRow(error, place))
    return errors


def faces_of(
  cleaning: Cleaning, *, embeddings: str | Path | None = None, model: Model | str | Path | None = None, template: str = "",
  progress: bool = False, say: Callable[[str], object] = _log.info,
) -> tuple[np.ndarray, np.ndarray, str]:
  """Unit embeddings of the images.

  Args:
    cleaning: of the images.
    embeddings: file of `jaxface embed`, with a row for each image by its name; other rows are ignored.
    model: a `Model`, or its folder, that embeds the images in parts of 4,096, kept in the work folder for a rerun.
    template: alignment template of the images, if known.
    progress: draw progress bars.
    say: called with each line for the user.
  Returns:
    embeddings [M, D] float32 of unit length, rows [M] int64 of the images that have one, and a digest.
  Raises:
    ValueError: neither or both of embeddings and model; images without a row in the file.
    DamagedData: a damaged file; most images cannot be read.
  """
  if (embeddings is None) == (model is None):
    raise ValueError("give either embeddings, a file of `jaxface embed`, or a model that embeds the images")
  if model is None:
    assert embeddings is not None
    return _from_file(cleaning, Path(embeddings), say)
  net = model if isinstance(model, Model) else load(model)
  digest = hashlib.sha256(f"{net.saved.digest} {cleaning.source.stamp()}".encode()).hexdigest()
  folder = cleaning.work / "embeddings"
  parts, rows = [], []
  with FolderLock(folder, say=say):
    for number, start in enumerate(range(0, len(cleaning.paths), _PART)):
      file = folder / f"{digest[:16]}.{number:05d}.npz"
      some = np.arange(start, min(start + _PART, len(cleaning.paths)))
      if not file.is_file():
        source = _Part(cleaning, some, net.input_size, template or UNKNOWN_TEMPLATE)
        found = net.embed_named(source, skip_unreadable=True, progress=progress, say=say)
        place = {name: row for row, name in zip(some.tolist(), source.names())}
        with atomic_file(file) as out:
          np.savez(out, embedding=found.embedding_nd, row=np.array([place[name] for name in found.names], np.int64))
      with reading_npz(file) as archive:
        parts.append(npz_array(archive, "embedding"))
        rows.append(npz_array(archive, "row"))
  return np.concatenate(parts), np.concatenate(rows), digest


def _from_file(cleaning: Cleaning, file: Path, say: Callable[[str], object]) -> tuple[np.ndarray, np.ndarray, str]:
  given = read_embeddings(file)
  row_of = {name: row for row, name in enumerate(given.names)}
  found = [(row, row_of.get(image.path, row_of.get(image.name))) for row, image in enumerate(cleaning.source.images)]
  rows = [row for row, at in found if at is not None]
  lost = len(found) - len(rows)
  unread = set(given.meta.get("unreadable", ()))
  absent = [cleaning.source.images[row].name for row, at in found if at is None and cleaning.source.images[row].name not in unread]
  if not rows or absent:
    raise ValueError(
      f"{file}: {len(absent):,} of {len(found):,} images of {cleaning.source.root} have no embedding there (first: {absent[0]!r}): embed this"
      " folder with `jaxface embed --images`"
    )
  if lost:
    say(f"{file}: {lost:,} images could not be read when it was made, and are not judged")
  unit_md = unit_rows(given.embedding_nd[[at for _, at in found if at is not None]], names=[cleaning.paths[row] for row in rows])
  digest = hashlib.sha256(np.ascontiguousarray(unit_md).tobytes()).hexdigest()
  return unit_md.astype(np.float32), np.array(rows, np.int64), digest


class Chosen(NamedTuple):
  """Images that a stage looks at and that have an embedding.

  Attributes:
    unit_nd: [N, D] float32 of length one.
    rows: [N] int64, rows of the images.
    names: N names of identities.
    people: the different names, sorted.
    label_n: [N] int64, place of each name in `people`.
  """

  unit_nd: np.ndarray
  rows: np.ndarray
  names: list[str]
  people: np.ndarray
  label_n: np.ndarray


def chosen(unit_md: np.ndarray, have_m: np.ndarray, rows: np.ndarray, identities: Sequence[str]) -> Chosen:
  """Of the images that a stage looks at, those with an embedding.

  Args:
    unit_md, have_m: from `faces_of`.
    rows: rows of the images that the stage looks at.
    identities: the name of each.
  """
  place = np.searchsorted(have_m, rows)
  known = (place < len(have_m)) & (have_m[np.minimum(place, len(have_m) - 1)] == rows)
  names = [name for name, keep in zip(identities, known) if keep]
  return Chosen(unit_md[place[known]], rows[known], names, *np.unique(names, return_inverse=True))


__all__ = ["Chosen", "chosen", "faces_of"]
