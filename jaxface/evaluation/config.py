"""The verification sets of a run."""

from dataclasses import dataclass
from typing import Literal, get_args

from jaxface.geometry.templates import check_template_name
from jaxface.losses.ranges import check_choice, check_range

# The names of `PROTOCOLS`, which are not loaded here.
ProtocolName = Literal[
  "pairs", "lfw", "lfw-unsupervised", "lfw-restricted", "lfw-unrestricted", "lfw-view1", "ytf",
  "ytf-max", "ytf-pooled", "ytf-random", "ytf-top", "cfp-ff", "cfp-fp", "agedb-30", "calfw", "cplfw", "bin", "ijb-b",
  "ijb-b-1n", "ijb-c", "ijb-c-1n", "megaface-facescrub", "megaface-fgnet", "rfw", "trillion-pairs",
  "closed-set",
]
MIRRORS = ("sum", "concat", "none")
# The names of `jaxface.inference.CROPS`, a higher layer.
CROP_NAMES = ("one", "ten", "thirty")


@dataclass(frozen=True)
class VerificationConfig:
  """One evaluation set: its images, its pairs or the lists of a protocol, and how often it is evaluated.

  Attributes:
    name: name of its figures in logs and reports.
    images: folder of images, one folder per identity; with a protocol other than "pairs", of any depth and read as it is; or
    records: folder of packed records of the same images.
    template: alignment template that `images` follow, "none" for none; "" if unknown.
    protocol: one of `jaxface.evaluation.PROTOCOLS`, such as "lfw", "ijb-c" or "closed-set"; "pairs" is any pair list.
    pairs: pair list, in any form of `jaxface.formats.pairs`; empty samples identity-disjoint pairs from the images. With another
      protocol: its official lists, a file or a folder.
    seed: seed of those pairs; independent of the training seed, so that runs are evaluated on the same pairs.
    every: steps between two verifications; 0 verifies at the end only.
    mirror: use of the embedding of the mirrored image: "sum" adds it, "concat" concatenates it, as DeepID does, "none" omits
      it.
    crops: "one" embeds the face, "ten" and "thirty" the mean over parts of it, see `jaxface.inference.CROPS`.
  """

  name: str = "lfw"
  images: str = ""
  records: str = ""
  template: str = ""
  protocol: ProtocolName = "pairs"
  pairs: str = ""
  seed: int = 0
  every: int = 0
  mirror: Literal["sum", "concat", "none"] = "sum"
  crops: Literal["one", "ten", "thirty"] = "one"

  def __post_init__(self) -> None:
    check_range(self, "seed", 0, what="seed of the pairs")
    check_choice(self, "mirror", MIRRORS)
    check_choice(self, "crops", CROP_NAMES)
    check_choice(self, "protocol", get_args(ProtocolName))
    check_template_name("template", self.template)
    check_range(self, "every", 0, what="steps between two verifications, 0 for the end only")


__all__ = ["CROP_NAMES", "MIRRORS", "ProtocolName", "VerificationConfig"]
