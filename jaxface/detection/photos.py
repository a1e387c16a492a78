"""Detection in any number of photos of any size: batches of one size class, on one or several devices."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxface.detection.contract import Detector
from jaxface.detection.detections import Detections
from jaxface.detection.size_classes import side_class, stack_photos
from jaxface.formats.errors import DamagedData
from jaxface.formats.reduced import decode_reduced, shrink_image

# Photos whose longer side has more pixels are reduced to it first.
LARGEST = 4096
# Photos per batch on an accelerator. On a CPU a batch is no faster than one photo after the other.
ACCELERATOR_BATCH = 8
Photo = np.ndarray | bytes | str | Path


def detect(
  images: Iterable[Photo], detector: Detector | str | Path | None = None, *, batch_size: int | None = None,
  devices: Sequence[jax.Device] | None = None, largest: int = LARGEST,
  on_damage: Callable[[int, Exception], object] | None = None, done: Callable[[int], object] | None = None,
) -> list[Detections | None]:
  """Faces in photos, each in pixels of its own photo.

  Args:
    images: [H, W, 3] or [H, W] uint8 arrays, files by their paths, or contents of files; read once, in order.
    detector: a detector, or the folder or the name of one; None uses MTCNN (`load_detector`).
    batch_size: photos of one size class that are computed together; None chooses by the device. It does not change results.
    devices: where to compute; None uses all devices of this process.
    largest: photos with a longer side are reduced to it before the search, in pixels. Faces smaller than the detector's
      smallest one times that reduction are not found.
    on_damage: called with the number of a photo that cannot be read and the error; its result is then None.
      Without it the error is raised.
    done: called with the number of each photo that is finished, in any order.
  Returns:
    `Detections` per photo, in the order of the arguments.
  Raises:
    DamagedData, OSError: a photo cannot be read, without `on_damage`.
    ValueError: an array that is not a photo; names its number.
  """
  from jaxface.detection.registry import load_detector

  found = load_detector(detector) if detector is None or isinstance(detector, (str, Path)) else detector
  used = list(devices or jax.local_devices())
  if batch_size is None:
    batch_size = 1 if used[0].platform == "cpu" else ACCELERATOR_BATCH
  if batch_size < 1 or largest < 1:
    raise ValueError(f"batch_size is {batch_size} and largest is {largest}: both should be at least 1")
  results: dict[int, Detections | None] = {}

  def finish(numbers: list[int], factors: list[float], sizes: list[tuple[int, int]], batch: list[Detections]) -> None:
    for number, factor, size, detections in zip(numbers, factors, sizes, batch):
      results[number] = detections if factor == 1 else detections.scaled(factor, size)
      if done is not None:
        done(number)

  def refuse(number: int, error: Exception) -> None:
    if on_damage is None:
      raise error
    results[number] = None
    on_damage(number, error)
    if done is not None:
      done(number)

  with ThreadPoolExecutor(len(used)) as pool:
    waiting: list[Future[Any]] = []
    for turn, (size, batch) in enumerate(_batches(_read(images, largest, refuse), batch_size)):
      numbers, photos, factors, sizes = (list(part) for part in zip(*batch))
      image_bhwc, size_b2 = stack_photos(photos, size, batch_size)
      waiting.append(pool.submit(_run, found, image_bhwc, size_b2, used[turn % len(used)], numbers, factors, sizes))
      while len(waiting) > len(used):  # photos in memory are bounded
        finish(*waiting.pop(0).result())
    for future in waiting:
      finish(*future.result())
  return [results[number] for number in range(len(results))]


def _run(
  detector: Detector, image_bhwc: np.ndarray, size_b2: np.ndarray, device: jax.Device, numbers: list[int], factors: list[float],
  sizes: list[tuple[int, int]],
) -> tuple[list[int], list[float], list[tuple[int, int]], list[Detections]]:
  return numbers, factors, sizes, detector.detect_batch(image_bhwc, size_b2, device)


_Ready = tuple[int, np.ndarray, float, tuple[int, int]]


def _read(
  images: Iterable[Photo], largest: int, refuse: Callable[[int, Exception], None]
) -> Iterator[_Ready]:
  """Number, pixels, factor of reduction and full size of each photo that can be read."""
  for number, image in enumerate(images):
    try:
      photo, size = read_photo(image, largest, where=f"photo {number}")
    except (DamagedData, OSError, ValueError) as error:
      refuse(number, error)
      continue
    yield number, photo, max(size) / max(photo.shape[:2]), size


def read_photo(image: Photo, largest: int = LARGEST, *, where: str = "photo") -> tuple[np.ndarray, tuple[int, int]]:
  """Pixels of a photo, reduced to at most `largest` pixels on its longer side.

  Args:
    image: an array, a path, or the bytes of a file.
    largest: in pixels.
    where: name for messages, for arrays and bytes.
  Returns:
    [h, w, 3] uint8, and the (height, width) before the reduction.
  Raises:
    DamagedData, OSError: it cannot be read.
    ValueError: an array of another shape or dtype.
  """
  if isinstance(image, (str, Path)):
    image, where = Path(image).read_bytes(), str(image)
  if isinstance(image, (bytes, memoryview)):
    return decode_reduced(image, largest, where=where)
  array = np.asarray(image)
  if array.ndim == 2:
    array = np.repeat(array[..., None], 3, -1)
  if array.ndim != 3 or array.shape[-1] != 3 or array.dtype != np.uint8 or not array.size:
    raise ValueError(f"{where}: array of shape {np.shape(image)} and dtype {array.dtype}, expected [H, W, 3] or [H, W] uint8")
  return shrink_image(array, largest), array.shape[:2]


def _batches(photos: Iterable[_Ready], batch_size: int) -> Iterator[tuple[tuple[int, int], list[_Ready]]]:
  """Batches of one size class; the last ones of each class have fewer photos."""
  open_batches: dict[tuple[int, int], list[_Ready]] = {}
  for ready in photos:
    size = (side_class(ready[1].shape[0]), side_class(ready[1].shape[1]))
    batch = open_batches.setdefault(size, [])
    batch.append(ready)
    if len(batch) == batch_size:
      yield size, open_batches.pop(size)
  yield from open_batches.items()


__all__ = ["LARGEST", "Photo", "detect", "read_photo"]
