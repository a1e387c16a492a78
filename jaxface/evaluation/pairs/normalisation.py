"""DeepFace's normalisation: each feature is divided by its maximum over a training set, then each row is scaled to length one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxface.formats.checked_json import read_checked_json, write_checked_json
from jaxface.formats.errors import DamagedData

EPSILON = 0.05


@dataclass(frozen=True, eq=False)
class LargestFeatures:
  """A fitted transform of embeddings.

  Attributes:
    largest_d: [D] float32, the maximum of each feature over the training set.
    epsilon: smallest divisor, for features that are zero or nearly zero on the training set.
  Source: Taigman et al., "DeepFace", 2014, §3.3.
  """

  largest_d: np.ndarray
  epsilon: float = EPSILON

  @classmethod
  def fit(cls, embedding_nd: np.ndarray, *, epsilon: float = EPSILON) -> "LargestFeatures":
    """Finds the maxima.

    Args:
      embedding_nd: [N, D] float, non-negative embeddings of the training set, as output by the network.
      epsilon: smallest divisor, in units of the features.
    Raises:
      ValueError: no embeddings, or a number that is negative or not finite; names its row and feature.
    """
    _check(embedding_nd, "embeddings of the training set")
    if not len(embedding_nd):
      raise ValueError("no embeddings to fit on: at least one is needed")
    if epsilon <= 0:
      raise ValueError(f"epsilon is {epsilon}: needs a positive number")
    return cls(np.asarray(embedding_nd.max(0), np.float32), epsilon)

  def apply(self, embedding_nd: np.ndarray) -> np.ndarray:
    """Divides each feature and scales each row to length one.

    Args:
      embedding_nd: [N, D] float, as output by the network.
    Returns:
      [N, D] float32; a row of zeros stays zero.
    Raises:
      ValueError: another number of features than the fit's, or a number that is negative or not finite.
    """
    _check(embedding_nd, "embeddings")
    if embedding_nd.shape[1] != len(self.largest_d):
      raise ValueError(f"embeddings of {embedding_nd.shape[1]} features, but the fit has {len(self.largest_d)}")
    share_nd = embedding_nd / np.maximum(self.largest_d, self.epsilon)
    length_n1 = np.linalg.norm(share_nd, axis=1, keepdims=True)
    return np.asarray(share_nd / np.where(length_n1 > 0, length_n1, 1), np.float32)

  def save(self, path: str | Path) -> None:
    """Writes the fit as JSON with a checksum, atomically."""
    write_checked_json(path, {"epsilon": self.epsilon, "largest": [float(x) for x in self.largest_d]})

  @classmethod
  def load(cls, path: str | Path) -> "LargestFeatures":
    """Reads what `save` wrote.

    Raises:
      DamagedData: the file is damaged, or not a valid fit.
    """
    plain = read_checked_json(path)
    try:
      largest_d = np.asarray(plain["largest"], np.float32)
      if largest_d.ndim != 1 or not np.isfinite(largest_d).all() or not plain["epsilon"] > 0:
        raise ValueError("it needs one list of finite numbers and a positive epsilon")
      return cls(largest_d, float(plain["epsilon"]))
    except (ValueError, KeyError, TypeError) as error:
      raise DamagedData(f"not a fit of the largest features: {type(error).__name__}: {error!s:.200}", file=str(path)) from error


def _check(embedding_nd: np.ndarray, what: str) -> None:
  if embedding_nd.ndim != 2 or embedding_nd.dtype.kind != "f":
    raise ValueError(f"{what} are {embedding_nd.dtype} {embedding_nd.shape}: they must be float [N, D]")
  wrong = np.argwhere(~(embedding_nd >= 0) | np.isinf(embedding_nd))
  if len(wrong):
    row, feature = wrong[0]
    raise ValueError(
      f"{what}: feature {feature} of row {row} is {embedding_nd[row, feature]}: this normalisation is for networks that end"
      " with a ReLU, such as DeepFace"
    )


__all__ = ["EPSILON", "LargestFeatures"]
