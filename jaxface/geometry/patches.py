"""Patches of an aligned face: the boxes that an ensemble takes as inputs, cropped and scaled on the device.

Boxes are derived from the five points of a template. Each network of an ensemble receives its patch and, as the mirror image, the
mirrored patch of the *opposite* eye or mouth corner. No template is exactly symmetric (arcface112 is off by up to 1.3 pixels), so
boxes are placed by `symmetric_points`: the mean of each point and the mirror of its opposite, which moves a point by at most half
of that. The box of an eye in the mirrored face is then, pixel by pixel, the mirror image of the other eye's patch. Mirroring the
face, in training or for the second half of the features, therefore mirrors every patch as the papers require.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.geometry.templates import Template

COLOURS = ("rgb", "grey")
# The points of a template, and the point that each becomes when mirrored.
OPPOSITE = (1, 0, 2, 4, 3)


@dataclass(frozen=True)
class Patch:
  """One input of an ensemble.

  Attributes:
    name: region, scale in percent and colour, such as "left_eye_080_rgb".
    region: what the patch shows.
    scale: scale factor of the box, 1 for the region's own size.
    colour: "rgb" or "grey".
    center: (x, y) in pixels of the template, where the centre of the first pixel is (0, 0).
    size: (height, width) of the box in pixels of the template.
    input_size: (height, width) in pixels to which the box is scaled.
    partner: name of the patch whose mirror image is this patch of the mirrored face; the patch itself on the midline.
  """

  name: str
  region: str
  scale: float
  colour: str
  center: tuple[float, float]
  size: tuple[float, float]
  input_size: tuple[int, int]
  partner: str

  @property
  def channels(self) -> int:
    """Channels of the patch: 3 or 1."""
    return 3 if self.colour == "rgb" else 1

  @property
  def input_shape(self) -> tuple[int, int, int]:
    """(height, width, channels) of the network's input."""
    return (*self.input_size, self.channels)


@dataclass(frozen=True)
class Region:
  """Location of a region's patches, at all scales and in both colours.

  Attributes:
    center: (x, y) in pixels of the template.
    height: height of the box at scale 1, in pixels.
    opposite: the region that it becomes when mirrored.
  """

  center: tuple[float, float]
  height: float
  opposite: str


def symmetric_points(template: Template) -> np.ndarray:
  """The five points [5, 2] of a template, each moved to the mean of itself and the mirror of its opposite."""
  point_k2 = template.point_k2
  mirrored_k2 = point_k2[list(OPPOSITE)] * [-1, 1] + [template.size[1] - 1, 0]
  return (point_k2 + mirrored_k2) / 2


def _regions_deepid(template: Template) -> tuple[dict[str, Region], dict[str, Region]]:
  points = symmetric_points(template)
  eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
  unit = float(mouth[1] - eyes[1])

  def on_the_midline(name: str, down: float, height: float) -> Region:
    x, y = eyes + down * (mouth - eyes)
    return Region((float(x), float(y)), height * unit, name)

  tall = {
    name: on_the_midline(name, down, height)
    for name, down, height in (
      ("face", 0.5, 2.2), ("upper", 0.0, 1.8), ("bridge", 0.25, 1.5), ("middle", 0.5, 1.6), ("lower", 1.0, 1.6),
    )
  }
  names = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
  square = {
    name: Region((float(x), float(y)), unit, names[opposite]) for name, (x, y), opposite in zip(names, points, OPPOSITE)
  }
  return tall, square


def deepid_patches(
  template: Template,
  *,
  regions: Sequence[str] = (),
  scales: Sequence[float] = (0.8, 1.0, 1.25),
  colours: Sequence[str] = COLOURS,
) -> tuple[Patch, ...]:
  """DeepID's patches: 10 regions × 3 scales × {RGB, grey} = 60, fifteen for each of four input shapes.

  Five global regions in boxes of 39:31 (face, upper, bridge, middle, lower: our choice, the paper shows a picture without
  numbers) are scaled to 39×31; five squares around the landmarks to 31×31. Patches are ordered by input shape (39×31×3, 39×31×1,
  31×31×3, 31×31×1), then by region in the order above, then by scale.

  Args:
    template: template of the aligned face.
    regions: names of some of the ten; none for all.
    scales: scale factors of the boxes (our choice).
    colours: "rgb", "grey" or both.
  Returns:
    The patches.
  Raises:
    ValueError: unknown or repeated region, scale or colour.
  Source: Sun et al., "Deep Learning Face Representation from Predicting 10,000 Classes", 2014, §3.2.
  """
  tall, square = _regions_deepid(template)
  _check("regions", regions, [*tall, *square])
  _check("colours", colours, COLOURS)
  _check("scales", scales)
  shown = set(regions or (*tall, *square))
  return tuple(
    patch
    for places, size in ((tall, (39, 31)), (square, (31, 31)))
    for patch in _patches({name: place for name, place in places.items() if name in shown}, size, scales, colours)
  )


def deepid2_patches(template: Template, *, input_size: tuple[int, int] = (55, 47)) -> tuple[Patch, ...]:
  """DeepID2's 200 patches, 400 crops with their mirror images; 200 networks of 55×47 pixels.

  The paper says that they differ in position, scale and colour, and gives no numbers. Our choice: 25 positions, up to half the
  distance between the eyes to either side of the midline, and from above the eyes to below the mouth; 4 scales; RGB and grey.

  Args:
    template: template of the aligned face.
    input_size: (height, width) in pixels to which boxes are scaled; their aspect is that of the input.
  Source: Sun et al., "Deep Learning Face Representation by Joint Identification-Verification", 2014, §3.
  """
  points = symmetric_points(template)
  eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
  down, right = mouth - eyes, points[1] - eyes
  regions = {}
  for row, column in product(range(5), range(5)):
    x, y = eyes + (0.5 + 0.375 * (row - 2)) * down + 0.5 * (column - 2) * right
    regions[f"row{row}_column{column}"] = Region((float(x), float(y)), 1.3 * float(down[1]), f"row{row}_column{4 - column}")
  return tuple(_patches(regions, input_size, (0.8, 1.0, 1.25, 1.5625), COLOURS))


def _patches(
  regions: Mapping[str, Region], input_size: tuple[int, int], scales: Sequence[float], colours: Sequence[str]
) -> list[Patch]:
  """Every region at every scale, grouped by colour."""
  aspect = input_size[1] / input_size[0]

  def name(region: str, scale: float, colour: str) -> str:
    return f"{region}_{round(100 * scale):03d}_{colour}"

  return [
    Patch(
      name(region, scale, colour), region, scale, colour, place.center,
      (scale * place.height, scale * place.height * aspect), input_size, name(place.opposite, scale, colour),
    )
    for colour in COLOURS if colour in colours
    for region, place in regions.items()
    for scale in scales
  ]


def _check(field: str, given: Sequence, valid: Sequence[str] | None = None) -> None:
  if isinstance(given, str):
    raise ValueError(f"deepid_patches: {field} {given!r}: needs a list, such as [{given!r}]")
  wrong = [value for value in given if valid is not None and value not in valid]
  if wrong:
    raise ValueError(f"deepid_patches: {field} {wrong}: takes some of {', '.join(valid or ())}")
  if len(set(given)) < len(given) or (valid is None and (not given or min(given) <= 0)):
    raise ValueError(f"deepid_patches: {field} {tuple(given)}: must be distinct" + (" and positive" if valid is None else ""))


def boxes(patches: Sequence[Patch], template: Template, image_size: tuple[int, int]) -> np.ndarray:
  """Boxes of patches in an image of an aligned face, at any image size.

  A box that reaches beyond the image is moved inside. A box larger than the image stays centred, and `crop` repeats the edge
  pixels. Both are symmetric in left and right.

  Args:
    patches: the patches to crop.
    template: the template from which they were made.
    image_size: (height, width) in pixels.
  Returns:
    [N, 4] float32: y and x of the centre, height and width, in pixels; the centre of the first pixel is (0, 0).
  """
  ratio_2 = np.array(image_size) / template.size
  center_n2 = (np.array([patch.center[::-1] for patch in patches]) + 0.5) * ratio_2
  size_n2 = np.array([patch.size for patch in patches]) * ratio_2
  half_n2 = np.minimum(size_n2, image_size) / 2
  center_n2 = np.clip(center_n2, half_n2, image_size - half_n2) - 0.5
  return np.concatenate([center_n2, size_n2], axis=1).astype(np.float32)


def crop(image_bhwc: Array, box_n4: Array, size: tuple[int, int]) -> Array:
  """Every box of every image, scaled to one size: two small matrix products per box, for `jit` and `vmap`.

  Bilinear; when scaling down, the triangle filter is widened so that no pixel is skipped.

  Args:
    image_bhwc: [B, H, W, C] float.
    box_n4: [N, 4] from `boxes`.
    size: (height, width) of the result in pixels.
  Returns:
    [N, B, *size, C], with the dtype of the image.
  """

  def weights(axis: int) -> Array:
    line = functools.partial(_weights, steps=size[axis], pixels=image_bhwc.shape[1 + axis])
    return jax.vmap(line)(box_n4[:, axis], box_n4[:, 2 + axis]).astype(image_bhwc.dtype)

  # Columns first (the last axis of the planes), boxes before images: one matrix product for all boxes, then one per box.
  narrow_njbch = jnp.einsum("njw,bchw->njbch", weights(1), image_bhwc.transpose(0, 3, 1, 2))
  return jnp.einsum("njbch,nih->njbci", narrow_njbch, weights(0)).transpose(0, 2, 4, 1, 3)


def _weights(center: Array, length: Array, steps: int, pixels: int) -> Array:
  """[steps, pixels]: weight of each pixel in each sample along one axis of a box; rows sum to 1."""
  position_s = center + ((jnp.arange(steps) + 0.5) / steps - 0.5) * length
  # Pixels beyond the edge repeat the edge.
  distance_sp = jnp.abs(jnp.clip(position_s, 0, pixels - 1)[:, None] - jnp.arange(pixels))
  weight_sp = jnp.maximum(1.0 - distance_sp / jnp.maximum(length / steps, 1.0), 0.0)
  return weight_sp / weight_sp.sum(axis=-1, keepdims=True)


__all__ = [
  "COLOURS", "OPPOSITE", "Patch", "boxes", "crop", "deepid2_patches", "deepid_patches", "symmetric_points",
]
