"""Runs the commands of docs/photos.md on drawn people, and writes their output into the page and docs/contact_sheet.jpg.

  python docs/make_photos_pictures.py MODEL [--detector DIR]

The photos are drawn by `jaxface.data.SyntheticSource`, so that nobody's photo is published: the networks were made for photos, and
figures on drawings say nothing of their accuracy. The picture of the page needs headless Chromium.
"""

import argparse
import contextlib
import io
import os
import shlex
import sys
import tempfile
from pathlib import Path

import numpy as np
from generated import replace_part
from PIL import Image

from jaxface.commands.main import main as jaxface
from jaxface.data.synthetic import SyntheticSource

DOCS = Path(__file__).resolve().parent
PEOPLE, IMAGES, SIDE = ("ann", "bob", "cem", "dora", "eve", "fritz"), 4, 224
COMMANDS = (
  "detect photos/ann/0.png --html faces.html",
  "align photos aligned",
  "compare photos/bob/0.png photos/bob/1.png --threshold 0.4",
  "enrol people.gallery people",
  "identify people.gallery photos/bob/0.png --threshold 0.4 --top 2",
)


def draw(folder: Path) -> None:
  """Photos, of which one has no face and one is damaged, and a part of them by person."""
  source = SyntheticSource(len(PEOPLE), IMAGES, size=SIDE, seed=3)
  face_nhwc = np.zeros((source.num_records, SIDE, SIDE, 3), np.uint8)
  source.read(np.arange(source.num_records), face_nhwc)
  for record, face_hwc in enumerate(face_nhwc):
    person, number = PEOPLE[record // IMAGES], record % IMAGES
    photo = Image.fromarray(np.pad(face_hwc, ((48, 48), (64, 64), (0, 0)), mode="edge"))
    for place in ("photos", "people")[: 1 + (number > 1)]:
      (folder / place / person).mkdir(parents=True, exist_ok=True)
      photo.save(folder / place / person / f"{number}.png")
  Image.new("RGB", (352, 320), (120, 140, 160)).save(folder / "photos" / "sky.png")
  whole = (folder / "photos" / "ann" / "0.png").read_bytes()
  (folder / "photos" / "cut.png").write_bytes(whole[: len(whole) // 2])


def output(command: str) -> str:
  """What a command prints, as a block for the page."""
  text = io.StringIO()
  with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
    jaxface(shlex.split(command))
  return f"$ jaxface {command}\n{text.getvalue()}"


def picture(page: Path, file: Path) -> None:
  """The top of an HTML page."""
  sys.path.append(str(DOCS.parent / "tests" / "evaluation"))
  from browser import Browser, find_browser

  with tempfile.TemporaryDirectory() as folder:
    browser = Browser(find_browser() or sys.exit("no Chromium was found: see tests/evaluation/browser.py"), Path(folder) / "profile")
    browser.view(1200, 1320)
    browser.open(page)
    browser.picture(Path(folder) / "page.png")
    browser.close()
    with Image.open(Path(folder) / "page.png") as image:
      image.convert("RGB").crop((0, 0, image.width, min(image.height, 1320))).save(file, quality=80)


def main() -> None:
  """Draws, runs, writes."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("model", type=Path, help="folder of a model")
  parser.add_argument("--detector", type=Path, metavar="DIR", help="folder of a detector")
  options = parser.parse_args()
  os.environ["JAXFACE_MODEL"] = str(options.model.resolve())
  if options.detector:
    os.environ["JAXFACE_DETECTOR"] = str(options.detector.resolve())
  with tempfile.TemporaryDirectory() as folder:
    draw(Path(folder))
    os.chdir(folder)
    blocks = [output(command) for command in COMMANDS]
    picture(Path(folder, "aligned", "contact_sheet.html"), DOCS / "contact_sheet.jpg")
  replace_part(DOCS / "photos.md", "docs/make_photos_pictures.py", "```\n" + "\n".join(blocks).rstrip() + "\n```")


if __name__ == "__main__":
  main()
