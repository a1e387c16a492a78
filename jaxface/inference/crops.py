"""Test-time crops: the mean embedding of several parts of a face, at several sizes.

"ten" is VGG-Face's at one size: the four corners and the middle, of the face and of its mirror image. "thirty" repeats this at
three sizes. The paper crops 224×224 from faces of 256, 384 and 512 pixels; for another input size these are scaled with it.

Source: Parkhi, Vedaldi, Zisserman, "Deep Face Recognition", 2015, §5.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jax import Array

from jaxface.losses.ranges import check_name
from jaxface.models.preprocess import Preprocess

# Size of the face, in sizes of the input, by name.
CROPS: Mapping[str, tuple[float, ...]] = MappingProxyType({"one": (), "ten": (256 / 224,), "thirty": (256 / 224, 384 / 224, 512 / 224)})


def crop_places(size: tuple[int, int], scales: tuple[float, ...]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
  """The crops: size of the whole face in pixels, and top left corner of the crop in it; five for each scale.

  Args:
    size: height and width of a crop.
    scales: sizes of the face, in sizes of a crop, at least 1.
  """
  places = []
  for scale in scales:
    (rows, columns), (height, width) = (round(scale * side) for side in size), size
    bottom, right = rows - height, columns - width
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    places += [((rows, columns), corner) for corner in corners]
  return places


def mean_of_crops(
  network: Callable[[Array], Array], image_bhwc: Array, preprocess: Preprocess, crops: str
) -> Array:
  """Mean of a network's output over crops; can be jitted, and compiles the network once.

  Args:
    network: maps [B, *size, channels] in the convention's range to embeddings [B, D].
    image_bhwc: [B, H, W, 3] RGB, or [B, H, W, 1] for grey input; uint8, or float in 0..255. The face is the part that
      `preprocess` shows to the network without crops, resized by linear interpolation.
    preprocess: the network's convention.
    crops: one of `CROPS`; "one" is the face as it is.
  Returns:
    [B, D] float32.
  Raises:
    ValueError: unknown crops, or images that `preprocess` rejects.
  """
  check_name("crops", crops, list(CROPS))
  preprocess.check(image_bhwc)
  if crops == "one":
    return jnp.asarray(network(preprocess.apply(image_bhwc)), jnp.float32)
  face_bhwc = preprocess.middle(jnp.asarray(image_bhwc, jnp.float32))
  count, rows, columns, channels = face_bhwc.shape
  places = crop_places(preprocess.size, CROPS[crops])
  scale_k2 = jnp.array([(size[0] / rows, size[1] / columns) for size, _ in places], jnp.float32)
  shift_k2 = jnp.array([(-top, -left) for _, (top, left) in places], jnp.float32)

  def add(sum_bd: Array, place: tuple[Array, Array]) -> tuple[Array, None]:
    # The whole face is resized and one part of it computed: the place is data, so that one network is compiled for all crops.
    crop_bhwc = jax.image.scale_and_translate(
      face_bhwc, (count, *preprocess.size, channels), (1, 2), *place, method="linear", antialias=True
    )
    return sum_bd + jnp.asarray(network(preprocess.apply(crop_bhwc)), jnp.float32), None

  shape = jax.eval_shape(lambda place: add(jnp.zeros(()), place)[0], (scale_k2[0], shift_k2[0]))
  sum_bd, _ = jax.lax.scan(add, jnp.zeros(shape.shape, jnp.float32), (scale_k2, shift_k2))
  return sum_bd / len(places)


__all__ = ["CROPS", "crop_places", "mean_of_crops"]
