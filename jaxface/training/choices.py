"""Names for overrides of fields whose config is one of several classes."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from jaxface import losses
from jaxface.heads.classification import Classification
from jaxface.heads.per_member import PerMember

TERMS: dict[str, type] = {
  "classification": Classification,
  "center": losses.CenterLoss,
  "pairs": losses.PairLoss,
  "verification": losses.VerificationSignal,
  "triplet": losses.TripletLoss,
  "range": losses.RangeLoss,
  "marginal": losses.MarginalLoss,
  "permember": PerMember,
}
MARGINS: dict[str, type] = {
  "softmax": losses.Softmax,
  "modifiedsoftmax": losses.ModifiedSoftmax,
  "normsoftmax": losses.NormSoftmax,
  "asoftmax": losses.ASoftmax,
  "spherefacer": losses.SphereFaceR,
  "cosface": losses.CosFace,
  "arcface": losses.ArcFace,
  "subcenter": losses.SubcenterArcFace,
  "combined": losses.CombinedMargin,
  "adaface": losses.AdaFace,
  "magface": losses.MagFace,
  "curricularface": losses.CurricularFace,
  "elasticface": losses.ElasticFace,
  "filtered": losses.Filtered,
}
FORMS: dict[str, type] = {
  "contrastive": losses.Contrastive,
  "hinge": losses.Hinge,
  "cosinehinge": losses.CosineHinge,
  "contrastivecosine": losses.ContrastiveCosine,
  "binomialdeviance": losses.BinomialDeviance,
  "histogram": losses.Histogram,
  "siameseregression": losses.SiameseRegression,
  "siameselogistic": losses.SiameseLogistic,
}

# By field name: `--terms.0.margin cosface`, `--terms.1 center`, `--terms.1.form hinge`; inside an ensemble's
# `--terms.0 permember` also `--terms.0.term center`. SphereFace's margin also has the paper's name.
CHOICES = {"terms": TERMS, "term": TERMS, "margin": {**MARGINS, "sphereface": losses.ASoftmax}, "form": FORMS}
# Fields whose config is one of several classes; user-defined augmentations have no names.
SEVERAL = (*CHOICES, "own")


def term_names(terms: Iterable[Any]) -> list[str]:
  """Name of each term in the log: its name in `TERMS`, or its class; numbered if several are the same.

  >>> term_names([Classification(), losses.CenterLoss(), losses.CenterLoss(alpha=0.1)])
  ['classification', 'center0', 'center1']
  """
  known = {kind: name for name, kind in TERMS.items()}
  names = [known.get(type(term), type(term).__name__.lower()) for term in terms]
  return [
    name if names.count(name) == 1 else f"{name}{names[:index].count(name)}" for index, name in enumerate(names)
  ]


def kinds(config: Any, prefix: str = "") -> dict[str, str]:
  """The class of every config inside `config` that is one of several, by dotted name."""
  found: dict[str, str] = {}
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    items = value if isinstance(value, tuple) else (value,)
    for index, item in enumerate(items):
      if not dataclasses.is_dataclass(item):
        continue
      name = f"{prefix}{field.name}" + (f".{index}" if isinstance(value, tuple) else "")
      if field.name in SEVERAL:
        found[name] = type(item).__name__
      found |= kinds(item, f"{name}.")
  return found


__all__ = ["CHOICES", "FORMS", "MARGINS", "TERMS", "kinds", "term_names"]
