"""Samples pairs from images: balanced, without repeats, in folds that share no identity."""

from collections.abc import Sequence

import numpy as np

from jaxface.formats.pairs import Pairs
from jaxface.seeds import Purpose

# Up to this many possible pairs they are enumerated and sampled; above it, random sampling rarely repeats one.
LISTED = 1 << 20

# The number in LFW's list.
MOST = 6000


def holdout_pairs(
  names: Sequence[str],
  label_n: np.ndarray,
  *,
  pairs: int | None = None,
  folds: int | None = None,
  seed: int,
) -> Pairs:
  """Samples equal numbers of mated and non-mated pairs, in folds that share no identity.

  Identities are distributed over the folds by their number of images, so that folds are similar. Within a fold
  mated pairs iterate over the identities, so that one with many images does not dominate; non-mated pairs take
  two random identities, then an image of each. As in LFW's list a fold has its mated pairs first.

  Args:
    names: N names, unique.
    label_n: [N] int, identity of each.
    pairs: number of pairs, a multiple of 2 · folds; None samples as many as the images allow, up to `MOST`.
    folds: number of folds; None takes ten, or as many (at least two) as the identities allow.
    seed: the same seed and images give the same pairs, in any order of the images.
  Returns:
    `Pairs`, `pairs` of them.
  Raises:
    ValueError: too few images or identities; gives their numbers and what would be possible.
  """
  groups = _by_identity(names, np.asarray(label_n))
  several = sum(len(group) > 1 for group in groups)
  if folds is None:
    folds = max(2, min(10, several, len(groups) // 2))
  if folds < 1 or (pairs is not None and (pairs < 1 or pairs % (2 * folds))):
    raise ValueError(
      f"pairs={pairs} cannot be split into {folds} folds with equal numbers of mated and non-mated pairs: use a multiple of 2·folds"
    )
  if several < max(2, folds) or len(groups) < 2 * folds:
    raise ValueError(
      f"sampling pairs needs at least two identities with two images, and {folds} folds that share no "
      f"identity need {max(2, folds)} of them and {max(2, 2 * folds)} identities in total; this set has "
      f"{len(groups)} identities, {several} of them with two images or more ({len(names)} images)"
    )
  rng = np.random.default_rng([int(Purpose.PAIRS), seed])
  order = [groups[index] for index in rng.permutation(len(groups))]
  order.sort(key=len, reverse=True)
  dealt = [order[fold::folds] for fold in range(folds)]
  possible = min(min(_mated(fold), _nonmated(fold)) for fold in dealt)
  half = min(MOST // (2 * folds), possible) if pairs is None else pairs // (2 * folds)
  if possible < half:
    raise ValueError(
      f"pairs={pairs} asks for {half} mated and {half} non-mated pairs in each of {folds} folds, but the "
      f"{len(names)} images of {len(groups)} identities allow {possible}: "
      f"use pairs={2 * folds * possible} at most"
    )
  drawn = [
    pair for fold in dealt for pair in (*_draw_mated(fold, half, rng), *_draw_nonmated(fold, half, rng))
  ]
  same = np.tile(np.arange(2 * half) < half, folds)
  return Pairs(
    [left for left, _ in drawn], [right for _, right in drawn], same, np.repeat(np.arange(folds), 2 * half)
  )


def _by_identity(names: Sequence[str], label_n: np.ndarray) -> list[list[str]]:
  """Names of each identity, in an order that depends only on the names."""
  if label_n.shape != (len(names),):
    raise ValueError(f"labels {label_n.shape} for {len(names)} names")
  groups: dict[int, list[str]] = {}
  previous = None
  for name, label in sorted(zip(names, label_n.tolist())):
    if name == previous:
      raise ValueError(f"two images are named {name!r}: names must be unique")
    previous = name
    groups.setdefault(label, []).append(name)
  return list(groups.values())


def _mated(fold: list[list[str]]) -> int:
  return sum(len(group) * (len(group) - 1) // 2 for group in fold)


def _nonmated(fold: list[list[str]]) -> int:
  images = sum(map(len, fold))
  return (images * images - sum(len(group) ** 2 for group in fold)) // 2


def _draw_mated(fold: list[list[str]], count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
  group_of = [group for group in fold if len(group) > 1]
  capacity = np.array([len(group) * (len(group) - 1) // 2 for group in group_of])
  quota = _even_shares(capacity, count, rng)
  drawn = []
  for group, size, share in zip(group_of, capacity, quota):
    for index in rng.choice(size, share, replace=False).tolist():
      # The index-th pair (low < high) in the order (0,1), (0,2), (1,2), (0,3), ...
      high = int((1 + np.sqrt(1 + 8 * index)) / 2)
      drawn.append((group[index - high * (high - 1) // 2], group[high]))
  return drawn


def _even_shares(capacity: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
  """Numbers within capacity that sum to `count`, as even as possible; the remainder is distributed at random."""
  level = 0
  while np.minimum(capacity, level + 1).sum() <= count and level < capacity.max():
    level += 1
  share = np.minimum(capacity, level)
  more = np.flatnonzero(capacity > level)
  share[rng.permutation(more)[: count - int(share.sum())]] += 1
  return share


def _draw_nonmated(fold: list[list[str]], count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
  if _nonmated(fold) <= min(LISTED, 4 * count):
    listed = [
      (one, other)
      for index, group in enumerate(fold)
      for rest in fold[index + 1 :]
      for one in group
      for other in rest
    ]
    return [listed[index] for index in rng.choice(len(listed), count, replace=False)]
  drawn: dict[tuple[str, str], None] = {}
  while len(drawn) < count:
    one, other = sorted(rng.choice(len(fold), 2, replace=False).tolist())
    pair = fold[one][rng.integers(len(fold[one]))], fold[other][rng.integers(len(fold[other]))]
    drawn[pair] = None
  return list(drawn)


__all__ = ["holdout_pairs"]
