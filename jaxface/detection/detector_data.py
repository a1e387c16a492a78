"""The photos that detectors are trained on, and the crops of each stage."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxface.detection.crop_network import crop_side, mirror_shift, mirror_targets
from jaxface.detection.crop_sampling import Sampling, TrainingPhoto, draw_squares, mined_squares
from jaxface.detection.mtcnn import Mtcnn, crop_edges, photo_sums
from jaxface.detection.photos import read_photo
from jaxface.detection.size_classes import side_class, stack_photos
from jaxface.detection.square_crops import cut_squares
from jaxface.evaluation.detection.labelled_photos import LabelledPhoto, read_wider
from jaxface.formats.atomic import inside
from jaxface.formats.errors import DamagedData
from jaxface.formats.landmarks import read_landmarks
from jaxface.formats.npz import npz_array, reading_npz
from jaxface.formats.walk import walk


def split_events(photos: Sequence[LabelledPhoto], every: int) -> tuple[list[LabelledPhoto], list[LabelledPhoto]]:
  """Photos for training, and those of held-out events: every n-th event, by name. The event is the first folder of a photo's name.

  Args:
    photos: of WIDER FACE.
    every: n, at least 2; 0 holds none out.
  Raises:
    ValueError: another number, or no photo for training.
  """
  if every == 1 or every < 0:
    raise ValueError(f"held_out is {every}: needs 0, or at least 2: every n-th event is held out")
  events = sorted({photo.name.split("/")[0] for photo in photos})
  out = set(events[every - 1 :: every]) if every else set()
  parts: tuple[list[LabelledPhoto], list[LabelledPhoto]] = ([], [])
  for photo in photos:
    parts[photo.name.split("/")[0] in out].append(photo)
  if not parts[0]:
    raise ValueError(f"no photo is left for training of {len(photos)}")
  return parts


def wider_photos(folder: str | Path, held_out: int) -> list[TrainingPhoto]:
  """Photos of the events that are not held out, with their faces; boxes without area are dropped."""
  found = []
  for photo in split_events(read_wider(folder), held_out)[0]:
    box_n4 = photo.box_n4[(photo.box_n4[:, 2:] > photo.box_n4[:, :2]).all(-1)]
    found.append(TrainingPhoto(str(inside(folder, photo.name)), box_n4, np.full((len(box_n4), 5, 2), np.nan)))
  return found


def empty_photos(folder: str | Path) -> list[TrainingPhoto]:
  """Photos without a face: all images of a folder and its subfolders, by name.

  Raises:
    ValueError: there is none.
    FileNotFoundError: there is no such folder.
  """
  found = walk(folder).paths
  if not found:
    raise ValueError(f"{folder}: no photo is in it")
  return [TrainingPhoto(str(Path(folder, name)), np.zeros((0, 4)), np.zeros((0, 5, 2))) for name in found]


def read_crops(path: str | Path, entry: str) -> np.ndarray:
  """Grey crops of one face each, from a `.npz` file.

  Args:
    path: the file.
    entry: name of the array in it.
  Returns:
    [N, side, side] uint8.
  Raises:
    FileNotFoundError: no such file.
    DamagedData: the file cannot be read, or the array is absent or no set of square crops.
  """
  path = Path(path)
  with reading_npz(path) as archive:
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    if entry not in names:
      raise DamagedData(f"has no array {entry!r}; it has {', '.join(names) or 'none'}", file=str(path))
    crop_nhw = npz_array(archive, entry)
  if crop_nhw.dtype != np.uint8 or crop_nhw.ndim != 3 or crop_nhw.shape[1] != crop_nhw.shape[2] or not crop_nhw.size:
    raise DamagedData(f"{entry} is {crop_nhw.dtype} {list(crop_nhw.shape)}, expected uint8 [N, side, side]", file=str(path))
  return crop_nhw


def annotated_photos(folder: str | Path, file: str | Path, points: str, boxes: str, part: str | None = None) -> list[TrainingPhoto]:
  """Photos with boxes of all faces, and points of some.

  Args:
    folder: of the photos.
    file: see `jaxface.formats.read_landmarks`.
    points: the entry of the points to learn; 5 or 68 of them.
    boxes: an entry that all faces with a box have; photos without such a face are left out.
    part: only photos of this part; None for all.
  """
  from jaxface.alignment.points import reduce_points

  known = {(face.file, face.box): face.point_k2 for face in read_landmarks(file, points=points, part=part)}
  faces: dict[str, tuple[list, list]] = {}
  for face in read_landmarks(file, points=boxes, part=part):
    if face.box is None:
      continue
    box_list, point_list = faces.setdefault(face.file, ([], []))
    point_k2 = known.get((face.file, face.box))
    box_list.append(face.box)
    # Pixel centres are at whole numbers in the file, edges in a detector.
    point_list.append(np.full((5, 2), np.nan) if point_k2 is None else np.asarray(reduce_points(point_k2, 5)) + 0.5)
  return [TrainingPhoto(str(inside(folder, name)), np.array(box), np.array(point)) for name, (box, point) in faces.items()]


def training_pixels(photo: TrainingPhoto) -> np.ndarray:
  """[h, w, 3] uint8 pixels of a photo.

  Raises:
    DamagedData, OSError: it cannot be read.
    ValueError: it is larger than photos are read for training.
  """
  image_hwc, full = read_photo(photo.file)
  if image_hwc.shape[:2] != full:
    raise ValueError(f"{photo.file}: photos for training are read up to 4,096 pixels a side, not {full[1]} × {full[0]}")
  return image_hwc


def stage_crops(
  net: str, photos: Sequence[TrainingPhoto], counts: Sampling, seed: int, before: Mtcnn | None = None, *, progress: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Crops and targets of each photo for one network.

  Args:
    net: "pnet", "rnet" or "onet".
    photos: the photos.
    counts: how many squares of each.
    seed: any integer; each photo has draws of its own.
    before: the networks before this one, whose candidates are added; None for P-Net.
    progress: show a bar.
  Yields:
    [N, side, side, 3] uint8 and [N, 15] float32.
  Raises:
    DamagedData, OSError: a photo cannot be read.
  """
  for number, photo in enumerate(tqdm(photos, desc=f"crops for {net}", unit="photo", disable=not progress)):
    image_hwc = training_pixels(photo)
    full = image_hwc.shape[:2]
    draw = np.random.default_rng([seed, ("pnet", "rnet", "onet").index(net), number])
    size = side_class(full[0]), side_class(full[1])
    image_bhwc, size_b2 = stack_photos([image_hwc], size, 1)
    found = [draw_squares(photo, full, net, counts, draw)]
    sums_m3 = None
    if before is not None and (candidates := before.candidates(net, image_bhwc, size_b2)) is not None:
      sums_m3 = candidates.sums[0]
      edge_n4 = crop_edges(candidates.box_n4)
      edge_n4 = edge_n4[(edge_n4[:, 2:] > edge_n4[:, :2]).all(-1)]
      found.append(mined_squares(edge_n4, photo, net, counts, draw))
    edge_n4, target_nt = (np.concatenate([getattr(each, name) for each in found]) for name in ("edge_n4", "target_nt"))
    sums_m3 = photo_sums(image_bhwc) if sums_m3 is None else sums_m3
    crop_nhwc = cut_squares(sums_m3, size, edge_n4, crop_side(net))
    if net == "pnet":  # see `mirror_shift`: both forms are stored
      shift_n = mirror_shift(net, edge_n4[:, 2] - edge_n4[:, 0])
      target_nt = np.concatenate([target_nt, np.asarray(mirror_targets(target_nt, shift_n), np.float32)])
      crop_nhwc = np.concatenate([crop_nhwc, crop_nhwc[:, :, ::-1]])
    yield crop_nhwc, target_nt


__all__ = ["annotated_photos", "empty_photos", "read_crops", "split_events", "stage_crops", "training_pixels", "wider_photos"]
