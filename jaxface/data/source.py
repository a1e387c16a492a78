"""The interface of a source of faces, the error for a row that it cannot read, and single images."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from jaxface.formats.errors import DamagedData
from jaxface.formats.images import encode_jpeg


class UnreadableRow(DamagedData):
  """A damaged record, with its row of the batch.

  Args:
    error: the error of the record.
    row: index into the requested records.
  """

  def __init__(self, error: DamagedData, row: int):
    super().__init__(error.what, file=error.file, offset=error.offset, record=error.record)
    self.row = row


def identity_names(source: Any) -> list[str] | None:
  """Names of a source's identities by label, from its method `identity_names`; None if it has none."""
  names = getattr(source, "identity_names", None)
  return None if names is None else names()


def targets(source: Any) -> np.ndarray | None:
  """[N, T] float32, targets of a source's records; None if it has none."""
  return getattr(source, "target_nt", None)


def parts(source: Any) -> np.ndarray:
  """[N] int32, the set of a mixture that each record of a source is from; all 0 if it is no mixture."""
  found = getattr(source, "part_n", None)
  return np.zeros(source.num_records, np.int32) if found is None else found


def shards(source: Any) -> np.ndarray | None:
  """[N] int32, ascending, the shard of each record; None if the source has none."""
  return getattr(source, "shard_n", None)


class Source(Protocol):
  """Faces of one size by record number.

  A source whose identities have globally valid names also has a method `identity_names()`, see above. One whose records have targets
  of a regression, such as face points, also has `target_nt`: [N, T] float32. A mixture of sets has `part_n`: [N] int32, see `parts`; one that is
  read from shards has `shard_n`, see `shards`.

  Attributes:
    num_records: number of faces; records are numbered from 0.
    num_identities: number of identities; labels are dense, from 0.
    label_n: [N] int32, identity of each record.
    image_shape: (height, width, channels) of every face.
    template: name of the alignment template, "unknown" if not specified, or "none".
  """

  num_records: int
  num_identities: int
  label_n: np.ndarray
  image_shape: tuple[int, int, int]
  template: str

  def names(self) -> list[str]:
    """Name of each record."""
    ...

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    """Writes faces into `out`.

    Args:
      record_n: [N] int, record numbers.
      out: [N, H, W, C] uint8, C-contiguous; unreadable rows are undefined afterwards.
    Returns:
      One error per unreadable row, in order of rows; empty if there are none.
    """
    ...


def read_image(source: Source, record: int) -> np.ndarray:
  """One face [H, W, C] uint8.

  Raises:
    DamagedData: it cannot be read.
  """
  image_nhwc = np.zeros((1, *source.image_shape), np.uint8)
  for error in source.read(np.array([record]), image_nhwc):
    raise error
  return image_nhwc[0]


def pictures_of(source: Source, read: Callable[[int], np.ndarray] | None = None) -> Callable[[str], bytes | None]:
  """A function that gives an image as JPEG by name; None if it cannot be read or there is none.

  Args:
    source: of the images.
    read: reads one by record number; by default `read_image`.
  """
  record_of = {name: record for record, name in enumerate(source.names())}

  def encoded(name: str) -> bytes | None:
    record = record_of.get(name)
    if record is None:  # of a video, for example
      return None
    try:
      return encode_jpeg(read(record) if read else read_image(source, record))
    except DamagedData:
      return None

  return encoded
