"""Exported forms of one model on LFW's view 2: file size, accuracy, and what each costs against float32.

int8 is calibrated on 512 faces of CelebA, none of LFW. Accuracies are of ten folds; differences are in percentage points with 95 %
intervals, on the same pairs. Time is of one image by one thread of ONNX Runtime, the forms taking turns, the fastest of 60 calls as
a share of float32's. In Markdown, for docs/export.md.

Command: JAXFACE_DATA=FOLDER python docs/check_exports.py MODEL
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from generated import replace_part
from tqdm import tqdm

import jaxface
from jaxface.data.folder import FolderSource
from jaxface.evaluation import compare_embeddings
from jaxface.formats import Embeddings, read_lfw_pairs
from jaxface.interop import export_model

PAGE = Path(__file__).with_name("export.md")
FORMS = ("float32", "float16", "int8")
BATCH, CALLS = 32, 60


def session(path: Path) -> onnxruntime.InferenceSession:
  """A graph on one thread."""
  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = 1
  return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def embed(run: onnxruntime.InferenceSession, source: FolderSource, record_n: np.ndarray, title: str) -> Embeddings:
  """Embeddings of some records of a folder."""
  names, found = source.names(), []
  for chunk_n in tqdm(np.split(record_n, range(BATCH, len(record_n), BATCH)), title):
    image_bhwc = np.empty((len(chunk_n), *source.image_shape), np.uint8)
    if errors := source.read(chunk_n, image_bhwc):
      raise errors[0]
    found.append(run.run(None, {"image": image_bhwc})[0])
  return Embeddings(np.concatenate(found), [names[record] for record in record_n])


def fastest(runs: dict[str, onnxruntime.InferenceSession], image_bhwc: np.ndarray) -> dict[str, float]:
  """Seconds of the fastest call of each graph, taking turns."""
  best = dict.fromkeys(runs, float("inf"))
  for _ in range(CALLS):
    for form, run in runs.items():
      start = time.perf_counter()
      run.run(None, {"image": image_bhwc})
      best[form] = min(best[form], time.perf_counter() - start)
  return best


def main() -> int:
  """Export, measure, and write the table into the page."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("model", metavar="MODEL")
  options = parser.parse_args()
  data = Path(os.environ.get("JAXFACE_DATA", ""))
  lists = data / "protocols" / "pairs.txt"
  if not lists.is_file():
    print("set JAXFACE_DATA to the folder that holds lfw_aligned112, celeba_aligned112 and protocols", file=sys.stderr)
    return 2
  model = jaxface.load(options.model)
  size = model.input_size if model.preprocess.fit == "crop" else None
  source = FolderSource(data / "lfw_aligned112", size=size, template="arcface112")
  pairs = read_lfw_pairs(lists)
  wanted = {*pairs.left, *pairs.right}
  record_n = np.array([row for row, name in enumerate(source.names()) if name in wanted])
  with tempfile.TemporaryDirectory() as folder:
    paths = {form: Path(folder) / f"{form}.onnx" for form in FORMS}
    for form, path in paths.items():
      calibrate = FolderSource(data / "celeba_aligned112", size=size, template="arcface112") if form == "int8" else None
      export_model(model, path, precision=form, calibrate=calibrate, mirror="none", say=print)
    runs = {form: session(path) for form, path in paths.items()}
    sizes = {form: path.stat().st_size / 1e6 for form, path in paths.items()}
    found = {form: embed(run, source, record_n, form) for form, run in runs.items()}
    image_bhwc = np.empty((1, *source.image_shape), np.uint8)
    source.read(record_n[:1], image_bhwc)
    seconds = fastest(runs, image_bhwc)
  lines = ["| form | file, MB | accuracy on LFW | against float32 | AUC against float32 | time |", "|---|---|---|---|---|---|"]
  for form in FORMS:
    both = compare_embeddings(found["float32"], found[form], lists, protocol="lfw")
    assert both.second.verification is not None
    accuracy = f"{100 * both.second.verification.accuracy:.2f} %"
    against = ["–", "–"] if form == "float32" else [
      f"{100 * one.value:+.{digits}f} ({100 * one.low:+.{digits}f} to {100 * one.high:+.{digits}f})"
      for one, digits in ((both.differences["accuracy"], 2), (both.differences["auc"], 3))
    ]
    lines.append(f"| {form} | {sizes[form]:.2f} | {accuracy} | {against[0]} | {against[1]} | {seconds[form] / seconds['float32']:.2f} |")
  said = f"Network {model.name}, {model.num_parameters:,} parameters, without the mirror image; onnxruntime {onnxruntime.__version__}."
  replace_part(PAGE, "docs/check_exports.py", "\n".join([said, "", *lines]))
  return 0


if __name__ == "__main__":
  sys.exit(main())
