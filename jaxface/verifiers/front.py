"""What every verifier does to embeddings before it compares them: length one, and principal components."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxface.evaluation.matrix_checks import unit_rows
from jaxface.evaluation.measures.principal_components import PrincipalComponents, fit_components_by_blocks
from jaxface.evaluation.sweeps.sizes import check_size
from jaxface.formats.embedding_rows import EmbeddingRows

BLOCK = 8192  # rows of a file in memory at a time


@dataclass(frozen=True, eq=False)
class Front:
  """A fitted transform of embeddings.

  Attributes:
    size: D, the size of the embeddings.
    unit: scale each row to length one first.
    components: principal components of the training set; None compares the embeddings themselves.
    whiten: divide each component by its standard deviation.
  """

  size: int
  unit: bool
  components: PrincipalComponents | None = None
  whiten: bool = False

  @classmethod
  def fit(cls, row_nd: np.ndarray | EmbeddingRows, *, unit: bool, components: int | None = None, whiten: bool = False) -> "Front":
    """Fits principal components, if there are any.

    Args:
      row_nd: [N, D] float, embeddings of the training set, in memory or in a file.
      unit: scale each row to length one first.
      components: number of principal components, None for none.
      whiten: divide each component by its standard deviation.
    Raises:
      ValueError: not a matrix; `components` out of range; `whiten` without `components`, or along an axis without variance; an
        embedding that is not finite, or zero where `unit`.
    """
    if len(row_nd.shape) != 2 or not row_nd.shape[1]:
      raise ValueError(f"embeddings {row_nd.shape}: they must be [N, D]")
    size = row_nd.shape[1]
    if components is None:
      if whiten:
        raise ValueError("whitening needs a number of principal components")
      return cls(size, unit)
    plain = cls(size, unit)
    found = fit_components_by_blocks(plain.blocks(row_nd), components if components > 0 else None)
    check_size("components", components, len(found.axis_kd))
    front = cls(size, unit, PrincipalComponents(found.mean_d, found.axis_kd[:components], found.variance_k[:components]), whiten)
    found.apply(found.mean_d[None], components, whiten=whiten)  # reports axes that cannot be whitened
    return front

  @property
  def output_size(self) -> int:
    """K, the size of what is compared."""
    return self.size if self.components is None else len(self.components.axis_kd)

  def apply(self, embedding_nd: np.ndarray, what: str = "embedding") -> np.ndarray:
    """[N, K] float64, the rows to compare.

    Args:
      embedding_nd: [N, D] float.
      what: what a row is, for messages.
    Raises:
      ValueError: another size, or a row that is not finite, or zero where `unit`; names it.
    """
    embedding_nd = np.asarray(embedding_nd)
    if embedding_nd.ndim != 2 or embedding_nd.shape[1] != self.size:
      raise ValueError(f"{what}s {embedding_nd.shape}: this verifier compares embeddings of {self.size} numbers, [N, {self.size}]")
    if not len(embedding_nd):
      return np.zeros((0, self.output_size))
    if self.unit:
      row_nd = unit_rows(embedding_nd, what)
    else:
      row_nd = embedding_nd.astype(np.float64)
      for row in np.flatnonzero(~np.isfinite(row_nd).all(1))[:1]:
        raise ValueError(f"{what} {row} is not finite")
    return row_nd if self.components is None else self.components.apply(row_nd, self.output_size, whiten=self.whiten)

  def blocks(self, row_nd: np.ndarray | EmbeddingRows) -> Iterator[np.ndarray]:
    """The rows to compare, [n, K] float64 at a time, of embeddings in memory or in a file."""
    for start in range(0, row_nd.shape[0], BLOCK):
      try:
        yield self.apply(np.asarray(row_nd[start : start + BLOCK]))
      except ValueError as error:
        raise ValueError(f"{error} (of the rows from {start:,})" if start else str(error)) from error

  def apply_all(self, row_nd: np.ndarray | EmbeddingRows) -> np.ndarray:
    """[N, K] float64, all rows to compare."""
    return np.concatenate([np.zeros((0, self.output_size)), *self.blocks(row_nd)])

  def settings(self) -> dict[str, Any]:
    """The settings as plain JSON values."""
    return {"size": self.size, "unit": self.unit, "whiten": self.whiten, "components": self.components and self.output_size}

  def arrays(self) -> dict[str, np.ndarray]:
    """The fitted arrays by name."""
    return {} if self.components is None else {f"front_{name}": value for name, value in self.components._asdict().items()}

  @classmethod
  def restored(cls, settings: Mapping[str, Any], array: Mapping[str, np.ndarray]) -> "Front":
    """What `settings` and `arrays` describe.

    Raises:
      ValueError, KeyError, TypeError: they do not fit together.
    """
    size, unit, whiten, count = (settings[name] for name in ("size", "unit", "whiten", "components"))
    if not (isinstance(size, int) and size > 0 and isinstance(unit, bool) and isinstance(whiten, bool)):
      raise ValueError("its front has other settings")
    if count is None:
      return cls(size, unit)
    parts = PrincipalComponents(*(array[f"front_{name}"] for name in PrincipalComponents._fields))
    if parts.mean_d.shape != (size,) or parts.axis_kd.shape != (count, size) or parts.variance_k.shape != (count,):
      raise ValueError("its principal components have other sizes")
    return cls(size, unit, parts, whiten)


__all__ = ["Front"]
