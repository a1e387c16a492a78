"""Summary of a network: its input, its size, and the figures of its paper."""

from dataclasses import dataclass

from jaxface.models.contract import Published
from jaxface.models.layer_table import LayerRow, layer_table
from jaxface.models.preprocess import Preprocess
from jaxface.models.registry import create, network_modules
from jaxface.models.watch import watch


@dataclass(frozen=True)
class Summary:
  """A network with its default options.

  Attributes:
    name: name for `create`.
    convention: its input.
    embedding_size: length of its embedding.
    layers: its layer table.
    published: figures of its paper; None if unknown.
  """

  name: str
  convention: Preprocess
  embedding_size: int
  layers: tuple[LayerRow, ...]
  published: Published | None

  @property
  def parameters(self) -> int:
    """Number of parameters of all layers."""
    return sum(row.parameters for row in self.layers)

  @property
  def multiply_adds(self) -> int:
    """Multiply-adds of all layers for one image, without biases."""
    return sum(row.multiply_adds for row in self.layers)

  @property
  def with_bias(self) -> int:
    """The same with one more per output for the bias, as FaceNet's tables count."""
    return sum(row.with_bias for row in self.layers)


def summarise(name: str) -> Summary:
  """Summary of a registered network, by abstract evaluation.

  Raises:
    ValueError: no such network; the message lists similar names.
  """
  module = create(name)
  convention: Preprocess = module.convention
  watched = watch(module, (1, *convention.size, convention.channels))
  size = watched.calls[0].output_shape[-1]
  return Summary(name, convention, size, tuple(layer_table(watched)), published().get(name))


def published() -> dict[str, Published]:
  """Published figures by name of the network: the `PUBLISHED` of all modules of this package."""
  return {name: paper for file in network_modules() for name, paper in getattr(file, "PUBLISHED", {}).items()}


__all__ = ["Summary", "published", "summarise"]
