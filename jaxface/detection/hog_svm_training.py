"""Trains the detector of HOG and a linear SVM: faces against random windows, then rounds in which it adds the windows that it takes for faces."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxface.data.image_statistics import grey_images
from jaxface.detection.cell_pyramid import draw_levels
from jaxface.detection.crop_sampling import TrainingPhoto
from jaxface.detection.detector_data import empty_photos, read_crops
from jaxface.detection.hog_svm import BLOCK, HogSvm, HogSvmConfig, block_map, crop_blocks
from jaxface.detection.mtcnn_training import TrainedDetector
from jaxface.detection.photos import read_photo
from jaxface.detection.saved import SavedDetector, write_detector
from jaxface.formats import provenance
from jaxface.formats.provenance import Ancestor, Lineage
from jaxface.losses.ranges import check_range
from jaxface.training.custom import CustomExperiment, expand_path
from jaxface.training.workdir import Workdir
from jaxface.verifiers.linear import linear_svc

_CROPS = 1024
# Photos count as having sides of its multiples: few shapes are compiled.
_CLASS = 128
_ITERATIONS = 10_000


@dataclass(frozen=True)
class HogSvmTraining:
  """Settings of the training.

  Attributes:
    seed: of the random windows.
    cell: side of a cell in pixels; the side of the crops is a multiple of it, at least two cells.
    penalty: C of the support vector machine: weight of the squared hinge loss of each window, beside ½ ‖w‖².
    mirror: also learn the mirror images of the faces.
    smallest: side of the smallest face in the photos without a face, in pixels: the first level of their pyramid.
    factor: ratio of a level to the one before it.
    windows: random windows of all photos together.
    rounds: how often wrong windows are added.
    hardest: most windows that a round adds from one photo, those with the largest values first.
  """

  seed: int = 0
  cell: int = 6
  penalty: float = 0.01
  mirror: bool = True
  smallest: float = 24.0
  factor: float = 0.8
  windows: int = 10_000
  rounds: int = 2
  hardest: int = 100

  def __post_init__(self) -> None:
    for name in ("cell", "windows", "hardest"):
      check_range(self, name, 1)
    check_range(self, "rounds", 0)
    if not self.penalty > 0:
      raise ValueError(f"penalty is {self.penalty}: needs a positive number")
    HogSvmConfig(self.cell, self.smallest, factor=self.factor)  # checks the others


class _Empty:
  """A photo without a face: the descriptors of its pyramid, and which of its windows are in the training set.

  Args:
    photo: the photo.
    detector: any classifier of the same windows.
  """

  def __init__(self, photo: TrainingPhoto, detector: HogSvm):
    image_hwc = read_photo(photo.file)[0]
    height, width = (-(-side // _CLASS) * _CLASS for side in image_hwc.shape[:2])
    self.canvases, grey_hw = detector.canvases(height, width), grey_images(image_hwc[None])[0]
    self.maps = [np.asarray(block_map(draw_levels(grey_hw, canvas)[None], canvas.cell))[0] for canvas in self.canvases]
    self.free = [canvas.inside(*image_hwc.shape[:2]) for canvas in self.canvases]

  @property
  def count(self) -> int:
    """Windows that are not in the training set."""
    return int(sum(free_k.sum() for free_k in self.free))

  def random(self, count: int, blocks: int, draw: np.random.Generator) -> np.ndarray:
    """Features [N, n·n·36] of random windows, which count as taken from now on."""
    free_n = np.flatnonzero(np.concatenate([np.zeros(0, bool), *self.free]))
    return self._take(draw.choice(free_n, min(count, len(free_n)), replace=False), blocks)

  def hardest(self, detector: HogSvm, count: int, blocks: int) -> np.ndarray:
    """The same of the windows with the largest values, if they are above −1: those that change the classifier."""
    kernel, margins = detector.params["svm"]["kernel"], [np.zeros(0)]
    for canvas, map_rcd in zip(self.canvases, self.maps):
      ends = map_rcd.shape[0] - blocks + 1, map_rcd.shape[1] - blocks + 1
      shifted = (map_rcd[i : i + ends[0], j : j + ends[1]] @ kernel[i, j] for i in range(blocks) for j in range(blocks))
      margins.append(sum(shifted)[tuple(canvas.at_k2.T)] + detector.params["svm"]["bias"][0])
    margin_n = np.concatenate(margins)
    margin_n[~np.concatenate([np.zeros(0, bool), *self.free])] = -np.inf
    best_n = np.argsort(-margin_n, kind="stable")[:count]
    return self._take(best_n[margin_n[best_n] > -1], blocks)

  def _take(self, chosen_n: np.ndarray, blocks: int) -> np.ndarray:
    """Features of windows by their numbers over all canvases."""
    found, first = [np.zeros((0, blocks * blocks * 9 * BLOCK**2), np.float32)], 0
    for canvas, free_k, map_rcd in zip(self.canvases, self.free, self.maps):
      index_n = chosen_n[(chosen_n >= first) & (chosen_n < first + len(free_k))] - first
      first += len(free_k)
      if len(index_n):
        free_k[index_n] = False
        view = np.lib.stride_tricks.sliding_window_view(map_rcd, (blocks, blocks), (0, 1))
        found.append(np.moveaxis(view[tuple(canvas.at_k2[index_n].T)], 1, -1).reshape(len(index_n), -1))
    return np.concatenate(found)


def train_hog_svm(
  face_nhw: np.ndarray, photos: Sequence[TrainingPhoto], config: HogSvmTraining | None = None, *, lineage: Lineage = (), progress: bool = False,
) -> SavedDetector:
  """Trains the detector; the same arguments give the same one.

  Args:
    face_nhw: [N, side, side] uint8 crops of faces, as a window shows them.
    photos: photos without a face.
    config: the settings.
    lineage: where faces and photos are from, for the card of the detector.
    progress: show bars.
  Returns:
    The detector.
  Raises:
    ValueError: crops whose side is no multiple of a cell, no window in the photos, or no convergence.
    DamagedData, OSError: a photo cannot be read.
    ModuleNotFoundError: scikit-learn is not installed.
  """
  config = config or HogSvmTraining()
  solver = linear_svc()
  side = face_nhw.shape[1]
  if side % config.cell or side < 2 * config.cell:
    raise ValueError(f"crops have {side} pixels and cells {config.cell}: the side should be a multiple of the cell, at least twice as long")
  blocks = side // config.cell - BLOCK + 1
  size = blocks * blocks * 9 * BLOCK**2
  forms = [face_nhw, face_nhw[:, :, ::-1]] if config.mirror else [face_nhw]
  features = [
    np.asarray(crop_blocks(form[start : start + _CROPS], config.cell)).reshape(-1, size)
    for form in forms for start in range(0, len(form), _CROPS)
  ]
  faces = sum(map(len, features))
  detector = _detector(np.zeros(size), 0.0, blocks, config)
  empty = [_Empty(photo, detector) for photo in tqdm(photos, desc="photos without a face", disable=not progress)]
  if not sum(photo.count for photo in empty):
    raise ValueError(f"{len(photos)} photos without a face have no window of {config.smallest:g} pixels")
  draw, each = np.random.default_rng(config.seed), -(-config.windows // len(empty))
  features += [photo.random(each, blocks, draw) for photo in tqdm(empty, desc="random windows", disable=not progress)]
  for turn in range(config.rounds + 1):
    feature_nd = np.concatenate(features)
    features = [feature_nd]
    machine = solver(C=config.penalty, dual=False, tol=1e-4, max_iter=_ITERATIONS)
    machine.fit(feature_nd, np.arange(len(feature_nd)) < faces)
    if machine.n_iter_ >= _ITERATIONS:
      raise ValueError(f"the support vector machine did not converge in {_ITERATIONS:,} iterations: use a smaller penalty than {config.penalty:g}")
    detector = _detector(machine.coef_[0], float(machine.intercept_[0]), blocks, config)
    print(f"hogsvm, round {turn}: {faces:,} faces, {len(feature_nd) - faces:,} other windows", file=sys.stderr)
    if turn < config.rounds:
      features += [photo.hardest(detector, config.hardest, blocks) for photo in tqdm(empty, desc="hard windows", disable=not progress)]
  counts = {"faces": faces, "others": len(feature_nd) - faces, "photos": len(photos), "rounds": config.rounds}
  return SavedDetector("hogsvm", {"cell": config.cell}, detector.params, {"experiment": "hogsvm", **counts, "lineage": provenance.to_json(lineage)})


def _detector(weight_d: np.ndarray, bias: float, blocks: int, config: HogSvmTraining) -> HogSvm:
  params = {"svm": {"kernel": weight_d.reshape(blocks, blocks, -1).astype(np.float32), "bias": np.array([bias], np.float32)}}
  return HogSvm(params, HogSvmConfig(config.cell, config.smallest, factor=config.factor))


@dataclass(frozen=True)
class HogSvmExperiment(HogSvmTraining, CustomExperiment):
  """The training of the detector as an experiment of `jaxface train`; one that was interrupted starts again.

  Attributes:
    faces: `.npz` file of grey crops of faces; may contain environment variables.
    entry: name of the array in it.
    no_faces: folder of photos without a face.
    licence: of faces and photos, for the card of the detector.
    origin: likewise.
  """

  name: str = "hogsvm"
  faces: str = "$JAXFACE_DATA/photos/caltech_faces_36x36.npz"
  entry: str = "faces"
  no_faces: str = "$JAXFACE_DATA/photos/no_faces"
  licence: str = ""
  origin: str = ""

  def run(self, folder: Path) -> TrainedDetector:
    """Trains the detector and writes it to `folder/model`; see `train_hog_svm`."""
    faces, photos = (expand_path(getattr(self, field), field) for field in ("faces", "no_faces"))
    lineage = tuple(Ancestor("images", Path(path).name, self.licence, self.origin) for path in (faces, photos))
    workdir = Workdir(folder)
    with workdir.own():
      saved = train_hog_svm(read_crops(faces, self.entry), empty_photos(photos), self.settings(HogSvmTraining), lineage=lineage, progress=sys.stderr.isatty())
      write_detector(workdir.model, saved)
    return TrainedDetector(workdir.path, saved, {"face": saved.meta["faces"], "other": saved.meta["others"]})


__all__ = ["HogSvmExperiment", "HogSvmTraining", "train_hog_svm"]
