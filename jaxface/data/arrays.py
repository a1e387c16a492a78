"""Images in memory as a source."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxface.data.fingerprint import digest
from jaxface.data.source import UnreadableRow


class ArraySource:
  """Images of one array, see `jaxface.data.Source`.

  Args:
    image_nhwc: [N, H, W, C] uint8.
    label_n: [N] int, class of each image, from 0.
    classes: name of each class.
    template: alignment template of the images, "none" for images that are no aligned faces.
  Attributes:
    image_nhwc: the images.
  Raises:
    ValueError: wrong shapes or types, no images, or a label without a class.
  """

  def __init__(self, image_nhwc: np.ndarray, label_n: np.ndarray, classes: Sequence[str], *, template: str = "none"):
    if image_nhwc.ndim != 4 or image_nhwc.dtype != np.uint8 or not image_nhwc.size:
      raise ValueError(f"images have shape {image_nhwc.shape} and type {image_nhwc.dtype}: needs [N, H, W, C] uint8, at least one")
    if label_n.shape != image_nhwc.shape[:1] or not np.issubdtype(label_n.dtype, np.integer):
      raise ValueError(f"labels have shape {label_n.shape} and type {label_n.dtype}: needs [{len(image_nhwc)}] int")
    if label_n.min() < 0 or label_n.max() >= len(classes):
      raise ValueError(f"labels are {label_n.min()} to {label_n.max()}: there are {len(classes)} classes, from 0")
    self.image_nhwc, self._classes = image_nhwc, list(classes)
    self.label_n = label_n.astype(np.int32)
    self.num_records, self.num_identities = len(image_nhwc), len(classes)
    self.image_shape, self.template = image_nhwc.shape[1:], template

  def names(self) -> list[str]:
    """Class and number of each image."""
    return [f"{self._classes[label]}/{record}" for record, label in enumerate(self.label_n)]

  def identity_names(self) -> list[str]:
    """Name of each class, by label."""
    return self._classes

  def fingerprint(self) -> dict[str, Any]:
    """Identifies images and labels."""
    return {"records": self.num_records, "sha256": digest([*self._classes, self.image_nhwc, self.label_n])}

  def subset(self, chosen_n: np.ndarray) -> "ArraySource":
    """Some of the images, with all classes.

    Args:
      chosen_n: [N] bool.
    """
    return ArraySource(self.image_nhwc[chosen_n], self.label_n[chosen_n], self._classes, template=self.template)

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    """Copies images into `out`."""
    out[:] = self.image_nhwc[record_n]
    return []


__all__ = ["ArraySource"]
