"""A folder of images as a source, without packing: for embedding a few thousand images once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from jaxface.data.source import UnreadableRow
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import IMAGE_SUFFIXES, decode_image
from jaxface.formats.parallel import num_cores


class FolderSource:
  """Images below `path`, in sorted order; the folder an image lies in is its identity.

  Args:
    path: searched to any depth.
    size: (height, width) in pixels that every image must have at least; larger ones are cropped around their centre. None
      takes images whole, which then must have one size, that of the first.
    template: alignment template of the images.
    threads: how many decode at once; 0 is one for each core this process may use.
  Raises:
    ValueError: no image below `path`, none that can be read, or two that differ in their suffix only.
  """

  def __init__(self, path: Path | str, *, size: tuple[int, int] | None, template: str = "arcface112", threads: int = 0):
    root = Path(path)
    if not root.is_dir():
      raise ValueError(f"{root}: no such folder")
    self._files = sorted(file for file in root.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not self._files:
      raise ValueError(f"{root}: no images below this folder (looked for {', '.join(sorted(IMAGE_SUFFIXES))})")
    self._names = [file.relative_to(root).with_suffix("").as_posix() for file in self._files]
    twice = [name for name, count in Counter(self._names).items() if count > 1]
    if twice:
      raise ValueError(f"{root}: several images are called {twice[0]!r} but for the suffix: pairs could not tell them apart")
    folders = sorted({file.parent for file in self._files})
    label = {folder: index for index, folder in enumerate(folders)}
    self.label_n = np.asarray([label[file.parent] for file in self._files], np.int32)
    self.num_records, self.num_identities = len(self._files), len(folders)
    self._whole = size is None
    self.image_shape, self.template = (*(size or self._first_size(root)), 3), template
    self._pool = ThreadPoolExecutor(threads or num_cores(), thread_name_prefix="jaxface-decode")

  def _first_size(self, root: Path) -> tuple[int, int]:
    for file in self._files:
      try:
        height, width = decode_image(file.read_bytes(), where=str(file)).shape[:2]
      except DamagedData:
        continue  # it is named when it is read
      return height, width
    raise ValueError(f"{root}: none of the {len(self._files):,} images below this folder can be read")

  def names(self) -> list[str]:
    """Path of each image below the folder, without suffix."""
    return self._names

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    """Decodes images into `out` [n, H, W, 3] uint8; returns one error per image that cannot be read."""
    results = self._pool.map(self._try, range(len(out)), np.asarray(record_n).tolist(), out)
    return [error for error in results if error is not None]

  def _try(self, row: int, record: int, out_hwc: np.ndarray) -> UnreadableRow | None:
    try:
      self._read_one(self._files[record], out_hwc)
    except DamagedData as error:
      return UnreadableRow(error, row)
    return None

  def _read_one(self, file: Path, out_hwc: np.ndarray) -> None:
    image_hwc = decode_image(file.read_bytes(), where=str(file))
    height, width = out_hwc.shape[:2]
    if self._whole and image_hwc.shape != out_hwc.shape:
      size = "x".join(map(str, image_hwc.shape[:2]))
      raise DamagedData(f"image is {size} pixels, the first of the folder {height}x{width}", file=str(file))
    top, left = (image_hwc.shape[0] - height) // 2, (image_hwc.shape[1] - width) // 2
    if top < 0 or left < 0:
      raise DamagedData(
        f"image is {image_hwc.shape[0]}x{image_hwc.shape[1]} pixels, the model takes {height}x{width}", file=str(file)
      )
    out_hwc[:] = image_hwc[top : top + height, left : left + width]
