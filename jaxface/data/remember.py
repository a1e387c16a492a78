"""A source whose images are made once and then kept in memory."""

from typing import Any

import numpy as np

from jaxface.data.fingerprint import fingerprint
from jaxface.data.source import Source, UnreadableRow, identity_names


class RememberingSource:
  """The same faces as `source`, each read from it once: for images that cost more to make than to keep.

  Args:
    source: any source; its images take num_records · H · W · C bytes here.
  """

  def __init__(self, source: Source):
    self.source = source
    self.num_records, self.num_identities = source.num_records, source.num_identities
    self.label_n, self.image_shape, self.template = source.label_n, source.image_shape, source.template
    # Pages of an empty array take no memory before something is written to them.
    self._image_bhwc = np.empty((source.num_records, *source.image_shape), np.uint8)
    self._known_n = np.zeros(source.num_records, np.bool_)

  def names(self) -> list[str]:
    """Name of each record."""
    return self.source.names()

  def fingerprint(self) -> dict[str, Any]:
    """Of the source."""
    return fingerprint(self.source)

  def identity_names(self) -> list[str] | None:
    """Name of each identity, by label; None where the source does not know them."""
    return identity_names(self.source)

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    """Copies records into `out`, after reading those that are new; two threads may both read one, to the same end.

    Args:
      record_n: [N] int, which.
      out: [N, H, W, C] uint8, C-contiguous.
    Returns:
      One error per row that could not be read.
    """
    record_n = np.asarray(record_n)
    new_n = np.flatnonzero(~self._known_n[record_n])
    errors: list[UnreadableRow] = []
    if len(new_n):
      fresh_bhwc = np.empty((len(new_n), *self.image_shape), np.uint8)
      errors = self.source.read(record_n[new_n], fresh_bhwc)
      bad = {error.row for error in errors}
      good_n = np.array([row for row in range(len(new_n)) if row not in bad], np.int64)
      self._image_bhwc[record_n[new_n[good_n]]] = fresh_bhwc[good_n]
      self._known_n[record_n[new_n[good_n]]] = True
      for error in errors:
        error.row = int(new_n[error.row])
    np.take(self._image_bhwc, record_n, axis=0, out=out)
    return errors
