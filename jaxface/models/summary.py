"""What a network is, in figures: its input, its size, and what its paper prints."""

from dataclasses import dataclass

from jaxface.models.contract import Published
from jaxface.models.layer_table import LayerRow, layer_table
from jaxface.models.preprocess import Preprocess
from jaxface.models.registry import create, room_files
from jaxface.models.watch import watch


@dataclass(frozen=True)
class Summary:
  """A network with its default options.

  Attributes:
    name: as `create` takes it.
    convention: its input.
    embedding_size: length of its embedding.
    layers: its layer table.
    published: what its paper prints; None where we know of nothing.
  """

  name: str
  convention: Preprocess
  embedding_size: int
  layers: tuple[LayerRow, ...]
  published: Published | None

  @property
  def parameters(self) -> int:
    """Of all layers."""
    return sum(row.parameters for row in self.layers)

  @property
  def multiply_adds(self) -> int:
    """Of all layers, for one image, biases not counted."""
    return sum(row.multiply_adds for row in self.layers)

  @property
  def with_bias(self) -> int:
    """The same with one more for each bias and number of its result, as FaceNet's tables count."""
    return sum(row.with_bias for row in self.layers)


def summarise(name: str) -> Summary:
  """A registered network in figures; computes nothing.

  Raises:
    ValueError: no such network; the message lists near names.
  """
  module = create(name)
  convention: Preprocess = module.convention
  watched = watch(module, (1, *convention.size, convention.channels))
  size = watched.calls[0].output_shape[-1]
  return Summary(name, convention, size, tuple(layer_table(watched)), published().get(name))


def published() -> dict[str, Published]:
  """What papers print, by name of the network: the `PUBLISHED` of every file of this room together."""
  return {name: paper for file in room_files() for name, paper in getattr(file, "PUBLISHED", {}).items()}


__all__ = ["Summary", "published", "summarise"]
