"""Writes docs/augmentations.jpg, a row for each operation of augmentation, and docs/synthetic_faces.jpg.

Command: python docs/make_augmentation_pictures.py
"""

from pathlib import Path

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxface.data.augmentation import AugmentConfig, augment
from jaxface.data.synthetic import render

SIZE, COLUMNS, TITLE = 112, 9, 132
OFF = {"mirror": 0.0, "shift": 0, "jitter": 0.0}
ROWS = {
  "mirror": {"mirror": 0.5},
  "shift": {"shift": 8},
  "crop": {"crop": 1.0, "crop_least": 0.6},
  "rotation": {"rotate": 1.0, "rotate_degrees": 25.0},
  "low resolution": {"low_resolution": 1.0, "low_resolution_least": 0.1},
  "blur": {"blur": 1.0, "blur_pixels": 3.0},
  "brightness": {"jitter": 1.0, "brightness": 0.3, "contrast": 0.0},
  "contrast": {"jitter": 1.0, "brightness": 0.0, "contrast": 0.7},
  "saturation": {"jitter": 1.0, "brightness": 0.0, "contrast": 0.0, "saturation": 1.0},
  "hue": {"jitter": 1.0, "brightness": 0.0, "contrast": 0.0, "hue": 0.2},
  "grey": {"grey": 0.5},
  "inversion": {"invert": 0.5},
  "noise": {"noise": 1.0, "noise_deviation": 50.0},
  "cut-out": {"cut_out": 1.0},
}


def operations(face_hwc: np.ndarray) -> Image.Image:
  """The face, unchanged in the first column, then changed by each operation."""
  sheet = Image.new("RGB", (TITLE + COLUMNS * SIZE, len(ROWS) * SIZE), "white")
  draw = ImageDraw.Draw(sheet)
  batch = np.repeat(face_hwc[None], COLUMNS - 1, 0)
  for row, (title, change) in enumerate(ROWS.items()):
    config = AugmentConfig(**(OFF | change))
    changed = jax.jit(augment, static_argnums=3)(batch, 0, np.arange(COLUMNS - 1, dtype=np.uint32), config)
    strip = np.concatenate([face_hwc[None], np.asarray(changed).round().astype(np.uint8)])
    sheet.paste(Image.fromarray(np.concatenate(strip, 1)), (TITLE, row * SIZE))
    draw.text((8, row * SIZE + SIZE // 2 - 9), title, fill="black", font=ImageFont.load_default(17))
  return sheet


def faces(identities: int, images: int) -> Image.Image:
  """A row for each identity."""
  image = render(np.repeat(np.arange(identities), images), np.tile(np.arange(images), identities), size=SIZE)
  rows = image.reshape(identities, images, SIZE, SIZE, 3).transpose(0, 2, 1, 3, 4)
  return Image.fromarray(rows.reshape(identities * SIZE, images * SIZE, 3))


def main() -> None:
  """Writes both pictures next to this file."""
  folder = Path(__file__).parent
  face = render([5], [1], size=SIZE)[0]
  operations(face).save(folder / "augmentations.jpg", quality=88)
  faces(8, 10).save(folder / "synthetic_faces.jpg", quality=88)


if __name__ == "__main__":
  main()
