"""Settings for training each network in about a minute on two cores, used by docs/sweep_models.py.

Faces are scaled to `size` pixels and channels reduced by `width` where necessary on two cores. Networks with batch norm train
with SGD; those without it, whose activations change scale from layer to layer, with AdamW, which is independent of the scale.
"""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jaxface.training.optimizer import OptimizerConfig

SGD = OptimizerConfig(name="sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.0, clip_norm=5.0)
SLOW_SGD = replace(SGD, learning_rate=0.05)
ADAM = OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=0.0, clip_norm=5.0)
# Networks with plain rectifiers start with nearly equal embeddings; Adam should soon forget the gradients of that phase.
PLAIN = replace(ADAM, learning_rate=5e-4, b2=0.95)


@dataclass(frozen=True)
class Setting:
  """One run.

  Attributes:
    size: side length of the image in pixels; 0 uses the height and width of the network's convention.
    options: options of the network.
    optimizer: optimizer with learning rate; without weight decay, so that a changed weight had a gradient.
    steps: number of steps of `batch_size` images.
    batch_size: images.
    init_from: network, trained before in the same sweep, whose variables initialise this one.
    note: remark on the settings.
  """

  size: int = 0
  options: Mapping[str, Any] = field(default_factory=dict)
  optimizer: OptimizerConfig = SGD
  steps: int = 150
  batch_size: int = 64
  init_from: str = ""
  note: str = ""


# By shell pattern of the name; the first match applies.
SETTINGS: dict[str, Setting] = {
  "smallresnet": Setting(64, steps=240),
  "projected": Setting(64, note="frozen random network, only the projection is trained"),
  "iresnet?00": Setting(64, {"width": 0.25, "embedding_size": 128}, steps=80),
  "iresnet*": Setting(64, {"width": 0.25, "embedding_size": 128}, steps=240),
  "mobilefacenet*": Setting(64, {"width": 0.5}, steps=240),
  "deepid_ensemble": Setting(
    0, {"regions": ["face", "middle", "nose", "left_eye"], "scales": [1.0]}, replace(PLAIN, learning_rate=2e-3), steps=300,
    note="eight of its sixty networks",
  ),
  "deepid2_ensemble": Setting(
    0, {"patches": ["row0_column1_100_rgb", "row2_column2_156_rgb", "row2_column2_100_grey", "row4_column2_100_grey"]},
    replace(PLAIN, learning_rate=1e-3), steps=240, note="four of its two hundred networks",
  ),
  "deepid*": Setting(0, {}, replace(PLAIN, learning_rate=1e-3), steps=240),
  "deepface": Setting(80, {"init": "he", "width": 0.5, "embedding_size": 256, "dropout": 0.0}, PLAIN, steps=600),
  "vggface_a": Setting(48, {"width": 0.25, "embedding_size": 256, "dropout": 0.0}, PLAIN, steps=240),
  "vggface_?": Setting(
    48, {"width": 0.25, "embedding_size": 256, "dropout": 0.0}, PLAIN, init_from="vggface_a", note="initialised from the trained A",
  ),
  "lightcnn29*": Setting(48, {"width": 0.5, "dropout": 0.0}, ADAM, steps=300),
  "lightcnn9": Setting(64, {"width": 0.5, "dropout": 0.0}, ADAM),
  "sphereface20": Setting(64, {"width": 0.25, "embedding_size": 128}, ADAM, steps=240),
  "sphereface[36]*": Setting(64, {"width": 0.25, "embedding_size": 128}, ADAM, steps=100),
  "sphereface4": Setting(64, {"width": 0.25, "embedding_size": 128}, ADAM),
  "facenet_nn1": Setting(64, {"width": 0.25, "norm": True}, SLOW_SGD),
  "facenet_nn?": Setting(48, {"width": 0.5, "norm": True}, SLOW_SGD),
  "facenet_nns?": Setting(48, {"norm": True}, SLOW_SGD),
  "vit_?": Setting(45, {"width": 0.25, "embedding_size": 128}, ADAM, steps=80),
  "vit": Setting(45, {"width": 0.25, "embedding_size": 128}, ADAM),
  "*": Setting(64),
}


def setting(name: str) -> Setting:
  """The setting of a network."""
  return next(found for pattern, found in SETTINGS.items() if fnmatch.fnmatch(name, pattern))
