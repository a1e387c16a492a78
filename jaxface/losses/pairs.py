"""Pair losses: functions of a distance or cosine for pairs of one identity and of two identities.

Every loss is elementwise in a matrix of distances (`jaxface.losses.distances`), so it applies to all pairs of a batch and to a
list of pairs. `pair_weights` gives the pairs of a batch and `pair_mean` averages their losses:

  same_bb, different_bb = pair_weights(label_b)
  cost_bb = contrastive(l2(embedding_bd), same_bb > 0, margin=1.0)
  loss = pair_mean(cost_bb, same_bb, different_bb).sum()
"""

import chex
import jax
import jax.numpy as jnp
from jax import Array

from jaxface.losses.ranges import check_labels
from jaxface.losses.unit import at_least_float32

AVERAGES = ("all", "active")


def pair_weights(label_b: Array, weight_b: Array | None = None) -> tuple[Array, Array]:
  """The pairs of a batch with one identity, and those with two.

  Args:
    label_b: [B] int, identity of each row.
    weight_b: [B] float ≥ 0, 0 for padding; 1 by default. The weight of a pair is the product.
  Returns:
    Weights of same pairs and of different pairs, two symmetric [B, B]. The diagonal is zero.
  Raises:
    TypeError: labels are not integers.
    AssertionError: ranks or sizes differ.
  """
  check_labels(label_b)
  weight_b = jnp.ones(label_b.shape) if weight_b is None else at_least_float32(weight_b)
  chex.assert_rank(label_b, 1)
  chex.assert_equal_shape([label_b, weight_b])
  others_bb = jnp.where(jnp.eye(len(label_b), dtype=bool), 0.0, weight_b[:, None] * weight_b[None, :])
  same_bb = label_b[:, None] == label_b[None, :]
  return jnp.where(same_bb, others_bb, 0.0), jnp.where(same_bb, 0.0, others_bb)


def pair_mean(
  cost_bb: Array, same_bb: Array, different_bb: Array, *, average: str = "all", by_kind: bool = True
) -> Array:
  """The contribution of each row to the weighted mean of pair costs.

  Args:
    cost_bb: [B, B] float, ≥ 0.
    same_bb: [B, B] weights of the same pairs.
    different_bb: [B, B] weights of the different pairs.
    average: `all` divides by the weight of all pairs, `active` by that of the pairs with a non-zero cost.
    by_kind: the mean over same pairs plus the mean over different pairs, which gives the few same pairs of a batch the
      same total weight as the many different ones; otherwise one mean over both.
  Returns:
    [B]; its sum is the mean, 0 if there is no pair.
  """

  def shares(weight_bb: Array) -> Array:
    counted_bb = jnp.where(cost_bb == 0.0, 0.0, weight_bb) if average == "active" else weight_bb
    total = counted_bb.sum()
    return counted_bb / jnp.where(total > 0.0, total, 1.0)

  share_bb = shares(same_bb) + shares(different_bb) if by_kind else shares(same_bb + different_bb)
  return (share_bb * cost_bb).sum(1)


def contrastive(distance: Array, same: Array, *, margin: float | Array = 1.0) -> Array:
  """The contrastive loss: same ½d², different ½ max(0, margin − d)².

  With the L2 distance this is Hadsell's loss and DeepID2's verification signal, with L1 DeepID2's other form.

  Args:
    distance: any shape, ≥ 0, such as `l2` or `l1` of a batch; features are not necessarily of length one.
    same: bool, same shape, true for pairs of one identity.
    margin: distance beyond which a different pair has zero loss.
  Returns:
    An array of the shape of `distance`, ≥ 0.
  Source: Hadsell et al., "Dimensionality Reduction by Learning an Invariant Mapping", 2006, eq. 4; Sun et al., "Deep
    Learning Face Representation by Joint Identification-Verification", 2014, eq. 3.
  """
  return 0.5 * squared_hinge(distance, same, neg_margin=margin)


def hinge(
  distance: Array, same: Array, *, pos_margin: float | Array = 0.0, neg_margin: float | Array = 1.0
) -> Array:
  """Hinge losses of distances: same max(0, d − pos_margin), different max(0, neg_margin − d).

  pytorch-metric-learning's ContrastiveLoss (unit embeddings; mean over the active pairs of each kind),
  torch.nn.HingeEmbeddingLoss (pos_margin 0), and, with threshold t and margin m, dlib's loss_metric and the margin based
  loss: pos_margin t − m, neg_margin t + m.

  Args:
    distance: any shape, ≥ 0.
    same: bool, same shape.
    pos_margin: distance within which a same pair has zero loss.
    neg_margin: distance beyond which a different pair has zero loss.
  Returns:
    An array of the shape of `distance`, ≥ 0.
  """
  return jax.nn.relu(jnp.where(same, distance - pos_margin, neg_margin - distance))


def squared_hinge(
  distance: Array, same: Array, *, pos_margin: float | Array = 0.0, neg_margin: float | Array = 1.0
) -> Array:
  """`hinge` squared; with pos_margin 0 TensorFlow Addons' ContrastiveLoss, which is twice `contrastive`."""
  return jnp.square(hinge(distance, same, pos_margin=pos_margin, neg_margin=neg_margin))


def cosine_hinge(cosine: Array, same: Array, *, margin: float | Array = 0.0) -> Array:
  """torch.nn.CosineEmbeddingLoss: same 1 − cos, different max(0, cos − margin).

  Args:
    cosine: any shape, in [−1, 1].
    same: bool, same shape.
    margin: cosine below which a different pair has zero loss.
  Returns:
    An array of the shape of `cosine`, ≥ 0.
  """
  return jnp.where(same, 1.0 - cosine, jax.nn.relu(cosine - margin))


def contrastive_cosine(cosine: Array, same: Array, *, scale: float | Array, bias: float | Array) -> Array:
  """DeepID2's cosine form: ½(y − σ(scale·cos + bias))², y = 1 for same pairs and 0 for different ones.

  Args:
    cosine: any shape, in [−1, 1].
    same: bool, same shape.
    scale: learned scalar.
    bias: learned scalar.
  Returns:
    An array of the shape of `cosine`, ≥ 0.
  Source: Sun et al., "Deep Learning Face Representation by Joint Identification-Verification", 2014, eq. 4.
  """
  # y − σ(z) is σ(−z) for y = 1 and −σ(z) for y = 0: this avoids cancellation.
  logit = scale * cosine + bias
  return 0.5 * jnp.square(jax.nn.sigmoid(jnp.where(same, -logit, logit)))


def binomial_deviance(
  cosine: Array, same: Array, *, alpha: float = 2.0, beta: float = 0.5, cost: float = 25.0
) -> Array:
  """ln(1 + exp(−α(cos − β)·m)), m = 1 for same pairs and −cost for different ones.

  The paper weights every pair by one over the number of its kind: `pair_mean` over `all`, by kind.

  Args:
    cosine: any shape, in [−1, 1].
    same: bool, same shape.
    alpha: steepness.
    beta: decision threshold of the cosine.
    cost: relative steepness for different pairs.
  Returns:
    An array of the shape of `cosine`, > 0.
  Source: Yi et al., "Deep Metric Learning for Practical Person Re-Identification", 2014, eq. 9.
  """
  return jax.nn.softplus(alpha * (cosine - beta) * jnp.where(same, -1.0, cost))


__all__ = [
  "AVERAGES", "binomial_deviance", "contrastive", "contrastive_cosine", "cosine_hinge", "hinge", "pair_mean",
  "pair_weights", "squared_hinge",
]
