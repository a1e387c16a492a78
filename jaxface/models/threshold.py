"""The threshold in a model directory, `threshold.json`: read by everything that decides whether two images show the same person."""

import logging
from dataclasses import replace
from pathlib import Path

from jaxface.formats.threshold import (
  COSINE,
  THRESHOLD_FILE,
  Threshold,
  read_threshold_file,
  write_threshold_file,
)
from jaxface.models.description import describe_model, model_folder
from jaxface.models.saved import SavedModel, load_model

_log = logging.getLogger(__name__)
_HOW = "measure it with `jaxface threshold --far 1e-4 --model DIR --images FACES --all-pairs --write DIR`"


def read_threshold(model: str | Path, *, mirror: str | None = None) -> Threshold:
  """The threshold of a model, for embeddings of this model and mirror setting.

  Args:
    model: model directory, or workdir of a training run.
    mirror: use of the mirror image in the embeddings to be compared; None does not compare it.
  Raises:
    FileNotFoundError: no model, or a model without a threshold; says which command measures it.
    ValueError: it was measured with other weights or another mirror setting.
    DamagedData: the file is damaged.
  """
  folder = model_folder(model)
  file = folder / THRESHOLD_FILE
  if not file.is_file():
    raise FileNotFoundError(f"{file}: no such file: the model has no threshold; {_HOW}")
  found = read_threshold_file(file)
  check_threshold(found, _digest(folder), mirror, file)
  return found


def write_threshold(model: str | Path, threshold: Threshold, *, mirror: str | None = None) -> Path:
  """Writes the threshold of a model, atomically; an existing one is replaced.

  Args:
    model: model directory, or workdir of a training run.
    threshold: measured on embeddings of this model.
    mirror: the mirror setting that the embeddings are to have; None accepts any that is known.
  Returns:
    The file.
  Raises:
    FileNotFoundError: no model there.
    ValueError: it was measured on embeddings of another or an unknown model, or of another or an unknown mirror setting.
  """
  folder = model_folder(model)
  file = folder / THRESHOLD_FILE
  if not threshold.model_digest or not threshold.mirror:
    raise ValueError(
      f"{file}: not written: the embeddings do not record which model and mirror setting made them; embed the images again with"
      " `jaxface embed`, or measure with --model DIR --images FACES"
    )
  check_threshold(threshold, _digest(folder), mirror, file)
  write_threshold_file(file, threshold)
  return file


def with_threshold(saved: SavedModel, model: str | Path) -> SavedModel:
  """A model with the threshold of the folder that it was loaded from, if there is one for its weights.

  Args:
    saved: from `load_model`.
    model: model directory, or workdir of a training run.
  Raises:
    DamagedData: the file is damaged.
  """
  file = model_folder(model) / THRESHOLD_FILE
  if not file.is_file():
    return saved
  found = replace(saved, threshold=read_threshold_file(file))
  if found.own_threshold is None:
    _log.warning("note: %s was measured with other weights and is not used: measure it again (jaxface threshold)", file)
  return found


def check_threshold(threshold: Threshold, digest: str, mirror: str | None, where: str | Path) -> None:
  """Rejects a threshold that does not hold for embeddings of a model.

  Args:
    threshold: the threshold.
    digest: of the model, `SavedModel.digest`.
    mirror: mirror setting of the embeddings; None does not compare it.
    where: file, for messages.
  Raises:
    ValueError: measured on embeddings of another model or mirror setting, or on scores of a verifier.
  """
  if threshold.score != COSINE:
    raise ValueError(f"{where}: the threshold of a model is a cosine, this one is of the scores of {threshold.score}: it belongs into the verifier's file")
  if threshold.model_digest != digest:
    raise ValueError(
      f"{where}: the threshold is of other embeddings: of the model with digest {threshold.model_digest or 'unknown'}, this one has {digest};"
      f" {_HOW}"
    )
  if mirror is not None and threshold.mirror != mirror:
    raise ValueError(
      f"{where}: the threshold holds for embeddings with mirror {threshold.mirror or 'unknown'!r}, not {mirror!r}: embed with --mirror"
      f" {threshold.mirror or 'sum'}, or {_HOW}"
    )


def _digest(folder: Path) -> str:
  return describe_model(folder).digest or load_model(folder).digest


__all__ = ["check_threshold", "read_threshold", "with_threshold", "write_threshold"]
