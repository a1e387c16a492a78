"""LFW with imported weights, from a folder of images: docs/extra/lfw_report.html, its model card, and the figures of docs/report.md.

The page has no photos: LFW's photos belong to their publishers. Models and evaluations in runs/ are used again; remove them to start anew.

Command: JAXFACE_DATA=FOLDER python docs/make_lfw_report.py [--weights FILE] [--picture]
"""

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from generated import replace_part
from PIL import Image

from jaxface.commands.main import main as jaxface
from jaxface.evaluation import read_evaluation

DOCS = Path(__file__).resolve().parent
RUNS = DOCS.parent / "runs"
MIRRORS = {"sum": "image and mirror image", "none": "image only"}


def main() -> None:
  """Imports, evaluates, reports."""
  data = Path(os.environ["JAXFACE_DATA"])
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--weights", default=data.parent / "weights" / "mobilefacenet_ms1m_128d.onnx", help="ONNX file")
  parser.add_argument("--picture", action="store_true", help="also draw docs/report.jpg with headless Chromium")
  options = parser.parse_args()
  model = RUNS / "mobilefacenet"
  if not model.is_dir():
    jaxface(["import", str(options.weights), "--model", "mobilefacenet", "--preprocess", "imagenet", "--out", str(model)])
  lists = ["--protocol", "lfw", "--pairs", str(data / "protocols" / "pairs.txt")]
  for mirror, what in MIRRORS.items():
    faces = ["--model", str(model), "--images", str(data / "lfw_aligned112"), "--mirror", mirror]
    if not (saved := RUNS / f"lfw_{mirror}.npz").is_file():
      jaxface(["evaluate", *lists, *faces, "--save", str(saved), "--title", f"MobileFaceNet, {what}", "--json", str(RUNS / "lfw.json")])
  with contextlib.chdir(RUNS):  # the page shows the command line
    jaxface([
      "report", "lfw_sum.npz", "lfw_none.npz", "--title", "LFW, view 2: MobileFaceNet", "--out", str(Path("..", "docs", "extra", "lfw_report.html")),
      "--card", str(Path("..", "docs", "extra", "lfw_model_card.md")),
    ])
  if options.picture:
    picture()
  rows = ["| embedding | threshold of a fold | accuracy (%) | ± standard error | ± standard deviation of the folds |", "|---|---|---|---|---|"]
  for mirror, what in MIRRORS.items():
    found = read_evaluation(RUNS / f"lfw_{mirror}.npz").verification
    ways = {"best of all midpoints on the other folds, middle of equals (jaxface)": found.folds.accuracy}
    ways["best of 0, 0.001, … 3.999 in squared distance, last of equals"] = on_grid(found.score_p, found.pairs.same, found.pairs.fold)
    for way, accuracy_f in ways.items():
      error = accuracy_f.std(ddof=1) / np.sqrt(len(accuracy_f))
      rows.append(f"| {what} | {way} | {100 * accuracy_f.mean():.2f} | {100 * error:.2f} | {100 * accuracy_f.std():.2f} |")
  print("\n".join(rows))
  replace_part(DOCS / "report.md", "docs/make_lfw_report.py", "\n".join(rows))


def picture() -> None:
  """Writes docs/report.jpg: the top of the report."""
  sys.path.append(str(DOCS.parent / "tests" / "evaluation"))
  from browser import Browser, find_browser

  with tempfile.TemporaryDirectory() as folder:
    browser = Browser(find_browser() or sys.exit("no Chromium was found: see tests/evaluation/browser.py"), Path(folder) / "profile")
    browser.view(1200, 1800)
    browser.open(DOCS / "extra" / "lfw_report.html")
    browser.picture(Path(folder) / "page.png")
    browser.close()
    with Image.open(Path(folder) / "page.png") as page:
      page.convert("RGB").crop((0, 0, page.width, 1800)).save(DOCS / "report.jpg", quality=85)


def on_grid(score_p: np.ndarray, same_p: np.ndarray, fold_p: np.ndarray) -> np.ndarray:
  """Accuracy of each fold at the best threshold of a grid, as scripts with a grid of squared distances compute it.

  Args:
    score_p: [P] float64, cosines.
    same_p: [P] bool.
    fold_p: [P] int.
  Returns:
    [F] float64.
  """
  grid_t = np.arange(0, 4, 0.001)
  correct_tp = (2 - 2 * score_p[None] < grid_t[:, None]) == same_p[None]
  accuracy = []
  for fold in np.unique(fold_p):
    others_t = correct_tp[:, fold_p != fold].mean(1)
    last = len(grid_t) - 1 - int(np.argmax(others_t[::-1]))
    accuracy.append(correct_tp[last, fold_p == fold].mean())
  return np.array(accuracy)


if __name__ == "__main__":
  main()
