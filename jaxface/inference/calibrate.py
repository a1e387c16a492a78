"""Calibrates the folded batch norms of a saved model on images, so that it can be trained further."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from jaxface.data.source import Source
from jaxface.formats.errors import DamagedData
from jaxface.inference.embed import check_template, unusable
from jaxface.models.calibration import CALIBRATION_IMAGES, calibrate, folded_norms, norm_meta
from jaxface.models.saved import SavedModel

BATCH = 64
_log = logging.getLogger(__name__)


def calibrate_on(saved: SavedModel, source: Source, *, say: Callable[[str], object] = _log.info) -> SavedModel:
  """A model that computes the same function, with calibrated norms for training; see `jaxface.models.calibration`.

  Args:
    saved: the model; returned unchanged if it has no folded norms.
    source: faces; some thousand of them, evenly spaced, are used. Unreadable ones are skipped.
    say: called with each line for the user: on alignment, and on files that are skipped.
  Raises:
    ValueError: no readable face, or another template than the model's.
    UncalibratedNorm: see `calibrate`.
  """
  for line in (*check_template(source.template, saved.preprocess.template), *getattr(source, "notes", ())):
    say(line)
  if not folded_norms(saved.variables):
    return saved
  seen = 0

  def batches() -> Iterator[np.ndarray]:
    nonlocal seen
    wanted = min(source.num_records, CALIBRATION_IMAGES)
    for image_bhwc in evenly_spaced(source, wanted, say):
      seen += len(image_bhwc)
      # A short batch repeats its images evenly, so that all batches have one shape and compile once.
      yield image_bhwc[np.resize(np.arange(len(image_bhwc)), min(BATCH, wanted))]

  variables = calibrate(saved.module, saved.variables, batches(), saved.preprocess.apply)
  return replace(saved, variables=variables, meta={**saved.meta, **norm_meta(variables, calibrated_on=seen)})


def evenly_spaced(source: Source, wanted: int, say: Callable[[str], object]) -> Iterator[np.ndarray]:
  """Images of evenly spaced records, in batches [B, H, W, C] uint8 of at most 64; unreadable ones are left out.

  Args:
    source: faces.
    wanted: number of records to read, at most all.
    say: called with a line at the end if some cannot be read.
  Raises:
    ValueError: none of them can be read.
  """
  record_n = np.linspace(0, source.num_records - 1, min(source.num_records, wanted)).round().astype(np.int64)
  damaged: list[DamagedData] = []
  seen = 0
  for chunk_n in np.split(record_n, range(BATCH, len(record_n), BATCH)):
    image_bhwc = np.empty((len(chunk_n), *source.image_shape), np.uint8)
    errors = source.read(chunk_n, image_bhwc)
    damaged.extend(errors)
    bad = {error.row for error in errors}
    good_n = np.array([row for row in range(len(chunk_n)) if row not in bad], np.int64)
    if len(good_n):
      seen += len(good_n)
      yield image_bhwc[good_n]
  if damaged and not seen:
    raise ValueError(f"none of the {len(damaged):,} images to calibrate on can be used; the first: {damaged[0]}")
  if damaged:
    say(unusable(damaged, seen + len(damaged)))


__all__ = ["calibrate_on", "evenly_spaced"]
