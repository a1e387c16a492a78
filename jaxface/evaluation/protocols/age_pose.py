"""AgeDB-30, CALFW and CPLFW: 6,000 pairs in ten folds, one list each.

CALFW and CPLFW have two lines `image token` per pair: the token is the fold, 1 to 10, of a mated pair, and 0 for a non-mated
one. Their non-mated pairs are distributed over the folds in order. AgeDB-30 is a `.bin` (see `insightface_bin`) or a table; so may be the others.

Source: Moschoglou et al., "AgeDB", 2017; Zheng, Deng, Hu, "Cross-Age LFW", 2017; Zheng, Deng, "Cross-Pose LFW", 2018.
"""

from pathlib import Path, PurePosixPath

import numpy as np

from jaxface.evaluation.protocols.base import check_counts, find_file
from jaxface.evaluation.protocols.insightface_bin import read_bin_pairs
from jaxface.evaluation.protocols.pair_list import PairProtocol, check_pairs, pair_counts
from jaxface.formats.pairs import Pairs, read_pairs
from jaxface.formats.pairs_base import Rows, cut, lines_of, whole, wrong

COUNTS = {"pairs": 6000, "mated": 3000, "nonmated": 3000, "folds": 10}
FILES = {
  "agedb-30": ("agedb_30.bin", "agedb_30_pairs.txt"),
  "calfw": ("pairs_CALFW.txt", "calfw.bin"),
  "cplfw": ("pairs_CPLFW.txt", "cplfw.bin"),
}


def read_six_thousand(lists: str | Path, name: str) -> PairProtocol:
  """Reads a list of the family.

  Args:
    lists: file, or a folder with it.
    name: "agedb-30", "calfw" or "cplfw".
  Raises:
    DamagedData: an invalid line, or other counts than the official ones.
    FileNotFoundError: no list.
  """
  path = find_file(lists, FILES[name], "list of pairs")
  if path.suffix == ".bin":
    pairs = read_bin_pairs(path)
  else:
    rows = cut(path, lines_of(path))
    if rows and all(len(row) == 2 for _, row in rows):
      pairs = _two_lines(path, rows)
      counts, notes = check_pairs(pairs, COUNTS, person=_person)
      return PairProtocol(name, counts, tuple(notes), pairs)
    pairs = read_pairs(path)
  counts = pair_counts(pairs)
  return PairProtocol(name, counts, tuple(check_counts(path, counts, COUNTS)), pairs)


def _two_lines(path: Path, rows: Rows) -> Pairs:
  """Pairs of two lines each."""
  if len(rows) % 2:
    raise wrong(path, rows[-1][0], f"{len(rows)} lines: a pair has two, so the last one is cut off")
  left, right, token = [], [], []
  for (at, one), (below, other) in zip(rows[::2], rows[1::2]):
    if one[1] != other[1]:
      raise wrong(path, below, f"token {other[1]!r}, but {one[1]!r} in line {at} of the same pair")
    left.append(one[0])
    right.append(other[0])
    token.append(whole(path, at, one[1], least=0))
  token_p = np.array(token, np.int64)
  same_p = token_p > 0
  folds, nonmated = int(token_p.max(initial=1)), int((~same_p).sum())
  fold_p = token_p - 1
  fold_p[~same_p] = np.arange(nonmated) * folds // max(nonmated, 1)
  return Pairs(left, right, same_p, fold_p, str(path), np.array([at for at, _ in rows[::2]], np.int64))


def _person(name: str) -> str:
  """`Ann_Lee` of `Ann_Lee_0001.jpg`."""
  return PurePosixPath(name).stem.rpartition("_")[0]


__all__ = ["read_six_thousand"]
