"""Connected components of a graph, by a forest in which each node points towards the smallest node of its component."""

import numpy as np


def components(left_p: np.ndarray, right_p: np.ndarray, size: int) -> np.ndarray:
  """Connected components of a graph.

  Args:
    left_p: [P] int, one end of each edge, from 0 to size − 1.
    right_p: [P] int, the other end.
    size: N, the number of nodes.
  Returns:
    [N] int64, number of the component of each node.
  Raises:
    ValueError: wrong shapes, or an edge to a node that is not there.
  """
  left_p, right_p = np.asarray(left_p, np.int64), np.asarray(right_p, np.int64)
  if left_p.ndim != 1 or left_p.shape != right_p.shape:
    raise ValueError(f"edges {left_p.shape} and {right_p.shape}: both ends must be [P]")
  for edge in np.flatnonzero((np.minimum(left_p, right_p) < 0) | (np.maximum(left_p, right_p) >= size))[:1]:
    raise ValueError(f"edge {edge} joins {left_p[edge]} and {right_p[edge]}: nodes are 0 to {size - 1}")
  parent_n = np.arange(size)
  join(parent_n, left_p, right_p)
  return numbered(parent_n)


def join(parent_n: np.ndarray, left_p: np.ndarray, right_p: np.ndarray) -> None:
  """Joins both ends of every edge in place; afterwards every node points to the smallest node of its component."""
  while True:
    left_p, right_p = parent_n[left_p], parent_n[right_p]
    apart = left_p != right_p
    if not apart.any():
      return
    left_p, right_p = left_p[apart], right_p[apart]
    np.minimum.at(parent_n, np.maximum(left_p, right_p), np.minimum(left_p, right_p))
    parent_n[:] = roots(parent_n)


def roots(parent_n: np.ndarray) -> np.ndarray:
  """Follows each node to its root."""
  while (parent_n != parent_n[parent_n]).any():
    parent_n = parent_n[parent_n]
  return parent_n


def numbered(root_n: np.ndarray) -> np.ndarray:
  """Numbers from 0 in the order of first members, which the roots are."""
  return np.unique(root_n, return_inverse=True)[1].astype(np.int64)


__all__ = ["components", "join", "numbered", "roots"]
