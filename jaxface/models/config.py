"""Which network, and how it computes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import flax.linen as nn

from jaxface.formats.manifest import UNKNOWN_TEMPLATE
from jaxface.losses.ranges import check_range
from jaxface.models.preprocess import FITS, PREPROCESS, Preprocess, changed, get_preprocess
from jaxface.models.registry import create, model_options

DEFAULT_NETWORK = "iresnet18"
UNKNOWN_TEMPLATES = {UNKNOWN_TEMPLATE, "none", ""}


@dataclass(frozen=True)
class ModelConfig:
  """A registered network with its options.

  Attributes:
    name: a name that `jaxface.models.registry.list_models()` lists; "" takes that of `init_from`, and "iresnet18" without
      one.
    preprocess: name of an input convention, such as "unit" or "imagenet"; "" takes the network's own.
    size: side of the square input in pixels; 0 takes the network's own height and width.
    fit: how images of another size are brought to it: "crop" around the centre, or "resize"; "" takes the network's own.
    embedding_size: length of the embedding; 0 takes the network's own.
    dtype: "float32" or "bfloat16" for the computation; parameters stay float32.
    remat: recompute activations in the backward pass: less memory, about a third more time.
    dropout: share of features dropped before the last layer, where the network has such a place.
    init_from: model directory, or workdir of a run, whose variables the network begins with; "" begins afresh. Network,
      options, size, preprocessing and template come from there too, where they are not given here; what is given and
      contradicts is refused, see `jaxface.models.take_over`. For `projected` it is the frozen network inside.
    freeze_norm: batch norms use their running statistics while training and stay as they are, in every network; needs
      `init_from`, since the norms of a new network have none.
    options: anything else that the network's constructor takes.
    convention: the exact input convention, taken over from `init_from`; not for hand.
  """

  name: str = ""
  preprocess: str = ""
  size: int = 0
  fit: Literal["", "crop", "resize"] = ""
  embedding_size: int = 0
  dtype: Literal["float32", "bfloat16"] = "float32"
  remat: bool = False
  dropout: float = 0.0
  init_from: str = ""
  freeze_norm: bool = False
  options: Mapping[str, Any] = field(default_factory=dict)
  convention: Preprocess | None = None

  def __post_init__(self) -> None:
    if self.freeze_norm and not self.init_from:
      raise ValueError(
        "model.freeze_norm needs model.init_from: the batch norms of a new network have no statistics to keep"
      )
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
    template: alignment of the images that the network is for; None keeps the convention's. One that is not known ("",
      "none" or "unknown") does not change what was taken over from `init_from`.
  Returns:
    The network, all options that `create` made it with, and its input convention.
  Raises:
    ValueError: unknown network, option or convention; images of another template than the network begun with takes.
  """
  network = config.name or DEFAULT_NETWORK
  options: dict[str, Any] = dict(config.options)
  if config.dtype != "float32" or "dtype" in model_options(network):
    options["dtype"] = config.dtype
  if config.embedding_size:
    options["embedding_size"] = config.embedding_size
  if config.remat:
    options["remat"] = True
  if config.dropout:
    options["dropout"] = config.dropout
  module = create(network, **options)
  own = module.convention if config.convention is None else config.convention
  if config.convention is not None and template is not None:
    if {template, own.template} & UNKNOWN_TEMPLATES:
      template = template if own.template in UNKNOWN_TEMPLATES else own.template
    elif template != own.template:
      raise ValueError(
        f"model.init_from {config.init_from} takes faces aligned to template {own.template!r}, the images are aligned to"
        f" {template!r}: align them again, or begin with another model"
      )
  name = config.preprocess or own.name
  kept = own if name == own.name else get_preprocess(name, size=own.size, fit=own.fit)
  return module, options, changed(kept, size=config.size, template=template, fit=config.fit)


__all__ = ["DEFAULT_NETWORK", "UNKNOWN_TEMPLATES", "ModelConfig", "make_model"]
