"""CFP: frontal against frontal (FF) and frontal against profile (FP) images, 7,000 pairs each in ten folds.

The folder has `Pair_list_F.txt` and `Pair_list_P.txt` (lines `number path`) and `Split/FP/01/same.txt`, `diff.txt`, … (lines
`number,number`, the first in list F, the second in list F or P).

Source: Sengupta et al., "Frontal to Profile Face Verification in the Wild", 2016.
"""

from pathlib import Path

import numpy as np

from jaxface.evaluation.protocols.base import find_file
from jaxface.evaluation.protocols.pair_list import PairProtocol, check_pairs
from jaxface.formats.errors import DamagedData
from jaxface.formats.pairs import Pairs
from jaxface.formats.pairs_base import cut, lines_of, whole, wrong
from jaxface.losses.ranges import check_name

COUNTS = {"pairs": 7000, "mated": 3500, "nonmated": 3500, "folds": 10}
KINDS = ("ff", "fp")
ROOT = "../Data/Images/"


def read_cfp(lists: str | Path, kind: str = "fp") -> PairProtocol:
  """Reads the pairs of one kind.

  Args:
    lists: the folder `Protocol` of the data set.
    kind: "ff" or "fp".
  Returns:
    `PairProtocol`; images are named `001/frontal/01.jpg`.
  Raises:
    DamagedData: an invalid line, other counts than the official ones, or a label that contradicts the folders of the images.
    FileNotFoundError: a list is missing.
  """
  check_name("kind", kind, KINDS)
  folder = Path(lists)
  frontal = _images(find_file(folder, ("Pair_list_F.txt",), "list of frontal images"))
  other = frontal if kind == "ff" else _images(find_file(folder, ("Pair_list_P.txt",), "list of profile images"))
  splits = sorted(path for path in (folder / "Split" / kind.upper()).glob("*") if path.is_dir())
  if not splits:
    raise FileNotFoundError(f"{folder / 'Split' / kind.upper()}: has no folders 01, 02, … with same.txt and diff.txt")
  left: list[str] = []
  right: list[str] = []
  same: list[bool] = []
  fold: list[int] = []
  for number, split in enumerate(splits):
    for name, mated in (("same.txt", True), ("diff.txt", False)):
      for at, row in cut(split / name, lines_of(split / name), ","):
        if len(row) != 2:
          raise wrong(split / name, at, f"{len(row)} fields; expected `number,number`")
        for side, images, text in ((left, frontal, row[0]), (right, other, row[1])):
          image = whole(split / name, at, text)
          if image not in images:
            raise wrong(split / name, at, f"image {image} is not in the list of {len(images):,} images")
          side.append(images[image])
        same.append(mated)
        fold.append(number)
  pairs = Pairs(left, right, np.array(same, np.bool_), np.array(fold, np.int64), str(folder / "Split" / kind.upper()))
  counts, notes = check_pairs(pairs, COUNTS, person=_person)
  return PairProtocol(f"cfp-{kind}", counts, tuple(notes), pairs)


def _images(path: Path) -> dict[int, str]:
  """Names by number."""
  images: dict[int, str] = {}
  for at, row in cut(path, lines_of(path)):
    if len(row) != 2:
      raise wrong(path, at, f"{len(row)} fields; expected `number path`")
    number = whole(path, at, row[0])
    if number in images:
      raise wrong(path, at, f"image {number} is listed twice")
    images[number] = row[1].removeprefix(ROOT)
  if len(set(images.values())) < len(images):
    raise DamagedData("an image is listed under two numbers", file=path)
  return images


def _person(name: str) -> str:
  return name.split("/")[-3] if name.count("/") >= 2 else name


__all__ = ["KINDS", "read_cfp"]
