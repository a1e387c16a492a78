"""Detections of many photos as JSON and as a page."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from jaxface.detection.detections import Detections
from jaxface.detection.photos import read_photo
from jaxface.evaluation.report.drawing import escape
from jaxface.evaluation.report.page import document, picture, section
from jaxface.formats.atomic import write_json as write_plain
from jaxface.formats.atomic import write_text
from jaxface.formats.images import IMAGE_SUFFIXES

# Longer side of a photo on a page, in pixels.
PAGE_SIDE = 640
# Most photos on a page, which embeds them.
PAGE_PHOTOS = 200


def find_photos(paths: Sequence[str | Path]) -> list[Path]:
  """Photos by their paths: files as they are, and the images in folders, to any depth, by name.

  Raises:
    FileNotFoundError: a path does not exist, or a folder has no images.
  """
  found: list[Path] = []
  for path in map(Path, paths):
    if path.is_dir():
      inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
      if not inside:
        raise FileNotFoundError(f"{path}: no images in this folder (suffixes {', '.join(IMAGE_SUFFIXES)})")
      found += inside
    elif path.exists():
      found.append(path)
    else:
      raise FileNotFoundError(f"{path}: no such file or folder")
  return list(dict.fromkeys(found))


def write_json(
  path: str | Path, photos: Sequence[Path], found: Sequence[Detections | None], errors: Mapping[int, Exception]
) -> None:
  """Writes {"photos": [{"photo", "height", "width", "faces"} or {"photo", "error"}]}.

  Args:
    path: the file.
    photos: the photos.
    found: their detections, None where the photo was not read.
    errors: error by number of the photo.
  """
  rows = [
    {"photo": str(photo), **({"error": str(errors.get(number, ""))} if faces is None else faces.to_json())}
    for number, (photo, faces) in enumerate(zip(photos, found))
  ]
  write_plain(path, {"photos": rows})


def draw_faces(image: np.ndarray, faces: Detections, side: int = PAGE_SIDE) -> bytes:
  """A photo with its boxes and points.

  Args:
    image: [H, W, 3] uint8.
    faces: detections in pixels of the photo of `faces.size`, which may be larger than `image`.
    side: longer side of the result in pixels; smaller photos are not enlarged.
  Returns:
    Bytes of a JPEG.
  """
  drawn = Image.fromarray(image)
  drawn.thumbnail((side, side))
  scale = drawn.width / faces.size[1]
  pen = ImageDraw.Draw(drawn)
  for row, box in enumerate(faces.box_n4 * scale):
    # Beyond the border lines would not be visible.
    x0, y0, x1, y1 = np.clip(box, 0, [drawn.width - 1, drawn.height - 1] * 2)
    pen.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=(0, 220, 90), width=2)
    for x, y in () if faces.point_n52 is None else faces.point_n52[row] * scale:
      pen.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=(255, 60, 60))
  data = io.BytesIO()
  drawn.save(data, "JPEG", quality=85)
  return data.getvalue()


def write_html(
  path: str | Path, photos: Sequence[Path], found: Sequence[Detections | None], errors: Mapping[int, Exception]
) -> None:
  """Writes a page of the photos with boxes and points drawn, those not read with their errors; arguments as for `write_json`."""
  cards = []
  for number, (photo, faces) in list(enumerate(zip(photos, found)))[:PAGE_PHOTOS]:
    name = escape(str(photo))
    if faces is None:
      cards.append(f'<figure class="card"><figcaption>{name}<br>not read: {escape(str(errors.get(number, "")))}</figcaption></figure>')
      continue
    scores = ", ".join(f"{score:.3f}" for score in faces.score_n)
    text = f"{len(faces)} face{'' if len(faces) == 1 else 's'}" + (f": {scores}" if scores else "")
    shown = picture(photo.name, draw_faces(read_photo(photo, 4 * PAGE_SIDE)[0], faces))
    cards.append(f'<figure class="card">{shown}<figcaption>{name}<br>{text}</figcaption></figure>')
  total = sum(len(faces) for faces in found if faces is not None)
  words = f"{total:,} faces in {len(photos) - len(errors):,} photos; {len(errors):,} not read."
  if len(photos) > PAGE_PHOTOS:
    words += f" The first {PAGE_PHOTOS} photos are shown."
  write_text(path, document("Faces", [section("Faces", words, cards)]))


__all__ = ["PAGE_PHOTOS", "PAGE_SIDE", "draw_faces", "find_photos", "write_html", "write_json"]
