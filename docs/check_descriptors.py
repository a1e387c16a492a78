"""Verification of LFW by descriptors that are not learned: view 2, by cosine and by verifiers fitted as the protocol demands.

How much of the image's border is left out is chosen on view 1, by the AUC of the plain comparison on its test list. Finished rows are kept in
docs/descriptors.json, so that a run that was stopped goes on; the table is in docs/descriptors.md.

Command: python docs/check_descriptors.py DATA [--rows lbp-chi-square ...]
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from generated import replace_part
from tqdm import tqdm

from jaxface.data.folder import FolderSource
from jaxface.data.image_statistics import grey_images
from jaxface.descriptors import bag_of_words, dense_descriptors, fit_words, hog, lbp_histograms, vlad
from jaxface.evaluation.protocols.lfw import read_view_1
from jaxface.formats import Embeddings
from jaxface.formats.atomic import write_json
from jaxface.verifiers import evaluate_on_lfw

PAGE, KEPT = Path(__file__).with_name("descriptors.md"), Path(__file__).with_name("descriptors.json")
BATCH, WORD_IMAGES, WORD_DESCRIPTORS = 128, 500, 50_000
WORDS = {"VLAD": 32, "bag of words": 512}
BORDERS = (0, 12, 24)
# Name: descriptor, kind of verifier, setting of LFW, options of the fit.
ROWS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
  "lbp-chi-square": ("LBP", "chi-square", "restricted", {"weights": "equal", "normalise": False}),
  "lbp-svm": ("LBP", "chi-square", "restricted", {"weights": "svm", "normalise": False, "penalty": 1e-3}),
  "lbp-joint-bayesian": ("LBP", "joint-bayesian", "unrestricted", {"components": 200}),
  "hog-cosine": ("HOG", "cosine", "restricted", {}),
  "vlad-cosine": ("VLAD", "cosine", "restricted", {}),
  "words-cosine": ("bag of words", "cosine", "restricted", {}),
}
# What judges the borders on view 1: the plain comparison of each descriptor.
PLAIN = {"LBP": "lbp-chi-square", "HOG": "hog-cosine", "VLAD": "vlad-cosine", "bag of words": "words-cosine"}


class Described:
  """Descriptors of images of a folder, by name.

  Args:
    data: folder of the datasets.
  """

  def __init__(self, data: Path):
    self.data = data
    self.lists = data / "protocols"
    self.source = FolderSource(data / "lfw_aligned112", size=None)
    self.row = {name: row for row, name in enumerate(self.source.names())}

  def embeddings(self, descriptor: str, border: int, names: list[str]) -> Embeddings:
    """Descriptors without `border` pixels at each side."""
    rows = np.array([self.row[name] for name in names])
    describe = self.function(descriptor, border)
    done = [describe(grey_nhw) for grey_nhw in tqdm(
      grey_batches(self.source, rows, border), total=-(-len(rows) // BATCH), desc=f"{descriptor}, border {border}", disable=not sys.stderr.isatty()
    )]
    return Embeddings(np.concatenate(done), names, meta={"descriptor": descriptor, "border": border})

  def function(self, descriptor: str, border: int) -> Callable[[np.ndarray], np.ndarray]:
    """[N, H, W] to [N, D] float32."""
    if descriptor == "LBP":
      return lambda grey_nhw: np.asarray(lbp_histograms(grey_nhw))
    if descriptor == "HOG":
      return lambda grey_nhw: np.asarray(hog(grey_nhw)).reshape(len(grey_nhw), -1)
    word_kd, sum_up = words(self.data, border, WORDS[descriptor]), vlad if descriptor == "VLAD" else bag_of_words
    return lambda grey_nhw: sum_up(dense_descriptors(grey_nhw), word_kd)

  def border(self, descriptor: str) -> int:
    """The border with the largest AUC on view 1; of equal ones the smallest."""
    _, kind, setting, options = ROWS[PLAIN[descriptor]]
    names, auc = list(read_view_1(self.lists).images), {}
    for border in BORDERS:
      made = self.embeddings(descriptor, border, names)
      auc[border] = evaluate_on_lfw(kind, made, self.lists, view=1, setting=setting, **options).figures["auc"]
    print(f"{descriptor}: AUC on view 1 by border: {auc}", file=sys.stderr)
    return max(BORDERS, key=lambda border: auc[border])


@cache
def words(data: Path, border: int, count: int) -> np.ndarray:
  """Visual words, of some images of CelebA."""
  others, draw = FolderSource(data / "celeba_aligned112", size=None), np.random.default_rng(0)
  rows = np.sort(draw.choice(others.num_records, WORD_IMAGES, replace=False))
  found_nrd = np.concatenate([dense_descriptors(grey_nhw) for grey_nhw in grey_batches(others, rows, border)])
  return fit_words(draw.permutation(found_nrd.reshape(-1, found_nrd.shape[-1]))[:WORD_DESCRIPTORS], count)


def grey_batches(source: FolderSource, rows: np.ndarray, border: int) -> Iterator[np.ndarray]:
  """Grey images [N, H, W] float32, without a border."""
  height, width, _ = source.image_shape
  for first in range(0, len(rows), BATCH):
    image_nhwc = np.empty((len(rows[first : first + BATCH]), *source.image_shape), np.uint8)
    for error in source.read(rows[first : first + BATCH], image_nhwc):
      raise error
    yield grey_images(image_nhwc)[:, border : height - border, border : width - border]


def table(kept: dict[str, Any]) -> str:
  """Finished rows, in the order of `ROWS`."""
  lines = ["| descriptor | numbers | comparison | LFW's setting | border | accuracy on view 2 | AUC |", "|---|---|---|---|---|---|---|"]
  for name in filter(kept.__contains__, ROWS):
    one, (descriptor, kind, setting, options) = kept[name], ROWS[name]
    told = ", ".join([kind, *(f"{key} {value}" for key, value in options.items())])
    low, high = (f"{100 * side:.2f}" for side in one["accuracy_95"])
    lines.append(
      f"| {descriptor} | {one['size']:,} | {told} | {setting} | {one['border']} | {100 * one['accuracy']:.2f} % ({low} to {high}) | {one['auc']:.4f} |"
    )
  return "\n".join(lines)


def main() -> None:
  """Measure the rows that are not there, and write the table."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("data", metavar="DATA", type=Path, help="folder with lfw_aligned112, celeba_aligned112 and protocols")
  parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="rows to measure (default: all)")
  options = parser.parse_args()
  kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
  described, missing = Described(options.data), [name for name in options.rows if name not in kept]
  for descriptor in dict.fromkeys(ROWS[name][0] for name in missing):
    border = described.border(descriptor)
    made = described.embeddings(descriptor, border, described.source.names())
    for name in (name for name in missing if ROWS[name][0] == descriptor):
      _, kind, setting, fit = ROWS[name]
      found = evaluate_on_lfw(kind, made, described.lists, setting=setting, progress=sys.stderr.isatty(), **fit).found.verification
      assert found is not None
      kept[name] = {
        "border": border, "size": made.embedding_nd.shape[1], "accuracy": found.accuracy, "accuracy_95": list(found.intervals.accuracy), "auc": found.auc,
      }
      write_json(KEPT, kept)
      replace_part(PAGE, "docs/check_descriptors.py", table(kept))
      print(table(kept))


if __name__ == "__main__":
  main()
