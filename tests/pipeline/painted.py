"""Photos with painted faces, and a detector that finds them: exact, and without weights."""

import numpy as np
from PIL import Image

from jaxface.detection import Detections
from jaxface.geometry import template

SKIN = np.array([200, 160, 120], np.uint8)


def photo(faces=((40, 30, 0.5),), size=(160, 200), seed=0):
  """[H, W, 3] uint8: a dark picture with faces at (x, y), arcface112 scaled by a factor, each with a texture of its own seed.

  A face is (x, y, scale) or (x, y, scale, seed).
  """
  image = np.full((*size, 3), 20, np.uint8)
  for number, (x, y, scale, *own) in enumerate(faces):
    side = round(112 * scale)
    texture = np.random.default_rng(own[0] if own else seed + number).integers(-30, 30, (8, 8, 3))
    patch = np.clip(SKIN.astype(int) + np.array(Image.fromarray((texture + 128).astype(np.uint8)).resize((side, side))) - 128, 100, 255)
    image[y : y + side, x : x + side] = patch[: max(size[0] - y, 0), : max(size[1] - x, 0)].astype(np.uint8)
  return image


class PaintedDetector:
  """Finds bright squares as faces whose points are those of arcface112."""

  name, points = "painted", True

  def __init__(self):
    self.params = {"net": {"w": np.ones(1, np.float32)}}
    self.calls = 0

  def detect_batch(self, image_bhwc, size_b2, device=None):
    self.calls += 1
    return [self._one(image[: size[0], : size[1]]) for image, size in zip(np.asarray(image_bhwc), size_b2)]

  def _one(self, image):
    if not image.size:
      return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32), image.shape[:2])
    bright, boxes = image.min(-1) >= 90, []
    while bright.any():
      y0, x0 = (int(value[0]) for value in np.nonzero(bright))
      x1 = x0 + int(np.argmin(np.append(bright[y0, x0:], False)))
      y1 = y0 + int(np.argmin(np.append(bright[y0:, x0], False)))
      boxes.append((x0, y0, x1, y1))
      bright[y0:y1, x0:x1] = False
    box_n4 = np.array(sorted(boxes, key=lambda box: box[0] - box[2]), np.float32).reshape(-1, 4)
    side_n = box_n4[:, 2] - box_n4[:, 0]
    # Pixel centres of the template are at whole numbers; a detector's (0, 0) is the corner of the first pixel.
    point_n52 = box_n4[:, None, :2] + (template("arcface112").point_k2 + 0.5)[None] * (side_n / 112)[:, None, None]
    return Detections(box_n4, np.linspace(0.99, 0.9, len(box_n4), dtype=np.float32), point_n52.astype(np.float32), image.shape[:2])


def save(path, image):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(image).save(path)


def save_people(root):
  """Saves a folder for each of three people, with two photos, and returns `root`."""
  for person, seed in (("ann", 3), ("bob", 4), ("eve", 5)):
    for number in range(2):
      save(root / person / f"{number}.png", photo(((10 + 20 * number, 20, 0.7, seed),)))
  return root
