"""DeepID's neural verifier: a network of both images' features, in groups."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from jaxface.verifiers.base import Rows, Verifier
from jaxface.verifiers.drawn_pairs import training_pairs
from jaxface.verifiers.front import Front

if TYPE_CHECKING:
  from jaxface.verifiers.neural_network import Layout, PairNetwork

CHUNK = 256  # pairs at a time
LAYERS = ("local", "full", "out")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, repr=False)
class Neural(Verifier):
  """The output of a network for a pair, before its sigmoid: the logit of "one person", for as many mated as non-mated pairs as in the fit.

  Attributes:
    groups: number of groups of features.
    units: units of the first layer for each group.
    mirrored: embeddings are [image, mirror image].
    both_orders: the score is the mean over both orders of the images, and so symmetric; otherwise of the given order, as published.
    mean_k: [K] float64, subtracted from features.
    scale_k: [K] float64, features are divided by it.
    params: kernels and biases of `PairNetwork` by layer, "local", "full" and "out", float64.
  Source: Sun et al., "Deep Learning Face Representation from Predicting 10,000 Classes", 2014, §3.4.
  """

  groups: int
  units: int
  mirrored: bool
  both_orders: bool
  mean_k: np.ndarray
  scale_k: np.ndarray
  params: Mapping[str, Mapping[str, np.ndarray]]

  kind = "neural"
  what = "logit of one person"
  learns = "pairs"

  @classmethod
  def fit(
    cls, embedding_nd: Rows, target: Any = None, *, unit: bool = False, groups: int = 1, units: int = 80, hidden: int | None = None,
    mirrored: bool = False, both_orders: bool = True, standardise: bool = True, dropout: float = 0.5, epochs: int = 20, batch_size: int = 128,
    learning_rate: float = 1e-3, weight_decay: float = 1e-2, pairs: int | None = None, seed: int = 0, say: Callable[[str], object] = _log.info,
  ) -> Self:
    """Trains the network.

    Args:
      embedding_nd: [N, D] float, embeddings of a training set; all rows are in memory, as float32.
      target: [N] labels of identities, from which pairs are drawn, or a `RowPairs`.
      unit: scale each embedding to length one first.
      groups: number of groups, such as patches of `deepid_ensemble`: group g takes the g-th of so many equal parts of an embedding.
      units: units of the first layer for each group.
      hidden: units of the fully connected layer; None takes as many as all groups have.
      mirrored: embeddings are [image, mirror image] (`jaxface embed --mirror concat`): group g takes the g-th part of both halves.
      both_orders: swap images at random in training, and score by the mean over both orders.
      standardise: scale each feature of the training set to mean 0 and deviation 1 first; not in the paper.
      dropout: share of the hidden units that are dropped in training.
      epochs: passes over the pairs.
      batch_size: pairs of a step.
      learning_rate: first rate of AdamW; a cosine ends at 0.
      weight_decay: of AdamW.
      pairs: number of pairs to draw from labels, see `draw_pairs`.
      seed: of the draw, initial values, order, swaps and dropout.
      say: called with a line for each epoch.
    Raises:
      ValueError: sizes that do not fit, settings out of range, identical embeddings, a loss that is not finite; see `Front.fit` and `draw_pairs`.
    """
    from jaxface.verifiers.neural_network import Layout, PairNetwork, train_network

    for name, value in {"units": units, "epochs": epochs, "batch_size": batch_size, "hidden": 1 if hidden is None else hidden}.items():
      if value < 1:
        raise ValueError(f"{name} is {value}: it must be at least 1")
    if not 0 <= dropout < 1 or not learning_rate > 0 or not weight_decay >= 0:
      raise ValueError(
        f"dropout {dropout}, learning_rate {learning_rate}, weight_decay {weight_decay}: they must be in [0, 1), positive, and not negative"
      )
    drawn = training_pairs(target, embedding_nd.shape[0], pairs=pairs, seed=seed, kind=cls.kind)
    front = Front.fit(embedding_nd, unit=unit)
    layout = Layout(groups, mirrored)
    layout.check(front.output_size)
    row_nk = front.apply_all(embedding_nd).astype(np.float32)
    if (row_nk == row_nk[0]).all():
      raise ValueError(f"all {len(row_nk):,} embeddings are equal: there is nothing to learn from")
    mean_k, scale_k = np.zeros(front.output_size), np.ones(front.output_size)
    if standardise:
      mean_k, scale_k = row_nk.mean(0, dtype=np.float64), row_nk.std(0, dtype=np.float64)
      scale_k[scale_k <= 1e-6 * np.abs(mean_k)] = 1.0
    row_nk = _standardised(row_nk, mean_k, scale_k)
    params = train_network(
      PairNetwork(units, hidden, dropout), layout, row_nk, drawn, both_orders=both_orders, epochs=epochs, batch_size=batch_size,
      learning_rate=learning_rate, weight_decay=weight_decay, seed=seed, say=say,
    )
    kept = {layer: {part: np.asarray(params[layer][part], np.float64) for part in ("kernel", "bias")} for layer in LAYERS}
    return cls(front, groups, units, mirrored, both_orders, mean_k, scale_k, kept)

  def compare(self, left_pk: np.ndarray, right_pk: np.ndarray) -> np.ndarray:
    left_pk, right_pk = (_standardised(one, self.mean_k, self.scale_k) for one in (left_pk, right_pk))
    row_p = np.arange(len(left_pk))
    return self._logits(left_pk, right_pk, row_p, row_p)

  def compare_all(self, left_nk: np.ndarray, right_mk: np.ndarray) -> np.ndarray:
    left_nk, right_mk = (_standardised(one, self.mean_k, self.scale_k) for one in (left_nk, right_mk))
    shape = len(left_nk), len(right_mk)
    pair_p = np.arange(shape[0] * shape[1])
    return self._logits(left_nk, right_mk, pair_p // max(shape[1], 1), pair_p % max(shape[1], 1)).reshape(shape)

  def _logits(self, left_nk: np.ndarray, right_mk: np.ndarray, left_p: np.ndarray, right_p: np.ndarray) -> np.ndarray:
    """[P] float64 of pairs of rows, a constant number at a time, so that one compilation serves all."""
    import jax

    from jaxface.verifiers.neural_network import compiled_logits

    logits = compiled_logits(*self._network())
    params = jax.tree.map(lambda part: jax.device_put(np.asarray(part, np.float32)), dict(self.params))
    score_p = np.empty(len(left_p))
    for start in range(0, len(left_p), CHUNK):
      rows = [np.resize(side_p[start : start + CHUNK], CHUNK) for side_p in (left_p, right_p)]
      left_ck, right_ck = left_nk[rows[0]], right_mk[rows[1]]
      found_c = np.asarray(logits(params, left_ck, right_ck), np.float64)
      if self.both_orders:
        found_c = (found_c + np.asarray(logits(params, right_ck, left_ck), np.float64)) / 2
      score_p[start : start + CHUNK] = found_c[: len(left_p) - start]
    return score_p

  def _network(self) -> "tuple[PairNetwork, Layout]":
    from jaxface.verifiers.neural_network import Layout, PairNetwork

    return PairNetwork(self.units, self.params["full"]["bias"].shape[0]), Layout(self.groups, self.mirrored)

  def settings(self) -> dict[str, Any]:
    return {"groups": self.groups, "units": self.units, "mirrored": self.mirrored, "both_orders": self.both_orders}

  def arrays(self) -> dict[str, np.ndarray]:
    params = {f"{layer}_{part}": value for layer, parts in self.params.items() for part, value in parts.items()}
    return {"mean": self.mean_k, "scale": self.scale_k, **params}

  @classmethod
  def restored(cls, front: Front, settings: Mapping[str, Any], array: Mapping[str, np.ndarray]) -> Self:
    groups, units, mirrored, both_orders = (settings[name] for name in ("groups", "units", "mirrored", "both_orders"))
    if not (isinstance(groups, int) and isinstance(units, int) and isinstance(mirrored, bool) and isinstance(both_orders, bool)) or groups < 1:
      raise ValueError("its network has other settings")
    size = front.output_size
    params = {layer: {part: array[f"{layer}_{part}"] for part in ("kernel", "bias")} for layer in LAYERS}
    hidden = len(params["full"]["bias"])
    shapes = {
      "local": ((groups, 2 * size // groups, units), (groups, units)), "full": ((groups * units, hidden), (hidden,)), "out": ((hidden, 1), (1,)),
    }
    found = {layer: (params[layer]["kernel"].shape, params[layer]["bias"].shape) for layer in LAYERS}
    if found != shapes or array["mean"].shape != (size,) or array["scale"].shape != (size,) or not (array["scale"] > 0).all():
      raise ValueError(f"its layers have the shapes {found}, not {shapes}")
    return cls(front, groups, units, mirrored, both_orders, array["mean"], array["scale"], params)


def _standardised(row_nk: np.ndarray, mean_k: np.ndarray, scale_k: np.ndarray) -> np.ndarray:
  return ((row_nk - mean_k) / scale_k).astype(np.float32)


__all__ = ["Neural"]
