"""LFW, view 1 for tuning and view 2 for the figure.

View 2 (`pairs.txt`): ten folds of 300 mated and 300 non-mated pairs. What may be used for training is the *setting*:

  outside       any other faces; the threshold of a fold is chosen on the other nine (what most papers print)
  unsupervised  nothing, no threshold either: the figure is the AUC
  restricted    the pairs of the other nine folds, same or different, without the names of the people
  unrestricted  the people of the other nine folds (`people.txt`), so that any pairs of them may be made

View 1 (`pairsDevTrain.txt`, `pairsDevTest.txt`): the threshold is chosen on the first list and applied to the second.

Source: Huang et al., "Labeled Faces in the Wild", 2007; Huang and Learned-Miller, "LFW: Updates and New Reporting
Procedures", 2014.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.evaluation.protocols.base import check_counts, find_file
from jaxface.evaluation.protocols.pair_list import PairProtocol, check_pairs, folder_of
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.errors import DamagedData
from jaxface.formats.pairs import Pairs, read_lfw_pairs, read_pairs, read_people
from jaxface.losses.ranges import check_name

VIEW_2 = {"pairs": 6000, "mated": 3000, "nonmated": 3000, "folds": 10, "images": 7701, "people": 4281}
VIEW_1_TEST = {"pairs": 1000, "mated": 500, "nonmated": 500, "folds": 1, "images": 1549, "people": 963}
VIEW_1_TRAIN = {"pairs": 2200, "mated": 1100, "nonmated": 1100, "folds": 1, "images": 3443, "people": 2132}
PEOPLE = {"people": 5749, "images": 13233}
PEOPLE_TRAIN, PEOPLE_TEST = {"people": 4038, "images": 9525}, {"people": 1711, "images": 3708}
DIGEST = {"view 2": "2ec8a35d4e41577d", "train": "5c102f974ace3793", "test": "83e16c13a9a7a887"}
SETTINGS = ("outside", "unsupervised", "restricted", "unrestricted")


class Training(NamedTuple):
  """What the setting allows for training before a fold is tested.

  Attributes:
    pairs: pairs with labels (restricted and unrestricted); None for none.
    person: person of each image by name (unrestricted); empty for none.
  """

  pairs: Pairs | None
  person: Mapping[str, str]


@dataclass(frozen=True)
class Lfw(PairProtocol):
  """View 2.

  Attributes:
    setting: one of `SETTINGS`.
    people: per fold, images by person; empty without `people.txt`.
  """

  setting: str = "outside"
  people: tuple[Mapping[str, int], ...] = ()

  def training(self, fold: int) -> Training:
    """What may be used for training before `fold` is tested, beside outside data.

    Args:
      fold: number of a fold, from 0.
    Raises:
      ValueError: no such fold.
    """
    if fold not in self.pairs.fold:
      raise ValueError(f"fold {fold}: there are {', '.join(map(str, np.unique(self.pairs.fold)))}")
    if self.setting == "unsupervised":
      return Training(None, {})
    keep = np.flatnonzero(self.pairs.fold != fold)
    left, right = ([side[pair] for pair in keep] for side in (self.pairs.left, self.pairs.right))
    line = None if self.pairs.line is None else self.pairs.line[keep]
    pairs = Pairs(left, right, self.pairs.same[keep], self.pairs.fold[keep], self.pairs.file, line)
    if self.setting == "restricted":
      return Training(pairs, {})
    others = [people for number, people in enumerate(self.people) if number != fold]
    return Training(pairs, {
      f"{name}/{name}_{image:04d}": name for people in others for name, images in people.items() for image in range(1, images + 1)
    })

  def evaluate(self, embeddings: Embeddings, *, skip_missing: bool = False, **options: Any) -> Evaluation:
    found = super().evaluate(embeddings, skip_missing=skip_missing, **options)
    main = "auc" if self.setting == "unsupervised" else "accuracy"
    return replace(found, figures={"protocol": self.name, "setting": self.setting, "main_figure": main, **found.figures})


def read_view_2(lists: str | Path, setting: str = "outside") -> Lfw:
  """Reads view 2.

  Args:
    lists: `pairs.txt`, or a folder with it; "unrestricted" needs a folder that contains `people.txt` too.
    setting: one of `SETTINGS`.
  Raises:
    DamagedData: an invalid line, other counts than the official ones, or `people.txt` has other people in a fold than `pairs.txt`.
    FileNotFoundError: a list is missing.
    ValueError: an unknown setting.
  """
  check_name("setting", setting, SETTINGS)
  path = find_file(lists, ("pairs.txt",), "list of view 2")
  pairs = read_lfw_pairs(path) if _is_official(path) else read_pairs(path)
  counts, notes = check_pairs(pairs, VIEW_2, person=folder_of, digest=DIGEST["view 2"])
  people: tuple[Mapping[str, int], ...] = ()
  if setting == "unrestricted":
    file = find_file(path.parent if Path(lists).is_file() else lists, ("people.txt",), "list of people")
    people = tuple(read_people(file))
    found = {"people in people.txt": sum(map(len, people)), "images in people.txt": sum(sum(fold.values()) for fold in people)}
    notes += check_counts(file, found, {f"{what} in people.txt": right for what, right in PEOPLE.items()})
    _check_folds(pairs, people, file)
    counts |= found
  name = "lfw" if setting == "outside" else f"lfw-{setting}"
  return Lfw(name, counts, tuple(notes), pairs, None, setting, people)


def read_view_1(lists: str | Path) -> PairProtocol:
  """Reads view 1: the folder of `pairsDevTrain.txt`, which sets the threshold, and `pairsDevTest.txt`.

  Raises:
    DamagedData: an invalid line, or other counts than the official ones.
    FileNotFoundError: a list is missing.
  """
  folder = Path(lists)
  folder = folder.parent if folder.is_file() else folder
  test = read_lfw_pairs(find_file(folder, ("pairsDevTest.txt",), "test list of view 1"))
  train = read_lfw_pairs(find_file(folder, ("pairsDevTrain.txt",), "training list of view 1"))
  counts, notes = check_pairs(test, VIEW_1_TEST, person=folder_of, digest=DIGEST["test"])
  train_counts, more = check_pairs(train, VIEW_1_TRAIN, person=folder_of, digest=DIGEST["train"])
  both = {folder_of(name) for name in (*test.left, *test.right)} & {folder_of(name) for name in (*train.left, *train.right)}
  if both:
    raise DamagedData(f"{len(both)} people are in both lists of view 1 (first: {min(both)!r}): they must share none", file=folder)
  counts |= {f"{what} of the training list": number for what, number in train_counts.items()}
  return PairProtocol("lfw-view1", counts, (*notes, *more), test, train)


def _is_official(path: Path) -> bool:
  """Whether the first line is LFW's header, `folds pairs`."""
  with open(path, "rb") as file:
    first = file.readline(64).split()
  return len(first) == 2 and all(part.isdigit() for part in first)


def _check_folds(pairs: Pairs, people: tuple[Mapping[str, int], ...], file: Path) -> None:
  for pair, names in enumerate(zip(pairs.left, pairs.right)):
    fold = int(pairs.fold[pair])
    for name in names:
      if fold >= len(people) or folder_of(name) not in people[fold]:
        raise DamagedData(f"{folder_of(name)!r} is not in fold {fold}, as {pairs.where(pair)} has it", file=file)


__all__ = ["SETTINGS", "Lfw", "Training", "read_view_1", "read_view_2"]
