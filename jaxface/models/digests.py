"""Digests of a model: of its variables, and of everything that its embeddings depend on."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxface.models.preprocess import Preprocess


def variables_digest(variables: Any) -> str:
  """16 hex digits over names, dtypes, shapes and values of a tree of variables."""
  total = hashlib.sha256()
  for where, leaf in jax.tree_util.tree_leaves_with_path(variables):
    array = np.asarray(leaf)
    total.update(f"{jax.tree_util.keystr(where)}{array.dtype}{array.shape}".encode() + array.tobytes())
  return total.hexdigest()[:16]


def model_digest(name: str, options: Mapping[str, Any], preprocess: Preprocess, variables: str) -> str:
  """16 hex digits over a network, its options, its input convention and its variables.

  Args:
    name: name of the network.
    options: its options, plain JSON values.
    preprocess: its input convention.
    variables: from `variables_digest`.
  """
  text = json.dumps([name, dict(options), preprocess.to_json(), variables], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


__all__ = ["model_digest", "variables_digest"]
