"""Paired differences of two models on one protocol that is not one pair list."""

from collections.abc import Mapping

import numpy as np

from jaxface.evaluation.pairs.comparison import Difference, compare, drawn_difference, normal_difference
from jaxface.evaluation.protocols.base import ProtocolFigures


def compare_protocols(first: ProtocolFigures, second: ProtocolFigures) -> Mapping[str, Difference]:
  """Differences of two models' figures on the same people.

  Both models have the same random weights of the people, and thresholds are chosen again in each draw. Of lists by group: the accuracy
  of each group and their mean, as `compare` does it.

  Args:
    first: figures of one model.
    second: of the other, on the same set.
  Returns:
    `Difference` by name, the second minus the first: such as rank-1, tar_at_far 1e-4, accuracy.
  Raises:
    ValueError: they are of different sets, or were saved without draws.
  """
  names = [str(one.figures.get("protocol")) for one in (first, second)]
  if names[0] != names[1]:
    raise ValueError(f"figures of the protocols {names[0]!r} and {names[1]!r}: compare models on one protocol")
  if first.parts and list(first.parts) == list(second.parts):
    return _of_groups(first, second)
  if first.draws is None or second.draws is None:
    raise ValueError(f"figures of {names[0]!r} without draws, as earlier releases saved them: evaluate both models again")
  sizes = {len(drawn_r) for one in (first, second) if one.draws for drawn_r in one.draws.drawn.values()}
  if len(sizes) > 1:
    raise ValueError(f"figures of {names[0]!r} with {' and '.join(map(str, sorted(sizes)))} draws: evaluate both models again with one release")
  if first.draws.people != second.draws.people:
    raise ValueError(f"figures of {names[0]!r} on different images or people: compare models on one set")
  return {
    name: drawn_difference(second.draws.value[name] - value, second.draws.drawn[name] - first.draws.drawn[name])
    for name, value in first.draws.value.items() if name in second.draws.drawn and name in first.draws.drawn
  }


def _of_groups(first: ProtocolFigures, second: ProtocolFigures) -> Mapping[str, Difference]:
  found = {}
  for group, ours in first.parts.items():
    theirs = second.parts[group]
    if ours.verification is None or theirs.verification is None:
      raise ValueError(f"group {group} has pairs of one kind only: no accuracy")
    found[f"accuracy {group}"] = compare(ours.verification, theirs.verification)["accuracy"]
  value_g = np.array([one.value for one in found.values()])
  # The groups share nobody, so that their variances add.
  half_g = np.array([one.high - one.value for one in found.values()])
  mean = normal_difference(float(value_g.mean()), float(np.sqrt((half_g**2).sum())) / len(half_g))
  return {"accuracy_mean": mean, **found}


__all__ = ["compare_protocols"]
