"""Intervals of rates over pairs that share identities.

Pairs that show one identity succeed and fail together, so a rate over many pairs of few people is less certain than its number of
pairs suggests. The variance here sums over all pairs of pairs that share an identity; Wilson's interval is then that of the number of
independent pairs with this variance. Sources: Fogliato, Patil, Perona, "Confidence Intervals for Error Rates in 1:1 Matching Tasks",
2023; Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
"""

import math
from collections.abc import Iterable

import numpy as np

from jaxface.evaluation.intervals.identity_units import Units

Z95 = 1.959963984540054  # quantile of the normal distribution for 95 %


def wilson(successes: float, trials: float, z: float = Z95) -> tuple[float, float]:
  """Wilson's interval of a binomial proportion; valid at 0 and 1, where the normal interval has zero width.

  Args:
    successes: number of successes, 0 ≤ successes ≤ trials.
    trials: number of independent trials, at least one; both may be effective numbers, see `rate_interval`.
    z: quantile of the normal distribution; the default gives 95 %.
  Returns:
    (low, high), both within [0, 1].
  """
  if not 0 <= successes <= trials or trials < 1:
    raise ValueError(f"{successes} successes of {trials} trials")
  share, square = successes / trials, z * z
  centre = (share + square / (2 * trials)) / (1 + square / trials)
  half = z * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2)) / (1 + square / trials)
  low = 0.0 if successes == 0 else centre - half
  return low, 1.0 if successes == trials else centre + half


def shared_variance(residual_p: np.ndarray, units: Units) -> float:
  """Variance of a sum over pairs: the sum of r_p · r_q over all p and q that share an identity, p = q included.

  Args:
    residual_p: [P] float, what each pair contributes, minus its mean.
    units: identities of the pairs.
  Returns:
    At least Σ r²: pairs are never taken as more certain than independent ones.
  """
  residual_p = np.asarray(residual_p, np.float64)
  apart = units.left_p != units.right_p
  of_unit = np.bincount(units.left_p, residual_p, units.total)
  of_unit += np.bincount(units.right_p[apart], residual_p[apart], units.total)
  # Pairs of the same two identities were counted at both.
  low, high = np.minimum(units.left_p, units.right_p)[apart], np.maximum(units.left_p, units.right_p)[apart]
  _, group = np.unique(low * units.total + high, return_inverse=True)
  of_two = np.bincount(group, residual_p[apart]) if group.size else np.zeros(0)
  return float(max((of_unit**2).sum() - (of_two**2).sum(), (residual_p**2).sum()))


def independent_pairs(units: Units) -> float:
  """How many pairs there can be without a shared identity, at most; for rates of 0 and 1, whose variance cannot be estimated."""
  apart = units.left_p != units.right_p
  own = len(np.unique(units.left_p[~apart]))
  others = len(np.unique(np.concatenate([units.left_p[apart], units.right_p[apart]])))
  return float(max(1.0, min(len(units.left_p), own + others / 2)))


def rate_interval(
  success_p: np.ndarray, units: Units, *, weight_p: np.ndarray | None = None, z: float = Z95
) -> tuple[float, float]:
  """Wilson's interval of a share of pairs, with as many trials as independent pairs would need for the same variance.

  Args:
    success_p: [P] bool, for example of mated pairs whether they are rejected at a threshold.
    units: identities of these pairs.
    weight_p: [P] float, positive; None counts all pairs alike.
    z: quantile of the normal distribution; the default gives 95 %.
  Returns:
    (low, high), both within [0, 1].
  Raises:
    ValueError: no pairs.
  """
  success_p = np.asarray(success_p, np.float64)
  if not success_p.size:
    raise ValueError("no pairs: an interval needs at least one")
  weight_p = np.full(success_p.size, 1 / success_p.size) if weight_p is None else weight_p / weight_p.sum()
  share = float(min(1.0, weight_p @ success_p))
  if success_p.all() or not success_p.any():
    share, trials = float(success_p[0]), independent_pairs(units)
  else:
    trials = share * (1 - share) / shared_variance(weight_p * (success_p - share), units)
    trials = min(max(trials, 1.0), float(success_p.size))
  return wilson(share * trials, trials, z)


def size_note(target: float, nonmated: int, *, rate: str = "FAR", of: str = "non-mated pairs") -> str:
  """A line where a set has too few non-mated pairs for a false-accept rate; empty where it has enough.

  Rule of 3: no error in n independent trials bounds the rate by 3/n at 95 %. Rule of 30: at least 30 errors are needed for a rate that
  is within 30 % of the truth at 90 %. Source: ISO/IEC 19795-1, annex B; Doddington et al., "The NIST speaker recognition evaluation", 2000.

  Args:
    target: FAR in (0, 1].
    nonmated: number of non-mated pairs.
    rate: name of the rate, such as "FPIR".
    of: what the rate is a share of, such as "non-mated probes".
  """
  expected = target * nonmated
  if expected < 3:
    return f"{rate} {target:g} needs {math.ceil(3 / target):,} independent {of} even to be told from 0 (rule of 3); the list has {nonmated:,}."
  if expected < 30:
    accepts = "false accepts" if rate == "FAR" else "false positives"
    return (
      f"{rate} {target:g} is a threshold on {expected:.0f} {accepts}; 30 are needed for a rate within 30 % of the truth (rule of 30), that is"
      f" {math.ceil(30 / target):,} {of}."
    )
  return ""


def size_notes(targets: Iterable[float], nonmated: int, *, rate: str = "FAR", of: str = "non-mated pairs") -> list[str]:
  """The lines of `size_note` for the largest target that each rule concerns; smaller ones need still more.

  Args:
    targets: rates in (0, 1].
    nonmated, rate, of: as for `size_note`.
  Returns:
    At most two lines.
  """
  by_rule = {target * nonmated < 3: target for target in sorted(targets) if target * nonmated < 30}
  return [size_note(target, nonmated, rate=rate, of=of) for target in sorted(by_rule.values(), reverse=True)]


__all__ = ["Z95", "independent_pairs", "rate_interval", "shared_variance", "size_note", "size_notes", "wilson"]
