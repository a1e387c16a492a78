"""Which network, and how it computes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelConfig:
  """A registered network with its options.

  Attributes:
    name: a name that `jaxface.models.registry.list_models()` lists.
    preprocess: name of the input convention, such as "unit" or "imagenet".
    size: side of the square input in pixels (larger images are centre-cropped); 0 takes the network's own.
    embedding_size: length of the embedding; 0 takes the network's own.
    dtype: "float32" or "bfloat16" for the computation; parameters stay float32.
    remat: recompute activations in the backward pass: less memory, about a third more time.
    dropout: share of features dropped before the last layer, where the network has such a place.
    init_from: model directory, or workdir of a run, whose variables the network begins with; "" begins afresh. For
      `projected` they are those of the frozen network inside.
    options: anything else that the network's constructor takes.
  """

  name: str = "iresnet18"
  preprocess: str = "unit"
  size: int = 0
  embedding_size: int = 0
  dtype: str = "float32"
  remat: bool = False
  dropout: float = 0.0
  init_from: str = ""
  options: Mapping[str, Any] = field(default_factory=dict)
