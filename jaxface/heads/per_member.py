"""Applies a term of the objective to every network of an ensemble separately."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxface.heads.classification import Classification
from jaxface.layers.members import members_name
from jaxface.losses.margins import Softmax
from jaxface.losses.metrics import Mean, Members, Metric, as_metric
from jaxface.losses.ranges import check_range
from jaxface.losses.term import Term, scope


@dataclass(frozen=True)
class PerMember:
  """The same term on each member's part of the embedding, with separate parameters and state.

  The value is the sum over the members, so each member gets the same gradient as if trained alone.

  Attributes:
    term: term for every member; its weight applies to the sum.
    members: number of networks of the ensemble, whose embedding is the concatenation of theirs.
  """

  term: Term = field(default_factory=lambda: Classification(Softmax()))
  members: int = 60

  def __post_init__(self) -> None:
    check_range(self, "members", 1, what="number of networks")
    if getattr(self.term, "center_init", "normal") != "normal":
      raise ValueError(
        f"PerMember.term.center_init = {self.term.center_init!r} is not supported for ensembles, whose members' centres"  # type: ignore[attr-defined]
        " are random at first: leave it at 'normal'"
      )

    if names := getattr(self.term, "row_settings", ()):
      raise ValueError(
        f"PerMember.term.{names[0]} = {getattr(self.term, names[0])!r} is not supported for ensembles, whose centres are updated as a"
        " whole: leave it at its default"
      )

  @property
  def scope(self) -> str:
    """Scope of the term."""
    return scope(self.term)

  @property
  def weight(self) -> float:
    """Weight of the term."""
    return self.term.weight

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and state of all members, on a leading axis; member m's are those of `fold_in(key, m)`.

    Args:
      key: random key.
      embedding_size: members × the size of each one's embedding.
      num_classes: C, identities of the training set.
    Raises:
      ValueError: the embedding is not divisible by the number of members.
    """
    size = self._size(embedding_size)
    params, state = jax.vmap(lambda member_key: self.term.init(member_key, size, num_classes))(self._keys(key))
    return {self._name: params}, {self._name: state}

  def __call__(
    self, params: dict[str, Any], inputs: dict[str, Array], *, state: dict[str, Any], step: Array | int, key: Array | None,
  ) -> tuple[Array, dict[str, Any], dict[str, Metric]]:
    """Summed loss of each row, the new state, and metrics.

    Args:
      params: from `init`.
      inputs: embedding_bd [B, members·D], label_b [B], weight_b [B]; see `Term`.
      state: from `init` or the previous step.
      step: number of the optimizer step, from 0.
      key: random key of this step; member m gets `fold_in(key, m)`.
    Returns:
      loss_b [B]; the state; every metric of the term, and its loss as `member_loss`, of each member (`Members`): the log
      shows the mean, and as `NAME_min` and `NAME_max` the extremes over the members.
    """
    embedding_bd = inputs["embedding_bd"]
    embedding_mbd = embedding_bd.reshape(len(embedding_bd), self.members, self._size(embedding_bd.shape[1])).swapaxes(0, 1)

    weight = inputs["weight_b"].sum()

    def one(member_params: Any, embedding: Array, member_state: Any, member_key: Array | None) -> tuple:
      own = {**inputs, "embedding_bd": embedding}
      loss_b, new, metrics = self.term(member_params, own, state=member_state, step=step, key=member_key)
      each = {name: as_metric(value, weight) for name, value in metrics.items()}
      return loss_b, new, {**each, "member_loss": as_metric(Mean(loss_b.sum(), weight))}

    keys = None if key is None else self._keys(key)
    loss_mb, new, metrics = jax.vmap(one)(params[self._name], embedding_mbd, state[self._name], keys)
    return loss_mb.sum(axis=0), {self._name: new}, {name: Members(metric) for name, metric in metrics.items()}

  @property
  def _name(self) -> str:
    return members_name(0, self.members)

  def _keys(self, key: Array) -> Array:
    return jax.vmap(lambda member: jax.random.fold_in(key, member))(jnp.arange(self.members))

  def _size(self, embedding_size: int) -> int:
    if embedding_size % self.members:
      raise ValueError(
        f"PerMember.members is {self.members}, which does not divide the embedding of {embedding_size}: give the number of"
        " networks of the ensemble"
      )
    return embedding_size // self.members


__all__ = ["PerMember"]
