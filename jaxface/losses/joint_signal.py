"""DeepID2's verification signal, whose margin is fitted to the verification errors of recent pairs.

A gradient would drive the margin to 0. The paper instead sets it, after a fixed number of pairs, to the distance threshold with
the fewest verification errors on them. Here the pairs are accumulated in two histograms of distances over the global batch, so
that a step needs the memory of its own pairs only.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax.numpy as jnp
from jax import Array, lax

from jaxface.losses.metrics import Mean
from jaxface.losses.pair_forms import Contrastive
from jaxface.losses.pair_loss import KINDS, live_rows, pair_metrics, taken
from jaxface.losses.pairs import AVERAGES, contrastive, pair_mean
from jaxface.losses.ranges import check_choice, check_range
from jaxface.losses.unit import at_least_float32

# Logarithmic bins of 0.9 % each: the scale of features that are not normalised is unknown beforehand.
BINS = 2048
_LOW, _HIGH = math.log(1e-4), math.log(1e4)


def distance_histogram(distance: Array, weight: Array) -> Array:
  """Weight of the distances in each of `BINS` bins from 1e-4 to 1e4; values outside are counted in the end bins.

  Args:
    distance: any shape, ≥ 0.
    weight: same shape.
  Returns:
    [BINS].
  """
  place = (jnp.log(jnp.maximum(distance, 1e-30)) - _LOW) * (BINS / (_HIGH - _LOW))
  index = jnp.clip(jnp.floor(place), 0, BINS - 1).astype(jnp.int32)
  return jnp.zeros(BINS, weight.dtype).at[index].add(weight)


def best_threshold(same_n: Array, different_n: Array, *, by_kind: bool = True) -> tuple[Array, Array]:
  """The distance threshold for "same" with the fewest errors; the middle one if several are best.

  Args:
    same_n: [BINS] from `distance_histogram` of the same pairs.
    different_n: [BINS] of the different pairs.
    by_kind: the error is the mean of the error rates of both kinds; otherwise the rate over all pairs.
  Returns:
    The distance and the error rate there, scalars. Meaningful only if both kinds have pairs.
  """
  start = jnp.zeros(1, same_n.dtype)
  same_total, different_total = same_n.sum(), different_n.sum()
  missed = same_total - jnp.concatenate([start, jnp.cumsum(same_n)])
  passed = jnp.concatenate([start, jnp.cumsum(different_n)])
  if by_kind:
    error = 0.5 * missed / jnp.maximum(same_total, 1.0) + 0.5 * passed / jnp.maximum(different_total, 1.0)
  else:
    error = (missed + passed) / jnp.maximum(same_total + different_total, 1.0)
  first = jnp.argmin(error)
  worse = (error > error[first]) & (jnp.arange(BINS + 1) > first)
  last = jnp.where(worse.any(), jnp.argmax(worse) - 1, BINS)
  middle = 0.5 * (first + last).astype(same_n.dtype)
  return jnp.exp(_LOW + middle * ((_HIGH - _LOW) / BINS)), error[first]


@dataclass(frozen=True)
class VerificationSignal:
  """`pairs.contrastive` over all pairs of the global batch, with the margin re-fitted from verification errors.

  Together with a `Classification` this is the joint signal of DeepID2. Its batches had equal numbers of same and different pairs,
  which `by_kind` emulates.

  Attributes:
    margin: initial value, used until enough pairs were seen.
    pairs: number of pairs after which the margin is fitted again, to the pairs since the last fit. All pairs of a batch count.
    distance: `l2` or `l1`.
    unit: whether embeddings are scaled to length one first; the paper does not scale them.
    kinds: `both`, or `same` or `different` pairs alone (the paper's L2+ and L2−); the margin is fitted to both.
    average: over `all` pairs, or over the `active` ones, those with a non-zero loss.
    by_kind: same and different pairs have equal total weight, in the loss and in the verification error.
    weight: λ, weight of this term in the objective; the objective multiplies by it, the term does not.
  Source: Sun et al., "Deep Learning Face Representation by Joint Identification-Verification", 2014, §2.
  """

  scope: ClassVar[str] = "pairs"

  margin: float = 1.0
  pairs: int = 200_000
  distance: Literal["l2", "l1"] = "l2"
  unit: bool = False
  kinds: Literal["both", "same", "different"] = "both"
  average: Literal["all", "active"] = "all"
  by_kind: bool = True
  weight: float = 0.05

  def __post_init__(self) -> None:
    check_range(self, "margin", 0.0, math.inf, open_low=True, open_high=True, what="a distance")
    check_range(self, "pairs", 1, math.inf, open_high=True, what="pairs between two fits of the margin")
    check_choice(self, "distance", ("l2", "l1"))
    check_choice(self, "kinds", KINDS)
    check_choice(self, "average", AVERAGES)
    check_range(self, "weight", 0.0, what="factor of this term in the objective")

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[dict, dict[str, Array]]:
    """No parameters; the margin and the two histograms of distances."""
    empty_n = jnp.zeros(BINS, jnp.float32)
    return {}, {"margin": jnp.float32(self.margin), "same_n": empty_n, "different_n": empty_n}

  def __call__(
    self, params: dict, inputs: dict[str, Array], *, state: dict[str, Array], step: Array | int, key: Array | None,
  ) -> tuple[Array, dict[str, Array], dict[str, Mean | Array]]:
    """Contribution of each row to the mean over pairs, the state updated with this batch, and metrics.

    Args:
      params: {}.
      inputs: embedding_bd [B, D] float, label_b [B] int, weight_b [B] float (0 for padding).
      state: from `init` or the previous step.
      step: not used.
      key: not used.
    Returns:
      loss_b [B], of which sum(loss_b) / sum(weight_b) is the mean over pairs at the margin of `state`; the new state;
      metrics of `pair_metrics`, margin, and verification_error (of this batch, with the margin as threshold).
    Raises:
      TypeError: labels are not integers.
    """
    embedding_bd, same_bb, different_bb = live_rows(inputs)
    weight_b = at_least_float32(inputs["weight_b"])
    distance_bb = Contrastive(distance=self.distance, unit=self.unit).distances(embedding_bd)
    cost_bb = contrastive(distance_bb, same_bb > 0.0, margin=state["margin"])
    kinds = taken(self.kinds, same_bb, different_bb)
    loss_b = pair_mean(cost_bb, *kinds, average=self.average, by_kind=self.by_kind) * weight_b.sum()
    metrics = pair_metrics(embedding_bd, weight_b, distance_bb, cost_bb, (same_bb, different_bb), kinds)
    distance_bb = lax.stop_gradient(distance_bb)
    wrong_bb = (distance_bb < state["margin"]) != (same_bb > 0.0)
    error = pair_mean(wrong_bb, same_bb, different_bb, by_kind=self.by_kind).sum() * (0.5 if self.by_kind else 1.0)
    metrics |= {"margin": state["margin"], "verification_error": error}
    return loss_b, self._seen(state, distance_bb, same_bb, different_bb), metrics

  def _seen(self, state: dict[str, Array], distance_bb: Array, same_bb: Array, different_bb: Array) -> dict[str, Array]:
    # Half: the matrix contains every pair twice.
    same_n = state["same_n"] + 0.5 * distance_histogram(distance_bb, same_bb).astype(jnp.float32)
    different_n = state["different_n"] + 0.5 * distance_histogram(distance_bb, different_bb).astype(jnp.float32)
    same, different = same_n.sum(), different_n.sum()
    due = (same + different >= self.pairs) & (same > 0.0) & (different > 0.0)
    fitted, _ = best_threshold(same_n, different_n, by_kind=self.by_kind)
    return {
      "margin": jnp.where(due, fitted, state["margin"]),
      "same_n": jnp.where(due, 0.0, same_n),
      "different_n": jnp.where(due, 0.0, different_n),
    }


__all__ = ["BINS", "VerificationSignal", "best_threshold", "distance_histogram"]
