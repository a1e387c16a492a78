"""What every detector offers."""

from typing import Any, Protocol

import jax
import numpy as np

from jaxface.detection.detections import Detections


class Detector(Protocol):
  """A detector: `detect` calls it with batches of photos of one size class.

  Attributes:
    name: its name in the registry.
    points: whether it finds five points.
    params: trees of arrays by name, as they are saved.
  """

  name: str
  points: bool
  params: dict[str, Any]

  def detect_batch(
    self, image_bhwc: np.ndarray, size_b2: np.ndarray, device: jax.Device | None = None
  ) -> list[Detections]:
    """Faces of a batch.

    Args:
      image_bhwc: [B, H, W, 3] uint8 RGB, photos in their upper left corners, zeros elsewhere.
      size_b2: [B, 2] int32 height and width of each; zero for padding.
      device: where to compute; None uses the default one.
    Returns:
      `Detections` per row.
    """
    ...


__all__ = ["Detector"]
