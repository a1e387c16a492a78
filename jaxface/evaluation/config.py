"""What a run is verified on."""

from dataclasses import dataclass
from typing import Literal

from jaxface.geometry.templates import check_template_name
from jaxface.losses.ranges import check_choice, check_range

MIRRORS = ("sum", "concat", "none")


@dataclass(frozen=True)
class VerificationConfig:
  """One verification set: where its images and its pairs are, and how often it is scored.

  Attributes:
    name: what its figures are called in logs and reports.
    images: folder of images, one folder per identity; or
    records: folder of packed records of the same images.
    template: alignment template that `images` follow, "none" for none; "" where it is not known.
    pairs: pair list, in any form of `jaxface.formats.pairs`; empty draws identity-disjoint pairs from the images.
    seed: draws those pairs; it does not follow the seed of the training, so that runs are judged on the same pairs.
    every: steps between two verifications; 0 verifies at the end only.
    mirror: what becomes of the embedding of the mirrored image: "sum" adds it, "concat" sets it beside that of the image,
      as DeepID does, "none" leaves it out.
  """

  name: str = "lfw"
  images: str = ""
  records: str = ""
  template: str = ""
  pairs: str = ""
  seed: int = 0
  every: int = 0
  mirror: Literal["sum", "concat", "none"] = "sum"

  def __post_init__(self) -> None:
    check_range(self, "seed", 0, what="of the pairs")
    check_choice(self, "mirror", MIRRORS)
    check_template_name("template", self.template)
    check_range(self, "every", 0, what="steps between two verifications, 0 for the end only")


__all__ = ["MIRRORS", "VerificationConfig"]
