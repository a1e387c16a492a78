"""Differences of rates and figures between two disjoint sets of pairs, which may share identities."""

import math
from typing import NamedTuple

import numpy as np

from jaxface.evaluation.intervals.bootstrap import Drawn, interval_of
from jaxface.evaluation.intervals.identity_units import Units
from jaxface.evaluation.intervals.rates import rate_interval, shared_variance


class Change(NamedTuple):
  """A difference with its 95 % interval."""

  value: float
  low: float
  high: float


def rate_change(success_p: np.ndarray, group_p: np.ndarray, units: Units) -> Change:
  """Share of successes among the pairs of a group, minus that among the others.

  The interval is built from Wilson's intervals of both shares, which are over identities, and from the correlation of the shares
  where both sets show the same identities. It has a positive width where a share is 0 or 1. Sources: Newcombe, "Interval estimation
  for the difference between independent proportions", 1998, method 10; Zou, Donner, "Construction of confidence limits about effect
  measures", 2008.

  Args:
    success_p: [P] bool.
    group_p: [P] bool, the pairs of the group; at least one pair is in it, and one is not.
    units: identities of the P pairs.
  """
  success_p, group_p = np.asarray(success_p, np.float64), np.asarray(group_p, np.bool_)
  share, ends, part_p = [], [], []
  for kind_p in (group_p, ~group_p):
    share.append(float(success_p[kind_p].mean()))
    ends.append(rate_interval(success_p[kind_p] > 0, take_units(units, kind_p)))
    part_p.append(np.where(kind_p, (success_p - share[-1]) / kind_p.sum(), 0.0))
  first, second = (shared_variance(one_p, units) for one_p in part_p)
  both = shared_variance(part_p[0] - part_p[1], units)
  product = math.sqrt(first * second)
  correlation = min(1.0, max(-1.0, (first + second - both) / (2 * product))) if product > 0 else 0.0

  def away(one: float, other: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * correlation * one * other + other * other))

  value = share[0] - share[1]
  low = value - away(share[0] - ends[0][0], ends[1][1] - share[1])
  high = value + away(ends[0][1] - share[0], share[1] - ends[1][0])
  return Change(value, max(-1.0, low), min(1.0, high))


def drawn_change(value: float, ours_r: np.ndarray, theirs_r: np.ndarray) -> Change:
  """The difference of two bootstrapped figures, paired draw by draw.

  Args:
    value: the difference of the figures.
    ours_r: [R] of the group.
    theirs_r: [R'] of the others; lists of millions of pairs have fewer draws.
  """
  draws = min(len(ours_r), len(theirs_r))
  return Change(value, *interval_of(value, ours_r[:draws] - theirs_r[:draws]))


def drawn_changes(figures: tuple[dict[str, float], dict[str, float]], drawn: tuple[Drawn, Drawn]) -> dict[str, Change]:
  """Differences of AUC and EER of a group and the others."""
  ours, theirs = drawn
  return {
    "auc": drawn_change(figures[0]["auc"] - figures[1]["auc"], ours.auc_r, theirs.auc_r),
    "eer": drawn_change(figures[0]["eer"] - figures[1]["eer"], ours.eer_r, theirs.eer_r),
  }


def take_units(units: Units, kind_p: np.ndarray) -> Units:
  """The identities of some pairs, with the numbers of the whole list: draws of two parts then have the same weights."""
  return Units(units.left_p[kind_p], units.right_p[kind_p], units.total)


__all__ = ["Change", "drawn_change", "drawn_changes", "rate_change", "take_units"]
