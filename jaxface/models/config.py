"""Choice and options of the network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import flax.linen as nn

from jaxface.formats.manifest import UNKNOWN_TEMPLATES
from jaxface.losses.ranges import check_range
from jaxface.models.preprocess import FITS, PREPROCESS, Preprocess, changed, get_preprocess
from jaxface.models.registry import create, full_name, model_options

DEFAULT_NETWORK = "iresnet18"
REMAT = ("none", "blocks", "products")


@dataclass(frozen=True)
class ModelConfig:
  """A registered network with its options.

  Attributes:
    name: a name that `jaxface.models.registry.list_models()` lists, or a paper's ("facenet" becomes "facenet_nn2"); "" takes that of `init_from`, and "iresnet18" without
      one.
    preprocess: name of an input convention, such as "unit" or "imagenet"; "" uses the network's own.
    size: side length of the square input in pixels; 0 uses the network's own height and width.
    fit: how images of another size are fitted: "crop" around the centre, or "resize"; "" uses the network's own.
    embedding_size: length of the embedding; 0 uses the network's own.
    dtype: "float32" or "bfloat16" for the computation; parameters stay float32.
    remat: what the backward pass recomputes, for less memory on accelerators: "none"; "blocks", the network's blocks from their
      inputs, for about a third more time; "products", everything between convolutions and matrix products, in any network.
    dropout: share of the features dropped before the last layer, if the network has dropout there.
    init_from: model directory, or workdir of a run, whose variables initialise the network; "" initialises at random. Network,
      options, size, preprocessing and template are taken from there too, unless given here; values that contradict it are
      rejected, see `jaxface.models.take_over`. For `projected` it is the frozen network inside.
    norm_groups: number of equal, consecutive parts of the batch with batch norm statistics of their own. 1 uses the whole batch; the
      number of devices uses that of each device, without communication. Running statistics follow the means over the parts. The
      result depends on the number of parts and not on the devices.
    freeze_norm: batch norms use their running statistics in training and do not update them, in every network; needs
      `init_from`, since the norms of a new network have none.
    options: other options of the network's constructor.
    convention: the exact input convention, set from `init_from`; not set by the user.
  """

  name: str = ""
  preprocess: str = ""
  size: int = 0
  fit: Literal["", "crop", "resize"] = ""
  embedding_size: int = 0
  dtype: Literal["float32", "bfloat16"] = "float32"
  remat: Literal["none", "blocks", "products"] = "none"
  dropout: float = 0.0
  init_from: str = ""
  norm_groups: int = 1
  freeze_norm: bool = False
  options: Mapping[str, Any] = field(default_factory=dict)
  convention: Preprocess | None = None

  def __post_init__(self) -> None:
    object.__setattr__(self, "name", full_name(self.name))  # so that the run and its model record the network's own name
    if self.freeze_norm and not self.init_from:
      raise ValueError(
        "model.freeze_norm needs model.init_from: the batch norms of a new network have no statistics to keep"
      )
    if isinstance(self.remat, bool):
      object.__setattr__(self, "remat", "blocks" if self.remat else "none")
    for name, valid in (("remat", REMAT), ("fit", ("", *FITS)), ("dtype", ("float32", "bfloat16")), ("preprocess", ("", *PREPROCESS))):
      if getattr(self, name) not in valid:
        names = [text or "'' for the network's own" for text in valid]
        raise ValueError(f"model.{name} is {getattr(self, name)!r}, should be one of {', '.join(names)}")
    for name in ("size", "embedding_size"):
      check_range(self, name, 0, 2**16, what="0 for the network's own")
    check_range(self, "norm_groups", 1, what="parts of the batch with statistics of their own")
    check_range(self, "dropout", 0.0, 1.0, open_high=True, what="share of the features dropped")


def make_model(config: ModelConfig, template: str | None = None) -> tuple[nn.Module, dict[str, Any], Preprocess]:
  """Resolves a config.

  Args:
    config: the config.
    template: alignment template of the images; None keeps the convention's. An unknown one ("", "none" or "unknown") does not
      change the one taken from `init_from`.
  Returns:
    The network, all options passed to `create`, and its input convention.
  Raises:
    ValueError: unknown network, option or convention; the template of the images differs from that of `init_from`.
  """
  network = config.name or DEFAULT_NETWORK
  options: dict[str, Any] = dict(config.options)
  if config.dtype != "float32" or "dtype" in model_options(network):
    options["dtype"] = config.dtype
  if config.embedding_size:
    options["embedding_size"] = config.embedding_size
  if config.remat == "blocks":
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
        f" {template!r}: align them again, or initialise from another model"
      )
  name = config.preprocess or own.name
  kept = own if name == own.name else get_preprocess(name, size=own.size, fit=own.fit)
  return module, options, changed(kept, size=config.size, template=template, fit=config.fit)


__all__ = ["DEFAULT_NETWORK", "ModelConfig", "make_model"]
