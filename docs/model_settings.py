"""How the sweep trains each network in about a minute on two cores: one table, read by docs/sweep_models.py.

Faces are scaled to `size` pixels and channels cut by `width` where two cores need it. Networks with batch norm train with SGD;
without it, where the numbers' size changes from layer to layer, AdamW takes the size out of the question.
"""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxface.training.optimizer import OptimizerConfig

SGD = OptimizerConfig(name="sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.0, clip_norm=5.0)
ADAM = OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=0.0, clip_norm=5.0)


@dataclass(frozen=True)
class Setting:
  """One run.

  Attributes:
    size: side of the image in pixels; 0 takes the height and width of the network's convention.
    options: of the network.
    optimizer: with its learning rate; weights do not decay, so that a weight that moved had a gradient.
    steps: of `batch_size` images.
    batch_size: images.
    init_from: the network, trained before in the same sweep, whose variables this one begins with.
    note: what the settings need to be understood.
  """

  size: int = 0
  options: Mapping[str, Any] = field(default_factory=dict)
  optimizer: OptimizerConfig = SGD
  steps: int = 240
  batch_size: int = 64
  init_from: str = ""
  note: str = ""


# By shell pattern of the name; the first that fits holds.
SETTINGS: dict[str, Setting] = {
  "smallresnet": Setting(64),
  "projected": Setting(64, note="a random network stays as it is, only the projection learns"),
  "iresnet*": Setting(56, {"width": 0.25, "embedding_size": 128}),
  "mobilefacenet*": Setting(56, {"width": 0.5}),
  "vggface_*": Setting(64, {"width": 0.25, "embedding_size": 256, "dropout": 0.0}, ADAM),
  "lightcnn*": Setting(64, {"width": 0.5, "dropout": 0.0}, ADAM),
  "sphereface*": Setting(64, {"width": 0.25, "embedding_size": 128}, ADAM),
  "facenet_nn1": Setting(64, {"width": 0.25}, ADAM),
  "facenet_nn?": Setting(64, {"width": 0.5}, ADAM),
  "facenet_nns?": Setting(64, {}, ADAM),
  "vit*": Setting(63, {"width": 0.25, "embedding_size": 128}, ADAM),
  "*": Setting(64),
}


def setting(name: str) -> Setting:
  """The setting of a network."""
  return next(found for pattern, found in SETTINGS.items() if fnmatch.fnmatch(name, pattern))
