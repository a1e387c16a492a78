"""A contact sheet: the aligned faces and the refused photos of a folder on one page."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from jaxface.detection.photos import read_photo
from jaxface.evaluation.report.drawing import escape
from jaxface.evaluation.report.page import document, picture
from jaxface.formats.atomic import write_text
from jaxface.formats.errors import DamagedData

if TYPE_CHECKING:
  from jaxface.pipeline.photos.align_folder import AlignedFolder

# Faces and refused photos on the page, which embeds them.
SHOWN = 400
REFUSED_SHOWN = 100
SIDE = 160


def write_contact_sheet(path: Path, made: "AlignedFolder", photos: Path) -> None:
  """Writes one self-contained HTML file.

  Args:
    path: file to write, atomically.
    made: the aligned folder; faces are shown by rising quality, since the worst are those to look at.
    photos: folder of the photos, to show the refused ones.
  """
  faces = sorted((row for row in made.rows if row.image), key=lambda row: (row.quality, row.image))
  refused = [row for row in made.rows if row.refused]
  summary = "<br>".join(escape(line.strip()) for line in made.summary().splitlines()).replace(escape(str(made.folder)) + ": ", "", 1)
  parts = [f'<header>\n<h1>Aligned faces</h1>\n<p class="lead">{summary}</p>\n</header>']
  if refused:
    shown = f" The first {REFUSED_SHOWN} are shown." if len(refused) > REFUSED_SHOWN else ""
    cards = [_figure(row.photo, _thumbnail(photos / row.photo), row.refused) for row in refused[:REFUSED_SHOWN]]
    parts.append(_section("Refused photos", f"{len(refused):,} photos have no aligned face.{shown}", cards))
  if faces:
    shown = f" The {SHOWN} of the lowest quality are shown." if len(faces) > SHOWN else ""
    cards = [
      _figure(row.image, _bytes(made.folder / row.image), f"quality {row.quality:.2f}, score {row.score:.2f}, {row.found} found")
      for row in faces[:SHOWN]
    ]
    parts.append(_section("Faces, by rising quality", f"{len(faces):,} faces.{shown}", cards))
  write_text(path, document("Aligned faces", parts))


def _section(heading: str, text: str, cards: list[str]) -> str:
  return f'<section>\n<h2>{heading}</h2>\n<p class="soft">{text}</p>\n<div class="pairs">\n' + "\n".join(cards) + "\n</div>\n</section>"


def _figure(name: str, data: bytes | None, caption: str) -> str:
  label = f'<span title="{escape(name)}">{escape(name)}</span>'
  return f'<figure class="card">{picture(name, data)}<figcaption>{escape(caption)}{label}</figcaption></figure>'


def _bytes(path: Path) -> bytes | None:
  try:
    return path.read_bytes()
  except OSError:
    return None


def _thumbnail(path: Path) -> bytes | None:
  """A reduced copy; None for a photo that cannot be read."""
  try:
    image = Image.fromarray(read_photo(path, 4 * SIDE)[0])
  except (DamagedData, OSError):
    return None
  image.thumbnail((SIDE, SIDE))
  data = io.BytesIO()
  image.save(data, "JPEG", quality=85)
  return data.getvalue()


__all__ = ["write_contact_sheet"]
