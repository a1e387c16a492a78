"""The network of DeepID's neural verifier, and its training on pairs of rows."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jaxface.layers import GroupedLocallyConnected
from jaxface.seeds import Purpose, device_key
from jaxface.verifiers.base import RowPairs


class PairNetwork(nn.Module):
  """A layer of `units` for each group of inputs, a fully connected layer, and one output; ReLU after both hidden layers, then dropout.

  Attributes:
    units: outputs of the first layer for each group; DeepID: 80 of 60 groups.
    hidden: units of the fully connected layer; None takes as many as all groups have (DeepID: 4,800).
    dropout: share of the hidden units that are dropped in training.
    dtype: dtype of the computation.
  Source: Sun et al., "Deep Learning Face Representation from Predicting 10,000 Classes", 2014, §3.4.
  """

  units: int = 80
  hidden: int | None = None
  dropout: float = 0.5
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x_bgd: Array, train: bool = False) -> Array:
    """[B] logits of "one person" for the inputs of pairs, [B, G, D]."""
    local_bgu = nn.relu(GroupedLocallyConnected(self.units, self.dtype, name="local")(x_bgd))
    local_bj = local_bgu.reshape(len(x_bgd), -1)
    local_bj = nn.Dropout(self.dropout, deterministic=not train)(local_bj)
    init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
    hidden_bj = nn.relu(nn.Dense(self.hidden or local_bj.shape[1], dtype=self.dtype, kernel_init=init, name="full")(local_bj))
    hidden_bj = nn.Dropout(self.dropout, deterministic=not train)(hidden_bj)
    return nn.Dense(1, dtype=self.dtype, name="out")(hidden_bj)[:, 0]


class Layout(NamedTuple):
  """How embeddings are split into groups.

  Attributes:
    groups: number of groups G; group g takes the g-th of G equal parts of an embedding.
    mirrored: an embedding is [image, mirror image], as `jaxface embed --mirror concat` writes it; group g takes the g-th part of both.
  """

  groups: int
  mirrored: bool

  def check(self, size: int) -> None:
    """Rejects embeddings of `size` numbers that cannot be split with a ValueError."""
    parts = self.groups * (2 if self.mirrored else 1)
    if self.groups < 1 or size % parts:
      raise ValueError(f"rows of {size:,} numbers cannot be split into {parts:,} equal parts ({self.groups} groups{', mirrored' * self.mirrored})")

  def inputs(self, left_pk: Any, right_pk: Any) -> Array:
    """[P, G, 2 · K / G], the left image's features of each group, then the right one's."""
    return jnp.concatenate([self._split(left_pk), self._split(right_pk)], -1)

  def _split(self, row_pk: Array) -> Array:
    if not self.mirrored:
      return row_pk.reshape(len(row_pk), self.groups, -1)
    both_p2gd = row_pk.reshape(len(row_pk), 2, self.groups, -1)
    return jnp.concatenate([both_p2gd[:, 0], both_p2gd[:, 1]], -1)


def train_network(
  network: PairNetwork, layout: Layout, row_nk: np.ndarray, pairs: RowPairs, *, both_orders: bool, epochs: int, batch_size: int,
  learning_rate: float, weight_decay: float, seed: int, say: Callable[[str], object],
) -> Any:
  """Trains a network by cross-entropy: AdamW, a cosine from `learning_rate` to 0; one compilation.

  Args:
    network: the network.
    layout: how rows are split into groups.
    row_nk: [N, K] float32.
    pairs: pairs of rows.
    both_orders: swap the images of a pair at random, each time that it is used.
    epochs: passes over the pairs; each leaves out a random rest of less than a batch.
    batch_size: pairs of a step, at most.
    learning_rate: first one.
    weight_decay: of AdamW, for kernels only.
    seed: of initial values, order, swaps and dropout.
    say: called with a line for each epoch.
  Returns:
    The parameters.
  Raises:
    ValueError: the loss is not finite; gives the epoch.
  """
  count = len(pairs.same_p)
  batch_size = min(batch_size, count)
  steps = count // batch_size
  root, random = jax.random.key(seed), np.random.default_rng([int(Purpose.EPOCH), seed])
  method = optax.adamw(
    optax.cosine_decay_schedule(learning_rate, epochs * steps), weight_decay=weight_decay,
    mask=lambda params: jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params),
  )

  @jax.jit
  def epoch(params: Any, state: Any, row_nk: Array, batches: Any, number: Array) -> Any:
    def step(carry: Any, given: Any) -> Any:
      (params, state), (left_b, right_b, same_b, index) = carry, given
      swap_key, dropout_key = jax.random.split(device_key(root, Purpose.DROPOUT, number, index))
      if both_orders:
        swap_b = jax.random.bernoulli(swap_key, shape=left_b.shape)
        left_b, right_b = jnp.where(swap_b, right_b, left_b), jnp.where(swap_b, left_b, right_b)

      def loss(params: Any) -> Array:
        logit_b: Any = network.apply({"params": params}, layout.inputs(row_nk[left_b], row_nk[right_b]), train=True, rngs={"dropout": dropout_key})
        return pair_loss(logit_b, same_b)

      value, slope = jax.value_and_grad(loss)(params)
      update, state = method.update(slope, state, params)
      return (optax.apply_updates(params, update), state), value

    (params, state), value_s = jax.lax.scan(step, (params, state), (*batches, jnp.arange(steps)))
    return params, state, value_s.mean()

  given_nk = jnp.asarray(row_nk, jnp.float32)

  @jax.jit
  def begin() -> Any:
    params = network.init(device_key(root, Purpose.NETWORK), layout.inputs(given_nk[:1], given_nk[:1]))["params"]
    return params, method.init(params)

  params, state = begin()
  for number in range(epochs):
    order_sb = random.permutation(count)[: steps * batch_size].reshape(steps, batch_size)
    params, state, value = epoch(params, state, given_nk, RowPairs(*(part[order_sb] for part in pairs)), np.uint32(number))
    if not np.isfinite(value):
      raise ValueError(f"the loss of epoch {number + 1} is {value}: use a smaller learning rate than {learning_rate:g}")
    say(f"epoch {number + 1}/{epochs}: loss {value:.4f}")
  return params


def pair_loss(logit_b: Array, same_b: Array) -> Array:
  """Mean cross-entropy of "one person"."""
  return optax.sigmoid_binary_cross_entropy(logit_b, same_b.astype(logit_b.dtype)).mean()


@cache
def compiled_logits(network: PairNetwork, layout: Layout) -> Callable:
  """The compiled network of [P, K] rows of both sides: (params, left_pk, right_pk) to [P] float32."""
  return jax.jit(lambda params, left_pk, right_pk: network.apply({"params": params}, layout.inputs(left_pk, right_pk)))


__all__ = ["Layout", "PairNetwork", "compiled_logits", "pair_loss", "train_network"]
