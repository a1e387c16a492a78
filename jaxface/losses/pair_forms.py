"""The pair losses as forms of `PairLoss`: constants, learned parameters, and the distance that each uses."""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import jax.numpy as jnp
from jax import Array

from jaxface.losses import pairs
from jaxface.losses.distances import chi2, cosine, l1, l2
from jaxface.losses.histogram import histogram
from jaxface.losses.ranges import check_choice, check_range
from jaxface.losses.siamese import siamese_logistic, siamese_regression
from jaxface.losses.unit import unit_rows

Params = dict[str, Array]


class PairForm(Protocol):
  """A pair loss, as `PairLoss` uses it."""

  def init(self, embedding_size: int) -> Params:
    """Learned parameters; {} if there are none."""

  def __call__(self, params: Params, embedding_bd: Array, same_bb: Array, different_bb: Array) -> tuple[Array, Array]:
    """Cost of each pair and its distance, both [B, B].

    Args:
      params: from `init`.
      embedding_bd: [B, D] float, finite.
      same_bb: [B, B] weights of the same pairs.
      different_bb: [B, B] weights of the different pairs.
    """


class _Fixed:
  """Base of forms without learned parameters."""

  def init(self, embedding_size: int) -> Params:
    return {}


def _rows(embedding_bd: Array, unit: bool) -> Array:
  return unit_rows(embedding_bd)[0] if unit else embedding_bd


@dataclass(frozen=True)
class Contrastive(_Fixed):
  """`pairs.contrastive`: Hadsell's loss, DeepID2's verification signal in its L2 and L1 forms.

  Attributes:
    margin: distance beyond which a different pair has zero loss, on the scale of the embeddings.
    distance: `l2` or `l1`.
    unit: whether embeddings are scaled to length one first; the papers do not scale them.
  """

  margin: float = 1.0
  distance: Literal["l2", "l1"] = "l2"
  unit: bool = False

  def __post_init__(self) -> None:
    check_range(self, "margin", 0.0, math.inf, open_low=True, open_high=True, what="a distance")
    check_choice(self, "distance", ("l2", "l1"))

  def distances(self, embedding_bd: Array) -> Array:
    """[B, B] of the chosen kind."""
    return {"l2": l2, "l1": l1}[self.distance](_rows(embedding_bd, self.unit))

  def __call__(self, params: Params, embedding_bd: Array, same_bb: Array, different_bb: Array) -> tuple[Array, Array]:
    distance_bb = self.distances(embedding_bd)
    return pairs.contrastive(distance_bb, same_bb > 0.0, margin=self.margin), distance_bb


@dataclass(frozen=True)
class Hinge(_Fixed):
  """`pairs.hinge` or `pairs.squared_hinge` of L2 distances.

  Attributes:
    pos_margin: distance within which a same pair has zero loss.
    neg_margin: distance beyond which a different pair has zero loss.
    squared: whether to square the hinge.
    unit: whether embeddings are scaled to length one first.
  """

  pos_margin: float = 0.0
  neg_margin: float = 1.0
  squared: bool = False
  unit: bool = True

  def __post_init__(self) -> None:
    check_range(self, "pos_margin", 0.0, math.inf, open_high=True, what="a distance")
    check_range(self, "neg_margin", 0.0, math.inf, open_low=True, open_high=True, what="a distance")

  def __call__(self, params: Params, embedding_bd: Array, same_bb: Array, different_bb: Array) -> tuple[Array, Array]:
    distance_bb = l2(_rows(embedding_bd, self.unit))
    cost = pairs.squared_hinge if self.squared else pairs.hinge
    return cost(distance_bb, same_bb > 0.0, pos_margin=self.pos_margin, neg_margin=self.neg_margin), distance_bb


@dataclass(frozen=True)
class CosineHinge(_Fixed):
  """`pairs.cosine_hinge`.

  Attributes:
    margin: cosine below which a different pair has zero loss.
  """

  margin: float = 0.0

  def __post_init__(self) -> None:
    check_range(self, "margin", -1.0, 1.0, what="a cosine")

  def __call__(self, params: Params, embedding_bd: Array, same_bb: Array, different_bb: Array) -> tuple[Array, Array]:
    cosine_bb = cosine(embedding_bd)
    return pairs.cosine_hinge(cosine_bb, same_bb > 0.0, margin=self.margin), 1.0 - cosine_bb


@dataclass(frozen=True)
class ContrastiveCosine:
  """`pairs.contrastive_cosine` with two learned scalars.

  Attributes:
    scale: initial factor of the cosine.
    bias: initial constant added to the scaled cosine; −bias/scale is the decision threshold.
  """

  scale: float = 10.0
  bias: float = -5.0

  def __post_init__(self) -> None:
    check_range(self, "scale", what="factor of the cosine")
    check_range(self, "bias", what="constant added to the scaled cosine")

  def init(self, embedding_size: int) -> Params:
    return {"scale": jnp.float32(self.scale), "bias": jnp.float32(self.bias)}

  def __call__(self, params: Params, embedding_bd: Array, same_bb: Array, different_bb: Array) -> tuple[Array, Array]:
    cosine_bb = cosine(embedding_bd)
    return pairs.contrastive_cosine(cosine_bb, same_bb > 0.0, **params), 1.0 - cosine_bb


@dataclass(frozen=True)
class BinomialDeviance(_Fixed):
  """`pairs.binomial_deviance`.

  Attributes:
    alpha: steepness.
    beta: decision threshold of the cosine.
    cost: relative steepness for different pairs.
  """

  alpha: float = 2.0
  beta: float = 0.5
  cost: float = 25.0

  def __post_init__(self) -> None:
    check_range(self, "alpha", 0.0, math.inf, open_low=True, open_high=True, what="steepness")
    check_range(self, "beta", -1.0, 1.0, what="a cosine")
    check_range(self, "cost", 0.0, math.inf, open_low=True, open_high=True, what="factor of different pairs")

  def __call__(self, params: Params, embedding_bd: Array, same_bb: Array, different_bb: Array) -> tuple[Array, Array]:
    cosine_bb, same = cosine(embedding_bd), same_bb > 0.0
    cost_bb = pairs.binomial_deviance(cosine_bb, same, alpha=self.alpha, beta=self.beta, cost=self.cost)
    return cost_bb, 1.0 - cosine_bb


@dataclass(frozen=True)
class Histogram(_Fixed):
  """`histogram.histogram`; the only form with a fixed average: over all pairs, by kind.

  Attributes:
    nodes: number of nodes of the histograms, both ends included.
  """

  nodes: int = 151

  def __post_init__(self) -> None:
    check_range(self, "nodes", 2, math.inf, open_high=True, what="nodes of [-1, 1], both ends included")

  def __call__(self, params: Params, embedding_bd: Array, same_bb: Array, different_bb: Array) -> tuple[Array, Array]:
    cosine_bb = cosine(embedding_bd)
    return histogram(cosine_bb, same_bb, different_bb, nodes=self.nodes), 1.0 - cosine_bb


@dataclass(frozen=True)
class SiameseRegression(_Fixed):
  """`siamese.siamese_regression`.

  Attributes:
    different_target: target cosine of different pairs.
  """

  different_target: float = 0.0

  def __post_init__(self) -> None:
    check_range(self, "different_target", -1.0, 1.0, open_high=True, what="a cosine")

  def __call__(self, params: Params, embedding_bd: Array, same_bb: Array, different_bb: Array) -> tuple[Array, Array]:
    cosine_bb = cosine(embedding_bd)
    cost_bb = siamese_regression(cosine_bb, same_bb > 0.0, different_target=self.different_target)
    return cost_bb, 1.0 - cosine_bb


@dataclass(frozen=True)
class SiameseLogistic:
  """`siamese.siamese_logistic`: one learned weight per feature, and a learned decision threshold.

  The weights start at 1/√D, which makes distances of unit embeddings about 1, and the threshold starts at 1.

  Attributes:
    distance: `l1`, or `chi2` for features that are not negative.
    unit: whether embeddings are scaled to length one first.
  """

  distance: Literal["l1", "chi2"] = "l1"
  unit: bool = True

  def __post_init__(self) -> None:
    check_choice(self, "distance", ("l1", "chi2"))

  def init(self, embedding_size: int) -> Params:
    first_d = jnp.full(embedding_size, 1.0 / math.sqrt(embedding_size), jnp.float32)
    return {"weight_d": first_d, "bias": jnp.float32(1.0)}

  def __call__(self, params: Params, embedding_bd: Array, same_bb: Array, different_bb: Array) -> tuple[Array, Array]:
    rows_bd = _rows(embedding_bd, self.unit)
    distance_bb = {"l1": l1, "chi2": chi2}[self.distance](rows_bd, weight_d=params["weight_d"])
    return siamese_logistic(distance_bb, same_bb > 0.0, bias=params["bias"]), distance_bb


__all__ = [
  "BinomialDeviance", "Contrastive", "ContrastiveCosine", "CosineHinge", "Hinge", "Histogram", "PairForm",
  "SiameseLogistic", "SiameseRegression",
]
