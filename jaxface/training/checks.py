"""What a run may not ask of the terms of its objective, said before the first step."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxface.heads.per_member import PerMember
from jaxface.losses.term import Term, scope
from jaxface.losses.triplet_term import TripletLoss
from jaxface.training.parts import Network

# Images of its own identity that an image must meet in a batch, on average, for its pairs to teach something.
LEAST_MATES = 0.5


def check_parts(terms: Sequence[Term], states: Sequence[Any], accumulate: int) -> None:
  """Refuse to take a batch in parts where a term needs it whole.

  Args:
    terms: of the objective.
    states: state of each term.
    accumulate: how many parts.
  Raises:
    ValueError: naming the term.
  """
  if accumulate == 1:
    return
  for index, (term, state) in enumerate(zip(terms, states)):
    if scope(term) != "row" or jax.tree.leaves(state):
      sees = "compares images of the whole batch" if scope(term) == "pairs" else "keeps statistics of the whole batch"
      raise ValueError(
        f"accumulate is {accumulate}, but terms.{index} ({type(term).__name__}) {sees}, which the parts of a"
        " batch cannot give: set accumulate to 1"
      )


def check_members(terms: Sequence[Term], network: Network) -> None:
  """Refuse terms for another number of networks than the ensemble has.

  Args:
    terms: of the objective.
    network: an ensemble's module says in `members` how many it has.
  Raises:
    ValueError: naming the term.
  """
  members = getattr(network.module, "members", 1)
  for index, term in enumerate(terms):
    if isinstance(term, PerMember) and term.members != members:
      raise ValueError(
        f"terms.{index}.members is {term.members}, but {network.name or type(network.module).__name__} has {members} network(s) with these options: set"
        f" terms.{index}.members to {members}"
      )


def check_mates(terms: Sequence[Term], order: str, batch_size: int, label_n: np.ndarray) -> None:
  """Refuse a uniform order whose batches hold next to no pair of one identity, where a term lives on such pairs, and
  listed triplets where the order shows none.

  Args:
    terms: of the objective.
    order: `data.order`.
    batch_size: over all hosts.
    label_n: [N] int, identity of each record.
  Raises:
    ValueError: naming the term and how many images of its own identity an image meets on average.
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
        f"terms.{index} ({type(term).__name__}) compares images of one identity, but with data.order uniform an image"
        f" meets {mates:.3f} others of its identity in a batch of {batch_size}: set data.order to balanced"
        " (data.identities_per_batch × data.images_per_identity)"
      )


__all__ = ["LEAST_MATES", "check_mates", "check_members", "check_parts"]
