"""The names that an override may give where a config stands for one of several kinds."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from jaxface.heads.classification import Classification
from jaxface.losses.center import CenterLoss
from jaxface.losses.joint_signal import VerificationSignal
from jaxface.losses.margins import (
  ArcFace,
  CombinedMargin,
  CosFace,
  ModifiedSoftmax,
  NormSoftmax,
  Softmax,
  SphereFaceR,
  SubcenterArcFace,
)
from jaxface.losses.margins_adaptive import AdaFace, CurricularFace, ElasticFace, MagFace
from jaxface.losses.margins_asoftmax import ASoftmax
from jaxface.losses.margins_filter import Filtered
from jaxface.losses.pair_forms import (
  BinomialDeviance,
  Contrastive,
  ContrastiveCosine,
  CosineHinge,
  Hinge,
  Histogram,
  SiameseLogistic,
  SiameseRegression,
)
from jaxface.losses.pair_loss import PairLoss
from jaxface.losses.regularisers import MarginalLoss, RangeLoss
from jaxface.losses.triplet_term import TripletLoss

TERMS: dict[str, type] = {
  "classification": Classification,
  "center": CenterLoss,
  "pairs": PairLoss,
  "verification": VerificationSignal,
  "triplet": TripletLoss,
  "range": RangeLoss,
  "marginal": MarginalLoss,
}
MARGINS: dict[str, type] = {
  "softmax": Softmax,
  "modifiedsoftmax": ModifiedSoftmax,
  "normsoftmax": NormSoftmax,
  "asoftmax": ASoftmax,
  "spherefacer": SphereFaceR,
  "cosface": CosFace,
  "arcface": ArcFace,
  "subcenter": SubcenterArcFace,
  "combined": CombinedMargin,
  "adaface": AdaFace,
  "magface": MagFace,
  "curricularface": CurricularFace,
  "elasticface": ElasticFace,
  "filtered": Filtered,
}
FORMS: dict[str, type] = {
  "contrastive": Contrastive,
  "hinge": Hinge,
  "cosinehinge": CosineHinge,
  "contrastivecosine": ContrastiveCosine,
  "binomialdeviance": BinomialDeviance,
  "histogram": Histogram,
  "siameseregression": SiameseRegression,
  "siameselogistic": SiameseLogistic,
}

# By the name of the field: `--terms.0.margin cosface`, `--terms.1 center`, `--terms.1.form hinge`.
CHOICES = {"terms": TERMS, "margin": MARGINS, "form": FORMS}


def term_names(terms: Iterable[Any]) -> list[str]:
  """What each term is called in the log: its name in `TERMS`, or its class; numbered where two would share one.

  >>> term_names([Classification(), CenterLoss(), CenterLoss(alpha=0.1)])
  ['classification', 'center0', 'center1']
  """
  known = {kind: name for name, kind in TERMS.items()}
  names = [known.get(type(term), type(term).__name__.lower()) for term in terms]
  return [
    name if names.count(name) == 1 else f"{name}{names[:index].count(name)}" for index, name in enumerate(names)
  ]


def kinds(config: Any, prefix: str = "") -> dict[str, str]:
  """The class of every config inside of `config` that `CHOICES` has kinds for, by its dotted name."""
  found: dict[str, str] = {}
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    items = value if isinstance(value, tuple) else (value,)
    for index, item in enumerate(items):
      if not dataclasses.is_dataclass(item):
        continue
      name = f"{prefix}{field.name}" + (f".{index}" if isinstance(value, tuple) else "")
      if field.name in CHOICES:
        found[name] = type(item).__name__
      found |= kinds(item, f"{name}.")
  return found


__all__ = ["CHOICES", "FORMS", "MARGINS", "TERMS", "kinds", "term_names"]
