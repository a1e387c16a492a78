"""A remembered image is the image, and is asked for once."""

import numpy as np

from jaxface.data.remember import RememberingSource
from jaxface.data.source import UnreadableRow
from jaxface.formats.errors import DamagedData


class Counting:
  """Image r is filled with r; record 3 is damaged."""

  num_records, num_identities, image_shape, template = 8, 2, (2, 2, 3), "none"
  label_n = np.arange(8, dtype=np.int32) // 4

  def __init__(self):
    self.asked = []

  def names(self):
    return [f"r{record}" for record in range(8)]

  def read(self, record_n, out):
    self.asked += record_n.tolist()
    out[:] = record_n[:, None, None, None]
    return [UnreadableRow(DamagedData("bad", record=3), row) for row in np.flatnonzero(record_n == 3)]


def read(source, records):
  out = np.empty((len(records), *source.image_shape), np.uint8)
  return source.read(np.asarray(records), out), out[:, 0, 0, 0].tolist()


def test_each_record_is_read_once():
  source = RememberingSource(Counting())
  assert read(source, [1, 5, 1]) == ([], [1, 5, 1])
  assert read(source, [5, 2, 1]) == ([], [5, 2, 1])
  assert sorted(set(source.source.asked)) == [1, 2, 5] and source.source.asked.count(5) == 1


def test_a_damaged_record_is_named_by_its_row_and_never_kept():
  source = RememberingSource(Counting())
  read(source, [6])
  for _ in range(2):
    errors, _ = read(source, [6, 7, 3])
    assert [(error.row, error.record) for error in errors] == [(2, 3)]
