"""The measured networks, with image and batch sizes of their training step."""

from typing import Any, NamedTuple

import numpy as np


class Net(NamedTuple):
  """A network of ours; `torch_nets.NETS` has the same one under the same key.

  Attributes:
    model: its name in our registry.
    options: options of the model.
    side: height and width of its images in pixels.
    batch: images per training step.
  """

  model: str
  options: dict[str, Any]
  side: int
  batch: int


NETS = {
  "iresnet18": Net("iresnet18", {}, 112, 32),
  "iresnet50": Net("iresnet50", {}, 112, 16),
  "mobilefacenet": Net("mobilefacenet", {}, 112, 128),
  "half_iresnet18": Net("iresnet18", {"width": 0.5}, 64, 128),
}


def images(side: int, count: int) -> np.ndarray:
  """Images [B, side, side, 3] uint8, always the same."""
  return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def labels(classes: int, count: int) -> np.ndarray:
  """Identities [B] int64 of the images, always the same."""
  return np.random.default_rng(1).integers(0, classes, count)


def multiply_adds(net: Net) -> int:
  """Multiply-adds of the forward pass of one image, those of attention included."""
  from jaxface.models.layer_table import layer_table
  from jaxface.models.registry import create
  from jaxface.models.watch import watch

  module = create(net.model, **net.options)
  return sum(row.multiply_adds for row in layer_table(watch(module, (1, net.side, net.side, 3))))


def same_parameters(net: str, counts: dict[str, int]) -> int:
  """The number of parameters of all sides.

  Raises:
    AssertionError: the numbers differ, so the sides are not the same network.
  """
  if len(set(counts.values())) > 1:
    raise AssertionError(f"{net}: the sides are not the same network: they have {counts} parameters")
  return next(iter(counts.values()))
