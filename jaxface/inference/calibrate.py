"""A saved model whose folded batch norms get the statistics of some images, so that it can be trained further."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from jaxface.data.source import Source
from jaxface.inference.embed import check_template
from jaxface.models.calibration import CALIBRATION_IMAGES, calibrate, folded_norms, norm_meta
from jaxface.models.saved import SavedModel

BATCH = 64


def calibrate_on(saved: SavedModel, source: Source) -> SavedModel:
  """A model that computes the same, with norms that a training step does not throw off; see `jaxface.models.calibration`.

  Args:
    saved: with folded norms; one without is returned as it is.
    source: faces; some thousand of them, spread evenly, are looked at. What cannot be read is passed over.
  Raises:
    ValueError: no face that can be read, or of another template than the model takes.
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
        # Batches of one shape compile once: a short one repeats its images, each about as often.
        yield image_bhwc[np.resize(good_n, min(BATCH, len(record_n)))]

  variables = calibrate(saved.module, saved.variables, batches(), saved.preprocess.apply)
  return replace(saved, variables=variables, meta={**saved.meta, **norm_meta(variables, calibrated_on=seen)})


__all__ = ["calibrate_on"]
