"""Which network, and how it computes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import flax.linen as nn

from jaxface.losses.ranges import check_range
from jaxface.models.preprocess import FITS, PREPROCESS, Preprocess, changed, get_preprocess
from jaxface.models.registry import create, model_options


@dataclass(frozen=True)
class ModelConfig:
  """A registered network with its options.

  Attributes:
    name: a name that `jaxface.models.registry.list_models()` lists.
    preprocess: name of an input convention, such as "unit" or "imagenet"; "" takes the network's own.
    size: side of the square input in pixels; 0 takes the network's own height and width.
    fit: how images of another size are brought to it: "crop" around the centre, or "resize"; "" takes the network's own.
    embedding_size: length of the embedding; 0 takes the network's own.
    dtype: "float32" or "bfloat16" for the computation; parameters stay float32.
    remat: recompute activations in the backward pass: less memory, about a third more time.
    dropout: share of features dropped before the last layer, where the network has such a place.
    init_from: model directory, or workdir of a run, whose variables the network begins with; "" begins afresh. For
      `projected` they are those of the frozen network inside.
    options: anything else that the network's constructor takes.
  """

  name: str = "iresnet18"
  preprocess: str = ""
  size: int = 0
  fit: Literal["", "crop", "resize"] = ""
  embedding_size: int = 0
  dtype: Literal["float32", "bfloat16"] = "float32"
  remat: bool = False
  dropout: float = 0.0
  init_from: str = ""
  options: Mapping[str, Any] = field(default_factory=dict)

  def __post_init__(self) -> None:
    for name, valid in (("fit", ("", *FITS)), ("dtype", ("float32", "bfloat16")), ("preprocess", ("", *PREPROCESS))):
      if getattr(self, name) not in valid:
        names = [text or "'' for the network's own" for text in valid]
        raise ValueError(f"model.{name} is {getattr(self, name)!r}, should be one of {', '.join(names)}")
    for name in ("size", "embedding_size"):
      check_range(self, name, 0, 2**16, what="0 for the network's own")
    check_range(self, "dropout", 0.0, 1.0, open_high=True, what="share of the features dropped")


def make_model(config: ModelConfig, template: str | None = None) -> tuple[nn.Module, dict[str, Any], Preprocess]:
  """What a config means.

  Args:
    config: the config.
    template: alignment of the images that the network is for; None keeps the convention's.
  Returns:
    The network, all options that `create` made it with, and its input convention.
  Raises:
    ValueError: unknown network, option or convention.
  """
  options: dict[str, Any] = dict(config.options)
  if config.dtype != "float32" or "dtype" in model_options(config.name):
    options["dtype"] = config.dtype
  if config.embedding_size:
    options["embedding_size"] = config.embedding_size
  if config.remat:
    options["remat"] = True
  if config.dropout:
    options["dropout"] = config.dropout
  module = create(config.name, **options)
  own = module.convention
  name = config.preprocess or own.name
  kept = own if name == own.name else get_preprocess(name, size=own.size, fit=own.fit)
  return module, options, changed(kept, size=config.size, template=template, fit=config.fit)


__all__ = ["ModelConfig", "make_model"]
