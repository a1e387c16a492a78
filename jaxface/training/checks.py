"""Checks of the terms of an objective before the first step."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxface.heads.per_member import PerMember
from jaxface.losses.term import Term, scope
from jaxface.losses.triplet_term import TripletLoss
from jaxface.training.parts import Network

# Least mean number of other images of the same identity in a batch for terms that compare them.
LEAST_MATES = 0.5


def check_parts(terms: Sequence[Term], states: Sequence[Any], accumulate: int) -> None:
  """Reject accumulation for terms that need the full batch.

  Args:
    terms: terms of the objective.
    states: state of each term.
    accumulate: number of parts.
  Raises:
    ValueError: the message names the term.
  """
  if accumulate == 1:
    return
  for index, (term, state) in enumerate(zip(terms, states)):
    if scope(term) != "row" or jax.tree.leaves(state):
      sees = "compares images of the full batch" if scope(term) == "pairs" else "keeps statistics of the full batch"
      raise ValueError(
        f"accumulate is {accumulate}, but terms.{index} ({type(term).__name__}) {sees}, which the parts of a"
        " batch cannot give: set accumulate to 1"
      )


def check_members(terms: Sequence[Term], network: Network) -> None:
  """Reject terms for another number of networks than the ensemble has.

  Args:
    terms: terms of the objective.
    network: the network; `members` of an ensemble's module is its number of networks.
  Raises:
    ValueError: the message names the term.
  """
  members = getattr(network.module, "members", 1)
  for index, term in enumerate(terms):
    if isinstance(term, PerMember) and term.members != members:
      raise ValueError(
        f"terms.{index}.members is {term.members}, but {network.name or type(network.module).__name__} has {members} network(s) with these options: set"
        f" terms.{index}.members to {members}"
      )


def check_mates(terms: Sequence[Term], order: str, batch_size: int, label_n: np.ndarray) -> None:
  """Reject a uniform order with too few pairs of the same identity per batch for a term that compares them, and listed
  triplets with another order.

  Args:
    terms: terms of the objective.
    order: `data.order`.
    batch_size: images over all hosts.
    label_n: [N] int, identity of each record.
  Raises:
    ValueError: the message names the term and the mean number of other images of the same identity in a batch.
  """
  for index, term in enumerate(terms):
    listed = isinstance(term, TripletLoss) and term.mining == "listed"
    if listed and order != "triplets":
      raise ValueError(
        f"terms.{index}.mining is listed, but data.order is {order}: set it to triplets (with"
        " data.embeddings), or mine online"
      )
  if order != "uniform":
    return
  share_c = np.bincount(label_n) / len(label_n)
  mates = (batch_size - 1) * float((share_c**2).sum())
  for index, term in enumerate(terms):
    if scope(term) == "pairs" and mates < LEAST_MATES:
      raise ValueError(
        f"terms.{index} ({type(term).__name__}) compares images of one identity, but with data.order uniform a batch"
        f" of {batch_size} has on average {mates:.3f} other images of an image's identity: set data.order to balanced"
        " (data.identities_per_batch × data.images_per_identity)"
      )


__all__ = ["LEAST_MATES", "check_mates", "check_members", "check_parts"]
