"""Which identity each image of a pair list shows: the units that pairs have in common."""

from typing import NamedTuple

import numpy as np

from jaxface.formats.pairs import Pairs


class Units(NamedTuple):
  """The identities of pairs.

  Attributes:
    left_p: [P] int64, number of the identity of each left image.
    right_p: [P] int64, of each right image; equal to left_p for mated pairs.
    total: number of identities.
  """

  left_p: np.ndarray
  right_p: np.ndarray
  total: int


def units_of(pairs: Pairs) -> Units:
  """The identities of a list: images in one folder (`Person/Person_0001`), and images that a mated pair connects.

  Images that nothing connects count as different identities.
  """
  number: dict[str, int] = {}
  left_p, right_p = (
    np.array([number.setdefault(name, len(number)) for name in names], np.int64) for names in (pairs.left, pairs.right)
  )
  names, same_p = list(number), np.asarray(pairs.same)
  folder: dict[str, int] = {}
  parent = np.array([folder.setdefault(name.rsplit("/", 1)[0], at) if "/" in name else at for at, name in enumerate(names)], np.int64)
  for a, b in zip(left_p[same_p].tolist(), right_p[same_p].tolist()):
    low, high = sorted((_root(parent, a), _root(parent, b)))
    parent[high] = low
  root_n = np.array([_root(parent, at) for at in range(len(names))], np.int64)
  found, unit_n = np.unique(root_n, return_inverse=True)
  return Units(unit_n[left_p], unit_n[right_p], len(found))


def _root(parent: np.ndarray, at: int) -> int:
  root = at
  while parent[root] != root:
    root = int(parent[root])
  while parent[at] != root:  # shortens the path for later searches
    parent[at], at = root, int(parent[at])
  return root


__all__ = ["Units", "units_of"]
