"""Names, shapes and dtypes of the leaves of a tree, and their comparison."""

from typing import Any

import jax
import numpy as np

Tree = Any


class WrongCheckpoint(ValueError):
  """The saved tree differs from the expected tree."""


def leaf_name(path: tuple) -> str:
  """Name of a leaf by its path in a tree: "params/stem/kernel"."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


def leaf_shapes(tree: Tree) -> dict[str, tuple[tuple[int, ...], str]]:
  """Name of each leaf ("params/stem/kernel") with its shape and dtype, in the tree's order."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {leaf_name(path): (tuple(leaf.shape), str(np.dtype(leaf.dtype))) for path, leaf in leaves}


def check_same_leaves(found: Tree, expected: Tree, *, where: str) -> None:
  """Raise `WrongCheckpoint` that names the first leaf which is missing, superfluous or of another shape or dtype."""
  have, want = leaf_shapes(found), leaf_shapes(expected)
  for name, (shape, dtype) in want.items():
    if name not in have:
      raise WrongCheckpoint(f"{where}: no leaf {name!r}, expected {dtype}{list(shape)}: saved from another model?")
    if have[name] != (shape, dtype):
      found_shape, found_dtype = have[name]
      raise WrongCheckpoint(
        f"{where}: leaf {name!r} is {found_dtype}{list(found_shape)}, expected {dtype}{list(shape)}:"
        " saved from another model?"
      )
  for name, (shape, dtype) in have.items():
    if name not in want:
      raise WrongCheckpoint(f"{where}: unexpected leaf {name!r} {dtype}{list(shape)}: saved from another model?")


def shapes_with_shardings(shapes: Tree, shardings: Tree) -> Tree:
  """Target of a restore: shapes of `jax.eval_shape` with their shardings; takes no memory."""
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, shardings
  )
