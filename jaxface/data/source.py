"""What a source of faces is, and the error that says which row of a batch it could not fill."""

from typing import Any, Protocol

import numpy as np

from jaxface.formats.errors import DamagedData


class UnreadableRow(DamagedData):
  """A damaged record, with the row of the batch that it should have filled.

  Args:
    error: what was found.
    row: index into the records that were asked for.
  """

  def __init__(self, error: DamagedData, row: int):
    super().__init__(error.what, file=error.file, offset=error.offset, record=error.record)
    self.row = row


def identity_names(source: Any) -> list[str] | None:
  """Names of a source's identities by label, where it knows them: by its method `identity_names`."""
  names = getattr(source, "identity_names", None)
  return None if names is None else names()


class Source(Protocol):
  """Faces of one size by number, from wherever they come.

  A source whose identities have names that hold elsewhere too also has a method `identity_names()`, see above.

  Attributes:
    num_records: number of faces; records are numbered from 0.
    num_identities: number of identities; labels are dense, from 0.
    label_n: [N] int32, identity of each record.
    image_shape: (height, width, channels) of every face.
    template: name of the alignment template, "unknown" where nobody said, or "none".
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
      record_n: [N] int, which.
      out: [N, H, W, C] uint8, C-contiguous; rows that cannot be read hold anything afterwards.
    Returns:
      One error per row that could not be read, in order of rows; empty if all is well.
    """
    ...
