"""Calibrates the folded batch norms of a saved model on images, so that it can be trained further."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from jaxface.data.source import Source
from jaxface.inference.embed import check_template
from jaxface.models.calibration import CALIBRATION_IMAGES, calibrate, folded_norms, norm_meta
from jaxface.models.saved import SavedModel

BATCH = 64


def calibrate_on(saved: SavedModel, source: Source) -> SavedModel:
  """A model that computes the same function, with calibrated norms for training; see `jaxface.models.calibration`.

  Args:
    saved: the model; returned unchanged if it has no folded norms.
    source: faces; some thousand of them, evenly spaced, are used. Unreadable ones are ignored.
  Raises:
    ValueError: no readable face, or another template than the model's.
    UncalibratedNorm: see `calibrate`.
  """
  check_template(source.template, saved.preprocess.template)
  if not folded_norms(saved.variables):
    return saved
  seen = 0

  def batches() -> Iterator[np.ndarray]:
    nonlocal seen
    wanted = min(source.num_records, CALIBRATION_IMAGES)
    record_n = np.linspace(0, source.num_records - 1, wanted).round().astype(np.int64)
    for chunk_n in np.split(record_n, range(BATCH, len(record_n), BATCH)):
      image_bhwc = np.empty((len(chunk_n), *source.image_shape), np.uint8)
      bad = {error.row for error in source.read(chunk_n, image_bhwc)}
      good_n = np.array([row for row in range(len(chunk_n)) if row not in bad], np.int64)
      if len(good_n):
        seen += len(good_n)
        # A short batch repeats its images evenly, so that all batches have one shape and compile once.
        yield image_bhwc[np.resize(good_n, min(BATCH, len(record_n)))]

  variables = calibrate(saved.module, saved.variables, batches(), saved.preprocess.apply)
  return replace(saved, variables=variables, meta={**saved.meta, **norm_meta(variables, calibrated_on=seen)})


__all__ = ["calibrate_on"]
