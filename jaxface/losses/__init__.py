"""Losses of face embeddings: pure functions on arrays, margins for a softmax over classes, and terms of an objective.

Functions take arrays and give the loss of each row, pair or triplet:
  losses.triplet_loss(embedding_bd, label_b), losses.center_loss(embedding_bd, label_b, center_cd), ...
Margins (`ArcFace`, ...) are used in a head, which owns the class centres:
  jaxface.heads.margin_softmax(embedding_bd, label_b, center_cd, margin=losses.ArcFace())
Terms (`TripletLoss`, `CenterLoss`, ...) are summed by an experiment; see `Term`. docs/losses.md lists all of them.
"""

from typing import TYPE_CHECKING, Any

from jaxface.losses.center import CenterLoss, center_loss, move_centers
from jaxface.losses.contract import check_margin, check_term
from jaxface.losses.detection import BoxOffsets, FacePoints, FaceScore, PartScores
from jaxface.losses.distances import chi2, cosine, l1, l2, squared_l2
from jaxface.losses.histogram import histogram as histogram_loss
from jaxface.losses.joint import Geometry, Margin, Prep
from jaxface.losses.joint_signal import VerificationSignal
from jaxface.losses.landmarks import LandmarkLoss, smooth_l1, wing
from jaxface.losses.logits import LogitLoss
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
from jaxface.losses.metrics import Max, Mean, Min, Sum
from jaxface.losses.mining import easy, hard, semi_hard
from jaxface.losses.own_part import WrongPart
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
from jaxface.losses.pairs import (
  binomial_deviance,
  contrastive,
  contrastive_cosine,
  cosine_hinge,
  hinge,
  pair_mean,
  pair_weights,
  squared_hinge,
)
from jaxface.losses.regularisers import MarginalLoss, RangeLoss, center_repulsion, marginal_loss, range_loss
from jaxface.losses.siamese import siamese_logistic, siamese_regression
from jaxface.losses.term import Term
from jaxface.losses.triplet_term import TripletLoss
from jaxface.losses.triplets import triplet_loss

__all__ = [
  "ASoftmax", "AdaFace", "ArcFace", "BinomialDeviance", "BoxOffsets", "CenterLoss", "CombinedMargin", "Contrastive", "ContrastiveCosine",
  "CosFace", "CosineHinge", "CurricularFace", "ElasticFace", "FacePoints", "FaceScore", "Filtered", "Geometry", "Hinge", "Histogram", "LandmarkLoss",
  "LogitLoss", "MagFace", "Margin", "MarginalLoss", "Max", "Mean", "Min", "ModifiedSoftmax", "NormSoftmax", "PairLoss", "PartScores", "Prep",
  "RangeLoss", "SiameseLogistic", "SiameseRegression", "Softmax", "SphereFaceR", "SubcenterArcFace", "Sum", "Term",
  "TripletLoss", "VerificationSignal", "WrongPart", "binomial_deviance", "center_loss", "center_repulsion", "check_margin",
  "check_term", "chi2", "contrastive", "contrastive_cosine", "cosine", "cosine_hinge", "easy", "hard", "hinge",
  "histogram_loss", "l1", "l2", "marginal_loss", "move_centers", "pair_mean", "pair_weights", "range_loss", "semi_hard",
  "siamese_logistic", "siamese_regression", "smooth_l1", "squared_hinge", "squared_l2", "triplet_loss", "wing",
]

# What a paper or another library calls a loss, in lower case without underscores, and its name here.
_OTHER_NAMES = {
  "sphereface": "ASoftmax", "amsoftmax": "CosFace", "lmcl": "CosFace", "triplet": "TripletLoss", "contrastiveloss": "Contrastive",
  "center": "CenterLoss", "centre": "CenterLoss", "centreloss": "CenterLoss", "crossentropy": "Softmax", "verification": "VerificationSignal",
}

if not TYPE_CHECKING:  # a type checker reports unknown names itself

  def __getattr__(name: str) -> Any:
    """Raises an error that names the nearest losses."""
    import difflib

    known = _OTHER_NAMES.get(name.lower().replace("_", ""))
    near = [known] if known else difflib.get_close_matches(name, __all__, n=3)
    hint = f". Did you mean {' or '.join(near)}?" if near and not name.startswith("_") else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}", name=name)
