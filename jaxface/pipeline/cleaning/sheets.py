"""The page on which a person accepts or rejects images: one picture per block of 200 faces, and one file with their names."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

from jaxface.formats.atomic import atomic_file, write_text

BLOCK, TILE, COLUMNS = 200, 80, 20


@dataclass(frozen=True)
class Tile:
  """An image on the page: its path, person and score, and whether it is rejected to begin with."""

  path: str
  person: str
  score: float


def make_blocks(tiles: Sequence[Tile], size: int = BLOCK) -> list[list[Tile]]:
  """Images by person, the best first; a person of more than one block begins a block, others share them.

  Args:
    tiles: images in any order.
    size: images of a block.
  """
  people: dict[str, list[Tile]] = {}
  for tile in sorted(tiles, key=lambda tile: (tile.person, -tile.score, tile.path)):
    people.setdefault(tile.person, []).append(tile)
  blocks: list[list[Tile]] = [[]]
  for own in people.values():
    if len(blocks[-1]) + len(own) > size and blocks[-1]:
      blocks.append([])
    while own:
      missing = size - len(blocks[-1])
      blocks[-1] += own[:missing]
      own = own[missing:]
      if own:
        blocks.append([])
  return [block for block in blocks if block]


def write_block_page(folder: Path, run: str, title: str, blocks: Sequence[Sequence[Tile]], read: Callable[[str], np.ndarray | None]) -> None:
  """Writes index.html, blocks.js and a JPEG for each block, which opens from disk or any server of files.

  Args:
    folder: of the page; pictures of an earlier, interrupted call of the same run are kept.
    run: what tells this page from another; it is in the file of decisions.
    title: of the page.
    blocks: images of each block.
    read: gives an image [H, W, 3] uint8 by path; None where it cannot be read.
  """
  folder.mkdir(parents=True, exist_ok=True)
  for number, block in enumerate(blocks):
    file = folder / f"{run[:16]}.{number:05d}.jpg"
    if not file.is_file():
      with atomic_file(file) as out:
        out.write(_sheet(block, read))
  about = {
    "run": run, "title": title, "tile": TILE, "columns": COLUMNS, "prefix": run[:16],
    "blocks": [[[tile.path, tile.person, round(tile.score, 4)] for tile in block] for block in blocks],
  }
  # "<" is escaped so that no name can end the script.
  write_text(folder / "blocks.js", "const DATA = " + json.dumps(about, ensure_ascii=True).replace("<", "\\u003c") + ";\n")
  for name, target in (("blocks_page.js", "page.js"), ("blocks_page.css", "page.css"), ("blocks_page.html", "index.html")):
    write_text(folder / target, resources.files("jaxface.pipeline.cleaning").joinpath(name).read_text(encoding="utf-8"))


def _sheet(block: Sequence[Tile], read: Callable[[str], np.ndarray | None]) -> bytes:
  rows = -(-len(block) // COLUMNS)
  sheet = Image.new("RGB", (COLUMNS * TILE, rows * TILE), (128, 128, 128))
  for place, tile in enumerate(block):
    image_hwc = read(tile.path)
    if image_hwc is not None:
      picture = Image.fromarray(image_hwc)
      picture.thumbnail((TILE, TILE))
      sheet.paste(picture, (place % COLUMNS * TILE + (TILE - picture.width) // 2, place // COLUMNS * TILE + (TILE - picture.height) // 2))
  data = io.BytesIO()
  sheet.save(data, "JPEG", quality=85)
  return data.getvalue()


__all__ = ["BLOCK", "Tile", "make_blocks", "write_block_page"]
