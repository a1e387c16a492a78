"""A source that caches its images in memory."""

from typing import Any

import numpy as np

from jaxface.data.fingerprint import fingerprint
from jaxface.data.source import Source, UnreadableRow, identity_names


class RememberingSource:
  """The same faces as `source`, each read once, for images that are expensive to make.

  Args:
    source: any source; the cache takes num_records · H · W · C bytes.
  """

  def __init__(self, source: Source):
    self.source = source
    self.num_records, self.num_identities = source.num_records, source.num_identities
    self.label_n, self.image_shape, self.template = source.label_n, source.image_shape, source.template
    # Pages of an empty array take no memory before they are written.
    self._image_bhwc = np.empty((source.num_records, *source.image_shape), np.uint8)
    self._known_n = np.zeros(source.num_records, np.bool_)

  def names(self) -> list[str]:
    """Name of each record."""
    return self.source.names()

  def fingerprint(self) -> dict[str, Any]:
    """Fingerprint of the source."""
    return fingerprint(self.source)

  def identity_names(self) -> list[str] | None:
    """Name of each identity, by label; None if the source does not provide them."""
    return identity_names(self.source)

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    """Copies records into `out`, after reading new ones; two threads may both read one, with the same result.

    Args:
      record_n: [N] int, record numbers.
      out: [N, H, W, C] uint8, C-contiguous.
    Returns:
      One error per unreadable row.
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
