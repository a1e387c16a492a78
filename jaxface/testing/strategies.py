"""Hypothesis strategies: batches of embeddings with labels and weights, random ones and edge cases.

Shapes are arguments, not sampled, so that a jitted loss compiles once for all examples.
"""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

LABEL_DTYPES = ("int8", "uint8", "int16", "int32", "uint32", "int64")


class Batch(NamedTuple):
  """Arguments of a loss.

  Attributes:
    embedding_bd: [B, D] float32.
    label_b: [B] of any integer dtype.
    weight_b: [B] float32, 0 for padding.
  """

  embedding_bd: np.ndarray
  label_b: np.ndarray
  weight_b: np.ndarray


def _equal(x_bd: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  x_bd[1::2] = x_bd[: len(x_bd) // 2 * 2 : 2]
  return x_bd


def _opposite(x_bd: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  x_bd[1::2] = -x_bd[: len(x_bd) // 2 * 2 : 2]
  return x_bd


def _collapsed(x_bd: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  return np.repeat(x_bd[:1], len(x_bd), axis=0)


def _zero(x_bd: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  x_bd[rng.integers(len(x_bd))] = 0
  return x_bd


# Name of the edge case and its effect on random rows. All of them occur in real training.
CORNERS = {
  "plain": lambda x_bd, rng: x_bd,
  "equal rows": _equal,  # distance 0, cosine 1
  "opposite rows": _opposite,  # cosine -1
  "collapsed": _collapsed,  # all rows equal
  "a row of zeros": _zero,  # undefined direction
  "long": lambda x_bd, rng: x_bd * np.float32(1e4),
  "short": lambda x_bd, rng: x_bd * np.float32(1e-4),
}


@st.composite
def embeddings(draw: st.DrawFn, rows: int = 8, size: int = 4, corners: tuple[str, ...] | None = None) -> np.ndarray:
  """[rows, size] float32: normal numbers, or one of the edge cases.

  Args:
    draw: given by hypothesis.
    rows: B.
    size: D.
    corners: names from `CORNERS`; None takes all.
  """
  rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
  kind = draw(st.sampled_from(tuple(CORNERS) if corners is None else corners))
  return CORNERS[kind](rng.normal(size=(rows, size)).astype(np.float32), rng)


@st.composite
def labels(
  draw: st.DrawFn, rows: int = 8, identities: int = 3, dtypes: tuple[str, ...] = LABEL_DTYPES
) -> np.ndarray:
  """[rows] labels in 0..identities-1: mixed, all of one identity, or as many single-row identities as possible.

  Args:
    draw: given by hypothesis.
    rows: B.
    identities: maximum number of identities.
    dtypes: integer dtypes to draw from.
  """
  kind = draw(st.sampled_from(("mixed", "one identity", "lone identities")))
  dtype = draw(st.sampled_from(dtypes))
  if kind == "one identity":
    return np.full(rows, draw(st.integers(0, identities - 1)), dtype)
  if kind == "lone identities":
    # Every identity once, the rest of the first: rows with and without a positive.
    return np.where(np.arange(rows) < identities, np.arange(rows) % identities, 0).astype(dtype)
  return np.asarray(draw(st.lists(st.integers(0, identities - 1), min_size=rows, max_size=rows)), dtype)


@st.composite
def weights(draw: st.DrawFn, rows: int = 8) -> np.ndarray:
  """[rows] float32: all 1, or some rows 0 (padding); at least one row has weight 1."""
  weight_b = np.ones(rows, np.float32)
  padded = draw(st.lists(st.integers(0, rows - 1), max_size=rows - 1, unique=True))
  weight_b[padded] = 0
  return weight_b


def batches(
  rows: int = 8, size: int = 4, identities: int = 3, *, corners: tuple[str, ...] | None = None,
  dtypes: tuple[str, ...] = LABEL_DTYPES,
) -> st.SearchStrategy[Batch]:
  """A `Batch` of `embeddings`, `labels` and `weights`."""
  return st.builds(
    Batch, embeddings(rows, size, corners), labels(rows, identities, dtypes), weights(rows)
  )


__all__ = ["CORNERS", "LABEL_DTYPES", "Batch", "batches", "embeddings", "labels", "weights"]
