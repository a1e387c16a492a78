"""What is measured on an accelerator, and the tiny form of it for tests on a CPU."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.local_layers import LAYERS, Layer
from benchmarks.nets import Net

# The peer in PyTorch has no masked tokens and no stochastic depth.
_VIT = {"masked": 0.0, "stochastic_depth": 0.0}


@dataclass(frozen=True)
class Sizes:
  """Sizes of all measurements.

  Attributes:
    nets: networks with the batch size that is measured first, in the order of importance.
    batches: further batch sizes.
    identities: classes of their heads.
    classes: numbers of classes for which the head alone is measured.
    head_batch, head_size: rows and numbers of the embeddings of that.
    most_bytes: memory that the largest head may take, instead of that of the device; 0 for the device's.
    triplets: batch sizes of the mining.
    local: locally connected layers.
    check_side, check_batch: images of the correctness pass.
    product: length of the square matrices of the measured peak.
    round_seconds: how long a timed call lasts at least.
    rounds: timed calls of each side.
  """

  nets: Mapping[str, Net]
  batches: Mapping[str, tuple[int, ...]]
  identities: int
  classes: tuple[int, ...]
  head_batch: int
  head_size: int
  most_bytes: int
  triplets: tuple[int, ...]
  local: Mapping[str, Layer]
  check_side: int
  check_batch: int
  product: int
  round_seconds: float
  rounds: int


FULL = Sizes(
  nets={
    "iresnet50": Net("iresnet50", {}, 112, 256),
    "iresnet100": Net("iresnet100", {}, 112, 256),
    "vit_b": Net("vit_b", _VIT, 112, 256),
    "iresnet18": Net("iresnet18", {}, 112, 512),
    "mobilefacenet": Net("mobilefacenet", {}, 112, 512),
  },
  batches={
    "iresnet50": (512, 128, 1024), "iresnet100": (128, 512), "vit_b": (128, 512), "iresnet18": (256, 1024), "mobilefacenet": (256, 1024),
  },
  identities=5_000, classes=(100_000, 1_000_000), head_batch=512, head_size=512, most_bytes=0, triplets=(1_800, 4_096),
  local={name: layer._replace(batch=128) for name, layer in LAYERS.items() if layer.block == 1},
  check_side=48, check_batch=16, product=8_192, round_seconds=0.5, rounds=5,
)

TINY = Sizes(
  # The quickest to compile; it has no peer in PyTorch.
  nets={"smallresnet": Net("smallresnet", {"widths": (4,), "units": (1,), "embedding_size": 8}, 8, 4)},
  batches={},
  identities=32, classes=(512,), head_batch=8, head_size=16, most_bytes=1 << 20, triplets=(60,),
  local={"small": Layer(2, (8, 8), 4, 3, 1, 4)},
  check_side=8, check_batch=4, product=256, round_seconds=0.0, rounds=2,
)

__all__ = ["FULL", "TINY", "Sizes"]
