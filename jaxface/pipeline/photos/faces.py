"""Finds, chooses and aligns the faces of photos."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxface.alignment import LandmarkFinder, align_faces, align_matrix, frontalise_faces, scale_of
from jaxface.detection import Detections, Detector, detect, load_detector
from jaxface.detection.photos import LARGEST, read_photo
from jaxface.formats.errors import DamagedData
from jaxface.formats.parallel import num_cores
from jaxface.losses.ranges import check_name

ONE = ("main", "largest", "central")
WHICH = (*ONE, "all")
# Standard deviation of the weight of the distance from the centre, in diagonals of the photo. docs/check_photos.py measures it.
SPREAD = 0.15
# Photos of one task, and tasks at once: on a CPU each core has photos of its own; an accelerator takes batches, while the photos of the next
# task are decoded and the faces of the one before are aligned.
CPU_CHUNK, ACCELERATOR_CHUNK = 4, 32
CPU_TASKS, ACCELERATOR_TASKS = 8, 3
# From coordinates with (0, 0) at the corner of the first pixel to those with (0, 0) at its centre.
TO_CENTRES = 0.5


@dataclass(frozen=True, eq=False)
class Face:
  """A face of a photo, aligned.

  Attributes:
    photo: path of the photo, as it was given.
    number: of the face in the photo, 0 for the one with the highest score.
    box_4: [4] float32, x0, y0, x1, y1 in pixels of the photo.
    point_52: [5, 2] float32, x, y of left eye, right eye, nose, left and right mouth corner.
    score: of the detector, 0 to 1.
    scale: pixels of the aligned image per pixel of the photo; above 1 the face was enlarged.
    quality: 0 to 1, see `face_quality`.
    image_hwc: [H, W, 3] uint8, aligned to the template.
    pose: yaw, pitch and roll in degrees (`jaxface.alignment.pose_of`), and the share of the face that is visible; None unless the face was
      turned to the front.
  """

  photo: str
  number: int
  box_4: np.ndarray
  point_52: np.ndarray
  score: float
  scale: float
  quality: float
  image_hwc: np.ndarray
  pose: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class PhotoFaces:
  """What was found in one photo.

  Attributes:
    photo: path of the photo, as it was given.
    faces: the chosen faces, the first choice first.
    found: number of faces found, also those that were not chosen.
    refused: why there is no face, for the user; "" if there is one.
  """

  photo: str
  faces: tuple[Face, ...]
  found: int
  refused: str = ""


def find_faces(
  photos: Sequence[str | Path], *, template: str = "arcface112", which: str = "main", detector: Detector | str | Path | None = None,
  frontal: LandmarkFinder | None = None, done: Callable[[], object] | None = None,
) -> Iterator[PhotoFaces]:
  """Faces of photos of any size, in order, a few photos in memory at a time.

  A photo that cannot be read, or has no face, gives a result that says so; the others go on.

  Args:
    photos: files.
    template: one of `jaxface.geometry.TEMPLATES`.
    which: "main" takes the face with the largest area · exp(−d² / 2s²), with the distance d of its centre from the photo's and s
      = 0.15 of the photo's diagonal, so that neither a large stranger at the border nor a small one in the middle is taken;
      "largest" the one with the largest box; "central" the one whose centre is nearest to the photo's, in units of its size, as
      for photos that were cropped around a person; "all" takes all, by falling score.
    detector: a detector, or the folder or name of one, see `load_detector`.
    frontal: turns faces to the front by the 68 points that it finds, see `jaxface.alignment.frontalise_faces`; None aligns in the plane.
    done: called after each photo.
  Yields:
    `PhotoFaces` for each photo.
  Raises:
    ValueError: an unknown `which`, a detector without points, or a landmark model of another number of points than 68.
    KeyError: an unknown template.
    FileNotFoundError: no weights of the detector.
  """
  check_name("which", which, WHICH)
  finder = load_detector(detector) if detector is None or isinstance(detector, (str, Path)) else detector
  if not finder.points:
    raise ValueError(f"detector {finder.name!r} finds no points, which alignment needs")
  if frontal is not None and frontal.points != 68:
    raise ValueError(f"the landmark model finds {frontal.points} points: turning faces to the front needs 68")
  on_cpu = jax.local_devices()[0].platform == "cpu"
  size, tasks = (CPU_CHUNK, min(num_cores(), CPU_TASKS)) if on_cpu else (ACCELERATOR_CHUNK, ACCELERATOR_TASKS)
  chunks = ([str(photo) for photo in photos[start : start + size]] for start in range(0, len(photos), size))
  with ThreadPoolExecutor(num_cores(), "jaxface-photos") as readers:
    for results in _in_order(lambda chunk: _chunk(chunk, finder, template, which, frontal, readers), chunks, tasks):
      for found in results:
        yield found
        if done:
          done()


def _in_order(run: Callable[[list[str]], list[PhotoFaces]], chunks: Iterable[list[str]], tasks: int) -> Iterator[list[PhotoFaces]]:
  """Results of the chunks, in order, `tasks` of them at work at once."""
  waiting: deque[Future[list[PhotoFaces]]] = deque()
  with ThreadPoolExecutor(tasks, "jaxface-faces") as pool:
    try:
      for chunk in chunks:
        waiting.append(pool.submit(run, chunk))
        if len(waiting) > tasks:
          yield waiting.popleft().result()
      while waiting:
        yield waiting.popleft().result()
    finally:
      for future in waiting:
        future.cancel()


def _chunk(
  photos: list[str], finder: Detector, template: str, which: str, frontal: LandmarkFinder | None, pool: ThreadPoolExecutor
) -> list[PhotoFaces]:
  read = list(pool.map(_read, photos))
  pixels = {at: one for at, one in enumerate(read) if isinstance(one, _Pixels)}
  found = dict(zip(pixels, detect([one.image_hwc for one in pixels.values()], finder)))
  chosen = [(at, row) for at in pixels for row in choose(_given(found[at]), which)]
  points = [_given(found[at]).point_n52[row] - TO_CENTRES for at, row in chosen]  # type: ignore[index]
  made: dict[int, list[Face]] = {at: [] for at in pixels}
  fault: dict[int, str] = {}
  images = [pixels[at].image_hwc for at, _ in chosen]
  boxes = [_given(found[at]).box_n4[row] - TO_CENTRES for at, row in chosen]
  for (at, row), point_52, made_here in zip(chosen, points, _crops(images, points, template) if frontal is None else _turned(images, boxes, template, frontal)):
    if isinstance(made_here, str):
      fault[at] = made_here
      continue
    image_hwc, pose = made_here
    faces, factor = _given(found[at]), pixels[at].factor
    scale, score = float(scale_of(align_matrix(point_52, template))), float(faces.score_n[row])
    full = faces.scaled(factor, faces.size)
    assert full.point_n52 is not None
    made[at].append(Face(
      photos[at], row, full.box_n4[row], full.point_n52[row], score, scale / factor, face_quality(point_52, score, scale / factor), image_hwc, pose,
    ))
  return [_result(photo, at, read[at], made, found, fault) for at, photo in enumerate(photos)]


def _result(
  photo: str, at: int, read: "_Pixels | Exception", made: dict[int, list[Face]], found: dict[int, Detections | None], fault: dict[int, str]
) -> PhotoFaces:
  if isinstance(read, Exception):
    return PhotoFaces(photo, (), 0, str(read))
  count = len(_given(found[at]))
  return PhotoFaces(photo, tuple(made[at]), count, "" if made[at] else fault.get(at, "no face was found"))


def _given(faces: Detections | None) -> Detections:
  assert faces is not None  # only photos that were read are searched
  return faces


_Made = tuple[np.ndarray, tuple[float, float, float, float] | None]


def _crops(photos: list[np.ndarray], points: list[np.ndarray], template: str) -> list[_Made | str]:
  """Aligned images; for a face that cannot be aligned, why."""
  return _each(lambda some: [(image_hwc, None) for image_hwc in align_faces(*zip(*some), template=template)], list(zip(photos, points)))


def _turned(photos: list[np.ndarray], boxes: list[np.ndarray], template: str, finder: LandmarkFinder) -> list[_Made | str]:
  """Images of faces turned to the front, with their poses; for a face with which that is not possible, why."""
  def turn(some: list[tuple[np.ndarray, np.ndarray]]) -> list[_Made]:
    images, around = ([one[place] for one in some] for place in (0, 1))
    made = frontalise_faces(images, list(finder(images, around)), template=template)
    poses = zip(made.image_nhwc, made.pose_n3.tolist(), made.visible_n.tolist())
    return [(image_hwc, (yaw, pitch, roll, visible)) for image_hwc, (yaw, pitch, roll), visible in poses]

  return _each(turn, list(zip(photos, boxes)))


def _each(run: Callable[[list], list[_Made]], faces: list) -> list[_Made | str]:
  """Results of all faces together, or, if one cannot be used, of each alone, with the reason in its place."""
  try:
    return list(run(faces)) if faces else []
  except ValueError as error:
    if len(faces) == 1:
      return [str(error).partition(": ")[2]]
  return [made for face in faces for made in _each(run, [face])]


def choose(faces: Detections, which: str, *, spread: float = SPREAD) -> list[int]:
  """Rows of the chosen faces, see `find_faces`; equal ones in order of their scores. `spread` is s of "main", in diagonals."""
  if not len(faces):
    return []
  side_n2 = faces.box_n4[:, 2:] - faces.box_n4[:, :2]
  if which == "all":
    return list(range(len(faces)))
  area_n = np.maximum(side_n2.astype(np.float64).prod(1), 1e-6)
  if which == "largest":
    return [int(np.argmax(area_n))]
  middle_n2 = (faces.box_n4[:, :2] + faces.box_n4[:, 2:]) / 2
  away_n = np.linalg.norm(middle_n2 - np.array(faces.size[::-1]) / 2, axis=1)
  if which == "central":
    return [int(np.argmin(away_n / np.sqrt(area_n)))]
  # The logarithm: far outside, the weight itself would be 0.
  return [int(np.argmax(np.log(area_n) - (away_n / (spread * np.hypot(*faces.size))) ** 2 / 2))]


def face_quality(point_52: np.ndarray, score: float, scale: float) -> float:
  """A weight for a face among others of the same person: score × resolution × how frontal it is.

  Resolution is 1 for a face that was not enlarged, else 1 / scale. How frontal it is: the smaller over the larger of the nose's
  distances to both eyes, along the line of the eyes; 1 for a face seen from the front. At least 0.01.

  Args:
    point_52: [5, 2], see `Face`.
    score: of the detector, 0 to 1.
    scale: see `Face`.
  Returns:
    0.01 to 1.
  """
  left, right, nose = point_52[0].astype(np.float64), point_52[1].astype(np.float64), point_52[2].astype(np.float64)
  line = right - left
  along = float((nose - left) @ line / max(line @ line, 1e-12))  # 0 below the left eye, 1 below the right one
  near, far = sorted((max(along, 0.0), max(1 - along, 0.0)))
  frontal = near / far if far else 0.0
  return float(np.clip(score * min(1.0, 1.0 / scale) * frontal, 0.01, 1.0))


class _Pixels(NamedTuple):
  """A photo, reduced if it is large, and the factor back to its own pixels."""

  image_hwc: np.ndarray
  factor: float


def _read(photo: str) -> "_Pixels | Exception":
  try:
    image_hwc, size = read_photo(photo, LARGEST)
  except (DamagedData, OSError) as error:
    return error
  return _Pixels(image_hwc, max(size) / max(image_hwc.shape[:2]))


__all__ = ["ONE", "WHICH", "Face", "PhotoFaces", "choose", "face_quality", "find_faces"]
