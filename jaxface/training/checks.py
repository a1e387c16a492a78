"""What a run may not ask of the terms of its objective, said before the first step."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxface.heads.per_member import PerMember
from jaxface.losses.term import scope
from jaxface.losses.triplet_term import TripletLoss
from jaxface.training.config import Experiment

# Images of its own identity that an image must meet in a batch, on average, for its pairs to teach something.
LEAST_MATES = 0.5


def check_parts(experiment: Experiment, states: Sequence[Any]) -> None:
  """Refuse to take a batch in parts where a term needs it whole.

  Args:
    experiment: the run.
    states: state of each term.
  Raises:
    ValueError: naming the term.
  """
  if experiment.accumulate == 1:
    return
  for index, (term, state) in enumerate(zip(experiment.terms, states)):
    if scope(term) != "row" or jax.tree.leaves(state):
      sees = "compares images of the whole batch" if scope(term) == "pairs" else "keeps statistics of the whole batch"
      raise ValueError(
        f"accumulate is {experiment.accumulate}, but terms.{index} ({type(term).__name__}) {sees}, which the parts of a"
        " batch cannot give: set accumulate to 1"
      )


def check_members(experiment: Experiment, model: nn.Module) -> None:
  """Refuse terms for another number of networks than the ensemble has.

  Args:
    experiment: the run.
    model: the network; an ensemble says in `members` how many it has.
  Raises:
    ValueError: naming the term.
  """
  members = getattr(model, "members", 1)
  for index, term in enumerate(experiment.terms):
    if isinstance(term, PerMember) and term.members != members:
      raise ValueError(
        f"terms.{index}.members is {term.members}, but {experiment.model.name} has {members} network(s) with these options: set"
        f" terms.{index}.members to {members}"
      )


def check_mates(experiment: Experiment, label_n: np.ndarray) -> None:
  """Refuse a uniform order whose batches hold next to no pair of one identity, where a term lives on such pairs, and
  listed triplets where the order shows none.

  Args:
    experiment: the run.
    label_n: [N] int, identity of each record.
  Raises:
    ValueError: naming the term and how many images of its own identity an image meets on average.
  """
  for index, term in enumerate(experiment.terms):
    listed = isinstance(term, TripletLoss) and term.mining == "listed"
    if listed and experiment.data.order != "triplets":
      raise ValueError(
        f"terms.{index}.mining is listed, but data.order is {experiment.data.order}: set it to triplets (with"
        " data.embeddings), or mine online"
      )
  if experiment.data.order != "uniform":
    return
  share_c = np.bincount(label_n) / len(label_n)
  mates = (experiment.batch_size - 1) * float((share_c**2).sum())
  for index, term in enumerate(experiment.terms):
    if scope(term) == "pairs" and mates < LEAST_MATES:
      raise ValueError(
        f"terms.{index} ({type(term).__name__}) compares images of one identity, but with data.order uniform an image"
        f" meets {mates:.3f} others of its identity in a batch of {experiment.batch_size}: set data.order to balanced"
        " (data.identities_per_batch × data.images_per_identity)"
      )


__all__ = ["LEAST_MATES", "check_mates", "check_members", "check_parts"]
