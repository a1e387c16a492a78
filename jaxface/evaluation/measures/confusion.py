"""Closed-set classification: confusion matrix and accuracy of each class."""

from typing import NamedTuple

import numpy as np

from jaxface.evaluation.matrix_checks import check_labels

# The matrix of so many classes takes 2 GiB.
MOST_CLASSES = 16_384


class ClassAccuracy(NamedTuple):
  """Accuracy of each class.

  Attributes:
    label: [C] the classes, ascending.
    samples: [C] int64, samples of each class.
    right: [C] int64, those that are classified correctly.
  """

  label: np.ndarray
  samples: np.ndarray
  right: np.ndarray

  @property
  def per_class(self) -> np.ndarray:
    """[C] float64, correct share of the samples of each class: its recall."""
    return self.right / self.samples

  @property
  def accuracy(self) -> float:
    """Correct share of all samples."""
    return int(self.right.sum()) / int(self.samples.sum())

  @property
  def mean_per_class(self) -> float:
    """Mean over classes: balanced accuracy."""
    return float(self.per_class.mean())


class Confusion(NamedTuple):
  """Confusion matrix.

  Attributes:
    label: [C] the classes, ascending.
    samples: [C, C] int64, number by true class (row) and predicted class (column).
    elsewhere: [C] int64, samples of each class whose prediction is none of the classes.
  """

  label: np.ndarray
  samples: np.ndarray
  elsewhere: np.ndarray

  @property
  def share(self) -> np.ndarray:
    """[C, C] float64, each row as shares of the samples of its class."""
    return self.samples / (self.samples.sum(1) + self.elsewhere)[:, None]

  def most_confused(self, most: int) -> list[tuple[object, object, int]]:
    """The most frequent confusions.

    Args:
      most: maximum number.
    Returns:
      (true class, predicted class, samples), most frequent first, of equally frequent ones by true and predicted class.
    """
    wrong = self.samples.copy()
    np.fill_diagonal(wrong, 0)
    true_k, predicted_k = np.nonzero(wrong)
    count_k = wrong[true_k, predicted_k]
    first = np.argsort(-count_k, kind="stable")[:most]
    rows = zip(self.label[true_k[first]].tolist(), self.label[predicted_k[first]].tolist(), count_k[first].tolist())
    return list(rows)

  def table(self) -> str:
    """The matrix as text: true classes in rows, predicted ones in columns, "·" for none; "else" if a prediction is none of the classes."""
    names, count_ck = [str(label) for label in self.label.tolist()], self.samples
    heads = names
    if self.elsewhere.any():
      heads, count_ck = [*names, "else"], np.c_[count_ck, self.elsewhere]
    cells = [["", *heads], *([name, *(str(count or "·") for count in row)] for name, row in zip(names, count_ck.tolist()))]
    width = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join("  ".join(cell.rjust(size) for cell, size in zip(row, width)) for row in cells)


def class_accuracy(
  label_n: np.ndarray, predicted_n: np.ndarray, *, classes: np.ndarray | None = None
) -> ClassAccuracy:
  """Accuracy of each class, for any number of classes.

  Args:
    label_n: [N] integers or text, the true class of each sample.
    predicted_n: [N] of the same kind, the predicted class; it need not be one of the classes.
    classes: [C] the classes; by default those of `label_n`.
  Returns:
    `ClassAccuracy`.
  Raises:
    ValueError: wrong shapes, no samples, a class without samples, or a sample of none of the classes.
  """
  class_c, true_n, predicted_n = _numbers(label_n, predicted_n, classes)
  samples_c = np.bincount(true_n, minlength=class_c.size)
  return ClassAccuracy(class_c, samples_c, np.bincount(true_n[true_n == predicted_n], minlength=class_c.size))


def confusion_matrix(
  label_n: np.ndarray, predicted_n: np.ndarray, *, classes: np.ndarray | None = None
) -> Confusion:
  """Confusion matrix.

  Args:
    label_n: as for `class_accuracy`.
    predicted_n: as for `class_accuracy`.
    classes: as for `class_accuracy`.
  Returns:
    `Confusion`.
  Raises:
    ValueError: as `class_accuracy`, or too many classes for a matrix.
  """
  class_c, true_n, predicted_n = _numbers(label_n, predicted_n, classes)
  size = class_c.size
  if size > MOST_CLASSES:
    raise ValueError(
      f"a confusion matrix of {size} classes takes {8 * size**2 / 2**30:.0f} GiB: at most {MOST_CLASSES} classes are "
      "allowed; `class_accuracy` needs no matrix"
    )
  known_n = predicted_n >= 0
  cell_n = true_n[known_n] * size + predicted_n[known_n]
  count_cc = np.bincount(cell_n, minlength=size**2).reshape(size, size)
  return Confusion(class_c, count_cc, np.bincount(true_n[~known_n], minlength=size))


def _numbers(
  label_n: np.ndarray, predicted_n: np.ndarray, classes: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Classes, and the number of the true and of the predicted class of each sample, −1 for none of the classes."""
  given = label_n if classes is None else classes
  size = np.asarray(label_n).size
  label_n, predicted_n, given = check_labels(
    (label_n, "true", None), (predicted_n, "predicted", size), (given, "class", None)
  )
  class_c = np.unique(given)
  true_n, predicted_n = (_place(class_c, array) for array in (label_n, predicted_n))
  for sample in np.flatnonzero(true_n < 0)[:1]:
    raise ValueError(
      f"sample {sample} is of class {label_n[sample].item()!r}, which is none of the {class_c.size} classes: "
      "add it to them, or leave its samples out"
    )
  for empty in np.flatnonzero(np.bincount(true_n, minlength=class_c.size) == 0)[:1]:
    raise ValueError(
      f"class {class_c[empty].item()!r} has no samples: its accuracy is undefined; leave it out of the classes"
    )
  return class_c, true_n, predicted_n


def _place(class_c: np.ndarray, label_n: np.ndarray) -> np.ndarray:
  place_n = np.minimum(np.searchsorted(class_c, label_n), class_c.size - 1)
  return np.where(class_c[place_n] == label_n, place_n, -1)


__all__ = ["ClassAccuracy", "Confusion", "class_accuracy", "confusion_matrix"]
