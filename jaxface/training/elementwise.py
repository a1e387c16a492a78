"""Checks that an optimizer treats each element of the parameters separately, as updates of class centres by rows need."""

from collections.abc import Collection
from typing import Any

import jax
import numpy as np
import optax

Tree = Any

# Rows of the arrays on which an optimizer is tried; half of them must move alone as they do together.
_ROWS, _SIZE = 4, 3


def check_elementwise(transform: optax.GradientTransformation, params: Tree, terms: Collection[int]) -> None:
  """Try an optimizer on small arrays: rows of class centres must be updated alone as together with all other parameters.

  Args:
    transform: the optimizer.
    params: shapes of the parameters, {"model", "terms"}.
    terms: numbers of the terms that are updated by rows.
  Raises:
    ValueError: it is not elementwise.
  """
  random = np.random.default_rng(0)

  def small(leaf: Any) -> np.ndarray:
    return random.normal(size=[_ROWS, *[_SIZE] * (len(leaf.shape) - 1)] if leaf.shape else []).astype(np.float32)

  def half(tree: Tree) -> Tree:
    own = tuple(
      jax.tree.map(lambda leaf: leaf[: _ROWS // 2], part) if index in terms else jax.tree.map(lambda _: None, part)
      for index, part in enumerate(tree["terms"])
    )
    return {"model": jax.tree.map(lambda _: None, tree["model"]), "terms": own}

  whole = jax.tree.map(small, params)
  gradients = [jax.tree.map(small, params) for _ in range(2)]
  together, alone = (_updates(transform, kind(whole), [kind(g) for g in gradients]) for kind in (lambda tree: tree, half))
  for found, expected in zip(jax.tree.leaves(alone), jax.tree.leaves(half(together))):
    if not np.allclose(found, expected, rtol=1e-4, atol=1e-6):
      raise ValueError(
        "the optimizer is not elementwise: it updates some class centres otherwise alone than together with all other parameters,"
        " so centres cannot be updated by rows. Use an elementwise transformation (pass clipping as Optimizer.clip, too), or a"
        " Classification with sharded = False, sample_rate = 1, block = 0 and center_dtype = 'float32'"
      )


def _updates(transform: optax.GradientTransformation, params: Tree, gradients: list[Tree]) -> Tree:
  state, updates = transform.init(params), params
  for gradient in gradients:
    updates, state = transform.update(gradient, state, params)
  return jax.tree.map(np.asarray, updates)


__all__ = ["check_elementwise"]
