"""Which identity each image of a pair list shows: the units that pairs have in common."""

from typing import NamedTuple

import numpy as np

from jaxface.evaluation.measures.graph import components
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
  # Each image in a folder is joined to the first one in it.
  first_n = np.array([folder.setdefault(name.rsplit("/", 1)[0], at) if "/" in name else at for at, name in enumerate(names)], np.int64)
  unit_n = components(
    np.append(np.arange(len(names)), left_p[same_p]), np.append(first_n, right_p[same_p]), len(names)
  )
  return Units(unit_n[left_p], unit_n[right_p], int(unit_n.max(initial=-1)) + 1)


__all__ = ["Units", "units_of"]
