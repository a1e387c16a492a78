"""A folder of images as a source without packing, for embedding a few thousand images once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from jaxface.data.source import UnreadableRow
from jaxface.formats.bounded import read_bounded
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import IMAGE_SUFFIXES, decode_image, fit_image
from jaxface.formats.manifest import UNKNOWN_TEMPLATE
from jaxface.formats.parallel import num_cores
from jaxface.formats.walk import is_image, level_note, name_note, record_names, unread_advice, walk


class FolderSource:
  """Images below `path`, in sorted order, found and named as by `pack`; or one image.

  The identity of an image is its folder directly below `path`; images in `path` itself share one.

  Args:
    path: a folder, searched to any depth, or an image file.
    size: minimum (height, width) of every image in pixels; larger ones are cropped around their centre. None does not crop;
      all images must then have the size of the first.
    template: alignment template of the images, "unknown" if not specified.
    threads: number of decoding threads; 0 for one per core that this process may use.
    resize: images of another size than `size` are resized as `pack` does, instead of cropped.
  Attributes:
    notes: lines for the user on what was ignored, see `jaxface.formats.walk`.
  Raises:
    FileNotFoundError: `path` does not exist.
    ValueError: no image below `path`, no readable image, or a file of an unsupported format.
  """

  def __init__(
    self, path: Path | str, *, size: tuple[int, int] | None, template: str = UNKNOWN_TEMPLATE, threads: int = 0,
    resize: bool = False,
  ):
    path = Path(path)
    self.notes: tuple[str, ...] = ()
    paths: tuple[str, ...]
    if path.is_file():
      root, paths = path.parent, (path.name,)
      if not is_image(path.name):
        advice = unread_advice(path.suffix) or f"supported are {', '.join(IMAGE_SUFFIXES)}"
        raise ValueError(f"{path}: not an image by its suffix: {advice}")
    else:
      found = walk(path)
      root, paths = path, found.paths
      self.notes = (*level_note(root, paths), *found.notes)
      if not paths:
        notes = "".join(f". {note}" for note in found.notes)
        raise ValueError(f"{root}: no images below this folder (looked for {', '.join(IMAGE_SUFFIXES)}){notes}")
    self._files = [root / one for one in paths]
    self._names = record_names(paths)
    self.notes += tuple(name_note(paths, self._names))
    people = [one.split("/", 1)[0] if "/" in one else "" for one in paths]
    label = {name: number for number, name in enumerate(sorted(set(people)))}
    self.label_n = np.asarray([label[name] for name in people], np.int32)
    self.num_records, self.num_identities = len(paths), len(label)
    self._whole, self._resize = size is None, resize
    self.image_shape, self.template = (*(size or self._first_size(root)), 3), template
    self._pool = ThreadPoolExecutor(threads or num_cores(), thread_name_prefix="jaxface-decode")

  def _first_size(self, root: Path) -> tuple[int, int]:
    for file in self._files:
      try:
        height, width = decode_image(read_bounded(file), where=str(file)).shape[:2]
      except DamagedData as error:
        first = error  # it is reported again when it is read
        continue
      return height, width
    raise ValueError(f"{root}: none of the {len(self._files):,} images below this folder can be read; the last: {first}")

  def names(self) -> list[str]:
    """Path of each image below the folder, without suffix, or with it if another image would have the same name."""
    return self._names

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    """Decodes images into `out` [n, H, W, 3] uint8; returns one error per image that cannot be read."""
    results = self._pool.map(self._try, range(len(out)), np.asarray(record_n).tolist(), out)
    return [error for error in results if error is not None]

  def read_whole(self, record: int) -> np.ndarray:
    """One image [H, W, 3] uint8 of any size, without a crop.

    Raises:
      DamagedData: it cannot be read.
    """
    return decode_image(read_bounded(self._files[record]), where=str(self._files[record]))

  def _try(self, row: int, record: int, out_hwc: np.ndarray) -> UnreadableRow | None:
    try:
      self._read_one(self._files[record], out_hwc)
    except DamagedData as error:
      return UnreadableRow(error, row)
    return None

  def _read_one(self, file: Path, out_hwc: np.ndarray) -> None:
    image_hwc = decode_image(read_bounded(file), where=str(file))
    height, width = out_hwc.shape[:2]
    if self._whole and image_hwc.shape != out_hwc.shape:
      size = "x".join(map(str, image_hwc.shape[:2]))
      raise DamagedData(f"image is {size} pixels, the first of the folder {height}x{width}", file=str(file))
    if self._resize and not self._whole:
      out_hwc[:] = fit_image(image_hwc, (height, width))
      return
    top, left = (image_hwc.shape[0] - height) // 2, (image_hwc.shape[1] - width) // 2
    if top < 0 or left < 0:
      raise DamagedData(
        f"image is {image_hwc.shape[0]}x{image_hwc.shape[1]} pixels, the model takes {height}x{width}", file=str(file)
      )
    out_hwc[:] = image_hwc[top : top + height, left : left + width]
