"""Lists with swapped labels, for docs/check_cleaning.py: path and identity of every image, 3 % of them swapped."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np

from jaxface.formats.sources import read_source


def swapped_labels(identities: list[str], *, share: float = 0.03, least: int = 3, seed: int = 0) -> tuple[list[str], np.ndarray]:
  """Swaps the labels of pairs of images of different people.

  Args:
    identities: [N] names.
    share: of all images whose label is changed.
    least: only images of identities with so many images are taken.
    seed: another one takes other images.
  Returns:
    [N] names after swapping, and the rows whose name changed, in ascending order.
  """
  count = Counter(identities)
  rows = np.array([row for row, name in enumerate(identities) if count[name] >= least])
  names, generator = list(identities), np.random.default_rng(seed)
  taken: set[int] = set()
  order = generator.permutation(rows).tolist()
  wanted = round(share * len(identities)) // 2
  while wanted and len(order) > 1:
    left = order.pop()
    right = next((row for row in reversed(order) if identities[row] != identities[left]), None)
    if right is None:
      continue
    order.remove(right)
    names[left], names[right] = identities[right], identities[left]
    taken |= {left, right}
    wanted -= 1
  return names, np.array(sorted(taken))


def write_list(path: Path, rows: list[tuple[str, str]]) -> None:
  """Writes path and identity, a line each, as `tfrecords_tools pack --layout list --list` reads it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(f"{image}\t{name}\n" for image, name in rows), encoding="utf-8")


def fold_of(count: int, folds: int = 2, seed: int = 1) -> np.ndarray:
  """[N] fold of each image, at random and of equal sizes."""
  return np.random.default_rng(seed).permutation(count) % folds


def main() -> int:
  """Writes dirty.txt, clean.txt, swapped.txt and the lists of two folds into a folder: FACES OUT."""
  faces, out = Path(sys.argv[1]), Path(sys.argv[2])
  source = read_source(faces)
  paths, identities = [image.path for image in source.images], [image.identity for image in source.images]
  dirty, swapped = swapped_labels(identities)
  write_list(out / "clean.txt", list(zip(paths, identities)))
  write_list(out / "dirty.txt", list(zip(paths, dirty)))
  (out / "swapped.txt").write_text("".join(f"{paths[row]}\n" for row in swapped))
  fold = fold_of(len(paths))
  for one in range(2):
    write_list(out / f"fold{one}.txt", [(paths[row], dirty[row]) for row in range(len(paths)) if fold[row] != one])
  print(f"{out}: {len(paths):,} images of {len(set(identities)):,} people, {len(swapped):,} labels swapped")
  return 0


if __name__ == "__main__":
  sys.exit(main())
