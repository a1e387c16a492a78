"""Intervals of TAR at FAR over all pairs of a set, by a bootstrap over identities.

As in `bootstrap`, an identity has an exponential weight, a mated pair that of its identity, and a non-mated pair the product of two.
The total weight of all non-mated pairs follows from the identities' weights and numbers of images, so that only the highest scores are
needed with their pairs.
"""

from collections.abc import Sequence

import numpy as np

from jaxface.evaluation.bootstrap import DRAWS, percentiles
from jaxface.evaluation.pair_tiles import Passed

MOST_ACCEPTED = 1_000_000

def draw_tar(
  top: Passed, identity_n: np.ndarray, targets: Sequence[float], *, draws: int = DRAWS, seed: int = 0
) -> dict[float, tuple[float, float]]:
  """95 % intervals of TAR at each target FAR.

  Args:
    top: a pass whose only bracket holds the highest non-mated scores, with their pairs: about twice as many as a target accepts.
    identity_n: [N] int, identity of each row.
    targets: target FARs.
    draws: number of draws; fewer where the scores are many.
    seed: of the weights.
  """
  assert top.pair is not None
  _, identity_n, images_i = np.unique(identity_n, return_inverse=True, return_counts=True)
  falling, pair = top.inside[0][::-1], identity_n[top.pair[0][::-1]]
  own, mated = identity_n[top.mated_row], top.mated
  # Mated pairs at or above each of those scores, and above all of them.
  below_k = np.searchsorted(mated, falling)
  pairs_i = images_i.astype(np.float64) * (images_i - 1) / 2
  random, tar = np.random.default_rng(seed), []
  draws = min(draws, max(200, 2**31 // (len(falling) + len(mated))))
  for _ in range(draws):
    weight_i = random.standard_exponential(len(images_i))
    total = ((weight_i @ images_i) ** 2 - (weight_i**2) @ images_i.astype(np.float64) ** 2) / 2
    far_k = np.cumsum(weight_i[pair[:, 0]] * weight_i[pair[:, 1]]) / total
    share_m = np.append(0.0, np.cumsum(weight_i[own])) / (weight_i @ pairs_i)
    tar.append([_tar(far_k, 1.0 - share_m[below_k], 1.0 - share_m[_above(mated, falling)], target) for target in targets])
  tar_rt = np.array(tar)
  return {target: percentiles(tar_rt[:, at]) for at, target in enumerate(targets)}


def _above(mated: np.ndarray, falling: np.ndarray) -> int:
  """Index of the first mated score above all non-mated ones."""
  return int(np.searchsorted(mated, falling[0], side="right"))


def _tar(far_k: np.ndarray, tar_k: np.ndarray, least: float, target: float) -> float:
  """TAR on the polyline of the ROC at a target FAR; `least` at FAR 0."""
  at = int(np.searchsorted(far_k, target, side="right"))
  if at == len(far_k):
    return float(tar_k[-1])
  low_far, low_tar = (far_k[at - 1], tar_k[at - 1]) if at else (0.0, least)
  share = (target - low_far) / (far_k[at] - low_far) if far_k[at] > low_far else 0.0
  return float(low_tar + share * (tar_k[at] - low_tar))


__all__ = ["MOST_ACCEPTED", "draw_tar"]
