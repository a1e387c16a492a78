"""What all sets of faces in files of other programs have in common."""

from pathlib import Path

import numpy as np

from jaxface.formats.errors import DamagedData
from jaxface.formats.images import decode_image


class FaceSet:
  """Faces in files of another program, read where they are; see `RecordSet` for the methods that both have.

  Attributes:
    path: the file, or a name that stands for several, such as `DIR/*.tar`.
    layout: its layout, see `jaxface.formats.sources.LAYOUTS`.
    num_records: number of images.
    num_identities: number of identities with images.
    label_n: [N] int32, identity of each image.
    identity_names: names of the identities, by label.
    template: name of the alignment template.
    image_shape: (height, width, 3) of the first image; the others may differ.
    sha256: digest of the contents, independent of the path.
    notes: lines for the user, on what was ignored.
  """

  path: Path
  layout: str
  num_records: int
  num_identities: int
  label_n: np.ndarray
  identity_names: list[str]
  template: str
  image_shape: tuple[int, int, int]
  sha256: str
  notes: tuple[str, ...] = ()

  def __len__(self) -> int:
    return self.num_records

  def place(self, record: int) -> tuple[Path, int]:
    """The file of a record, and its offset there."""
    raise NotImplementedError

  def image(self, record: int) -> memoryview:
    """The image file of a record."""
    raise NotImplementedError

  def names(self) -> list[str]:
    """Name of each record."""
    raise NotImplementedError

  def check_record(self, record: int) -> None:
    """Raises `IndexError` for a record that is not there."""
    if not 0 <= record < self.num_records:
      raise IndexError(f"record {record}: {self.path} has records 0 to {self.num_records - 1}")

  def first_shape(self) -> tuple[int, int, int]:
    """(height, width, 3) of the first image that can be read.

    Raises:
      ValueError: none can.
    """
    for record in range(self.num_records):
      try:
        height, width, _ = decode_image(self.image(record), where=str(self.path)).shape
      except DamagedData as error:
        first = error
        continue
      return height, width, 3
    raise ValueError(f"{self.path}: {f'no image can be read; the last: {first}' if self.num_records else 'has no image'}")


__all__ = ["FaceSet"]
