"""MTCNN step by step from the published code: one level, one crop and one box after the other, in NumPy; only networks are shared."""

import jax
import numpy as np

from jaxface.detection.mtcnn_nets import NETS

apply = {net: jax.jit(module.apply) for net, module in NETS.items()}


def area(image, height, width):
  """Adaptive average pooling from its definition."""
  out = np.zeros((height, width, image.shape[-1]), np.float32)
  for y in range(height):
    for x in range(width):
      rows = slice(y * image.shape[0] // height, -(-(y + 1) * image.shape[0] // height))
      columns = slice(x * image.shape[1] // width, -(-(x + 1) * image.shape[1] // width))
      out[y, x] = image[rows, columns].astype(np.float64).mean((0, 1))
  return out


def overlap(a, b, smaller):
  one = 1 if smaller else 0
  width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + one)
  height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + one)
  areas = [(box[2] - box[0] + one) * (box[3] - box[1] + one) for box in (a, b)]
  return width * height / (min(areas) if smaller else sum(areas) - width * height)


def suppress(rows, threshold, smaller=False):
  """Rows (box, score, ...) that are kept, by falling score."""
  kept = []
  for row in sorted(rows, key=lambda row: -row[1]):
    if all(overlap(row[0], other[0], smaller) <= threshold for other in kept):
      kept.append(row)
  return kept


def moved(box, offset, one):
  size = [box[2] - box[0] + one, box[3] - box[1] + one] * 2
  return [edge + part * length for edge, part, length in zip(box, offset, size)]


def squared(box):
  width, height = box[2] - box[0], box[3] - box[1]
  side = max(width, height)
  x, y = box[0] + width / 2 - side / 2, box[1] + height / 2 - side / 2
  return [x, y, x + side, y + side]


def scored(net, params, image, rows, side, threshold, border):
  """Rows (box, score, offset, points, corner and size of the crop) that pass; boxes count pixels from 1, the last one included."""
  found = []
  for box, *_ in rows:
    x0, y0, x1, y1 = (int(edge) for edge in box)
    seen = [max(x0, 1) - 1, max(y0, 1) - 1], [min(x1, image.shape[1]) - max(x0, 1) + 1, min(y1, image.shape[0]) - max(y0, 1) + 1]
    crop = image[max(y0, 1) - 1 : min(y1, image.shape[0]), max(x0, 1) - 1 : min(x1, image.shape[1])]
    if not crop.size:
      continue
    if border == "zeros":
      whole = np.zeros((y1 - y0 + 1, x1 - x0 + 1, 3), image.dtype)
      top, left = max(1 - y0, 0), max(1 - x0, 0)
      whole[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
      crop, seen = whole, ([x0 - 1, y0 - 1], [x1 - x0 + 1, y1 - y0 + 1])
    out = apply[net]({"params": params[net]}, (area(crop, side, side)[None] - 127.5) / 128)
    score = float(jax.nn.softmax(out.logit)[0, 1])
    if score > threshold:
      found.append((box, score, np.asarray(out.offset[0]), None if out.point is None else np.asarray(out.point[0]), *seen))
  return found


def detect(params, image, smallest, thresholds, border, points_in="crop", factor=0.709):
  """Faces by falling score: (x0, y0, x1, y1) with edges between pixels, score, [5, 2] points."""
  scale, rows = 12 / smallest, []
  side = min(image.shape[:2]) * scale
  while side >= 12:
    level = area(image, int(image.shape[0] * scale + 1), int(image.shape[1] * scale + 1))
    out = apply["pnet"]({"params": params["pnet"]}, (level[None] - 127.5) / 128)
    score = np.asarray(jax.nn.softmax(out.logit)[0, ..., 1])
    cells = [
      ([np.floor(np.float32(2 * at + add) / np.float32(scale)) for add in (1, 12) for at in (x, y)], score[y, x], np.asarray(out.offset[0, y, x]))
      for y, x in np.argwhere(score >= thresholds[0])
    ]
    rows += suppress(cells, 0.5)
    scale, side = scale * factor, side * factor
  rows = [(squared(moved(box, offset, 0)), score) for box, score, offset in suppress(rows, 0.7)]
  rows = suppress(scored("rnet", params, image, rows, 24, thresholds[1], border), 0.7)
  rows = [(squared(moved(box, offset, 1)), score) for box, score, offset, *_ in rows]
  final = []
  for box, score, offset, point, corner, size in scored("onet", params, image, rows, 48, thresholds[2], border):
    if points_in == "box":
      corner, size = [box[0] - 2, box[1] - 2], [box[2] - box[0] + 1, box[3] - box[1] + 1]
    final.append((moved(box, offset, 1), score, point * np.array(size) + corner))
  return [([x0 - 1, y0 - 1, x1, y1], score, point) for (x0, y0, x1, y1), score, point in suppress(final, 0.7, smaller=True)]
