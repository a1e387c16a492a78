"""Small images of known classes for a classifier: scikit-learn's digits, rendered people, or a folder."""

from typing import Literal

import numpy as np

from jaxface.data.arrays import ArraySource
from jaxface.data.folder import FolderSource
from jaxface.data.synthetic import SyntheticSource

KINDS = ("digits", "people", "folder")


def read_classes(
  kind: Literal["digits", "people", "folder"], *, size: int = 32, people: int = 10, images: int = 300, folder: str = "", seed: int = 0
) -> ArraySource:
  """All images of a set in memory.

  Args:
    kind: "digits": scikit-learn's 1,797 digits of 8×8 pixels, grey; "people": rendered faces in colour; "folder": images in a folder
      for each class.
    size: side length in pixels of the people and of the images of a folder, which are resized.
    people: number of people.
    images: images of each of them.
    folder: the folder.
    seed: of the people.
  Returns:
    The images, [N, side, side, 3] uint8.
  Raises:
    ModuleNotFoundError: scikit-learn, which contains the digits, is not installed.
    FileNotFoundError, ValueError: there is no such folder, or no image in it.
    DamagedData: an image cannot be read.
  """
  if kind == "digits":
    pixel_nhw, label_n = _digits()
    return ArraySource(np.repeat(pixel_nhw[..., None], 3, -1), label_n, [str(digit) for digit in range(10)])
  source = SyntheticSource(people, images, size, seed) if kind == "people" else FolderSource(folder, size=(size, size), resize=True)
  image_nhwc = np.empty((source.num_records, *source.image_shape), np.uint8)
  for error in source.read(np.arange(source.num_records), image_nhwc):
    raise error
  if kind == "people":
    classes = [f"person{number}" for number in range(people)]
  else:
    first = dict(zip(source.label_n[::-1].tolist(), source.names()[::-1]))
    classes = [first[label].split("/")[0] for label in range(source.num_identities)]
  return ArraySource(image_nhwc, source.label_n, classes, template=source.template)


def _digits() -> tuple[np.ndarray, np.ndarray]:
  """[1797, 8, 8] uint8 and labels; scikit-learn's greys of 0 to 16 become 0 to 255."""
  try:
    from sklearn.datasets import load_digits
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError('the digits are those of scikit-learn: pip install "jaxface[verifiers]"') from error
  pixel_nk, label_n = load_digits(return_X_y=True)
  return np.rint(pixel_nk.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8), label_n


def split_classes(source: ArraySource, *, test: float, seed: int) -> tuple[ArraySource, ArraySource]:
  """Splits the images of each class at random.

  Args:
    source: the images.
    test: share of each class for the test, in (0, 1); at least one image, and at least one is left for training.
    seed: the same seed gives the same split.
  Returns:
    Images for training and for the test.
  Raises:
    ValueError: a class with fewer than two images.
  """
  draw, held = np.random.default_rng(seed), np.zeros(source.num_records, bool)
  for label, name in enumerate(source.identity_names()):
    record_k = np.flatnonzero(source.label_n == label)
    if len(record_k) < 2:
      raise ValueError(f"class {name!r} has {len(record_k)} images: needs two or more, for training and test")
    count = min(max(round(test * len(record_k)), 1), len(record_k) - 1)
    held[draw.choice(record_k, count, replace=False)] = True
  return source.subset(~held), source.subset(held)


__all__ = ["KINDS", "read_classes", "split_classes"]
