"""What a sweep can vary, and the levels that are taken where none are given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from jaxface.data.degrade import DEGRADATIONS, check_level
from jaxface.inference.model import Model
from jaxface.losses.ranges import check_name
from jaxface.models.layer_table import layer_table
from jaxface.models.watch import watch


@dataclass(frozen=True)
class Axis:
  """A quantity that is varied for one model.

  Attributes:
    what: label of its values.
    levels: taken where none are given. Those of FaceNet's tables, where it has one (Schroff et al., 2015, tables 4 and 5).
    of_images: whether images are changed; otherwise embeddings are.
  """

  what: str
  levels: tuple[float, ...]
  of_images: bool = True


_SIZES = (16, 32, 64, 128, 256, 512)
AXES: Mapping[str, Axis] = MappingProxyType({
  "jpeg": Axis(DEGRADATIONS["jpeg"].what, (10, 20, 30, 50, 70, 90)),
  "pixels": Axis(DEGRADATIONS["pixels"].what, (1600, 6400, 14400, 25600, 65536)),
  "blur": Axis(DEGRADATIONS["blur"].what, (1, 2, 3, 4)),
  "noise": Axis(DEGRADATIONS["noise"].what, (10, 20, 30, 40)),
  "occlusion": Axis(DEGRADATIONS["occlusion"].what, (0.05, 0.1, 0.2, 0.3)),
  "size": Axis("numbers of the embedding that are kept", _SIZES, of_images=False),
  "pca": Axis("principal components", _SIZES, of_images=False),
})

# Quantities of models, for one level per model.
BY: Mapping[str, str] = MappingProxyType({
  "flops": "multiply-adds of one image",
  "parameters": "parameters",
  "embedding-size": "embedding size",
  "training-images": "training images",
  "identities": "training identities",
})
_META = {"training-images": "images", "identities": "identities"}


def check_levels(axis: str, levels: Sequence[float]) -> tuple[float, ...]:
  """The levels, each once, ascending.

  Raises:
    ValueError: an unknown axis, or a level out of range.
  """
  check_name("axis", axis, tuple(AXES))
  for level in levels:
    if AXES[axis].of_images:
      check_level(axis, level)
    elif not (float(level).is_integer() and level >= 1):
      raise ValueError(f"{axis} = {level:g}: {AXES[axis].what} are whole numbers from 1")
  return tuple(sorted({float(level) for level in levels}))


def usual_levels(axis: str, pixels: int, size: int) -> tuple[tuple[float, ...], str]:
  """The levels of an axis that change something, and a note on those left out, or "".

  Args:
    axis: one of `AXES`.
    pixels: height times width of the images.
    size: length of an embedding.
  """
  most, what = (pixels, f"{pixels:,} pixels of the images") if axis == "pixels" else (size, f"{size} numbers of an embedding")
  levels = AXES[axis].levels
  kept = tuple(level for level in levels if axis not in ("pixels", "size", "pca") or level < most)
  if len(kept) == len(levels):
    return kept, ""
  gone = ", ".join(f"{level:,}" for level in levels if level not in kept)
  return kept, f"{axis}: the usual levels {gone} are left out: they are not below the {what}."


def model_value(by: str, model: Model, where: str) -> float:
  """A quantity of a model.

  Args:
    by: one of `BY`.
    model: the model.
    where: its path, for messages.
  Raises:
    ValueError: the model does not record it.
  """
  check_name("by", by, tuple(BY))
  if by == "parameters":
    return model.num_parameters
  if by == "embedding-size":
    return model.embedding_size
  if by == "flops":
    watched = watch(model.saved.module, (1, *model.input_size, model.preprocess.channels))
    return sum(row.multiply_adds for row in layer_table(watched))
  value = model.meta.get(_META[by])
  if isinstance(value, bool) or not isinstance(value, int) or value < 1:
    raise ValueError(
      f"{where} does not record its number of {BY[by]} (entry {_META[by]!r} of its metadata is {value!r}): models that `jaxface train`"
      " saved do; imported weights do not. Leave it out, or sweep by parameters, flops or embedding-size"
    )
  return value


__all__ = ["AXES", "BY", "Axis", "check_levels", "model_value", "usual_levels"]
