"""Lists as those of LFW, with three folds of twelve people with three images each."""

from itertools import chain

FOLDS, PEOPLE, IMAGES = 3, 12, 3
NAMES = [[f"P{fold}_{person}" for person in range(PEOPLE)] for fold in range(FOLDS)]
FILES = [f"{name}/{name}_{image:04d}" for fold in NAMES for name in fold for image in range(1, IMAGES + 1)]


def write_lists(folder):
  """Both views; view 1 has the people of the first two folds."""
  blocks = [[f"{name}\t1\t2" for name in names] + [f"{a}\t1\t{b}\t3" for a, b in zip(names, names[1:] + names[:1])] for names in NAMES]
  counted = [[f"{name}\t{IMAGES}" for name in names] for names in NAMES]
  for name, lines in {
    "pairs.txt": [f"{FOLDS}\t{PEOPLE}", *chain(*blocks)],
    "people.txt": [str(FOLDS), *chain(*([str(PEOPLE), *lines] for lines in counted))],
    "pairsDevTrain.txt": [str(PEOPLE), *blocks[0]], "pairsDevTest.txt": [str(PEOPLE), *blocks[1]], "peopleDevTrain.txt": [str(PEOPLE), *counted[0]],
  }.items():
    (folder / name).write_text("\n".join(lines) + "\n")
  return folder
