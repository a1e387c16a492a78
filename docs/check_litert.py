"""Embeddings of a LiteRT file beside those of the ONNX file that it was converted from.

  python docs/check_litert.py FACE.onnx FACE.tflite FACES [--images N]

FACES is a folder of aligned faces. Prints the smallest and the mean cosine between both embeddings of an image, and the largest difference of the
scores of two images. It needs the packages ai-edge-litert, onnxruntime and Pillow, not jaxface: docs/export.md makes their environment.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

SUFFIXES = {".jpg", ".jpeg", ".png"}


def litert(path: str) -> Callable[[np.ndarray], np.ndarray]:
  """Function ([1, H, W, 3] uint8) to the output of a LiteRT file."""
  interpreter = Interpreter(path)
  interpreter.allocate_tensors()
  (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()

  def run(image_bhwc: np.ndarray) -> np.ndarray:
    interpreter.set_tensor(given["index"], image_bhwc.astype(given["dtype"]))
    interpreter.invoke()
    return interpreter.get_tensor(made["index"])

  return run


def main() -> int:
  """Embeds by both and compares."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("onnx", metavar="FACE.onnx")
  parser.add_argument("litert", metavar="FACE.tflite")
  parser.add_argument("faces", metavar="FACES", type=Path)
  parser.add_argument("--images", type=int, default=200, help="how many, spread over the folder (default: %(default)s)")
  options = parser.parse_args()
  paths = sorted(path for path in options.faces.rglob("*") if path.suffix.lower() in SUFFIXES)
  if not paths:
    parser.error(f"{options.faces}: no image")
  first, second = onnxruntime.InferenceSession(options.onnx, providers=["CPUExecutionProvider"]), litert(options.litert)
  units: list[list[np.ndarray]] = [[], []]
  for path in paths[:: max(1, len(paths) // options.images)][: options.images]:
    image_bhwc = np.asarray(Image.open(path).convert("RGB"))[None]
    for unit, found in zip(units, (first.run(None, {"image": image_bhwc})[0], second(image_bhwc)), strict=True):
      unit.append(found[0] / np.linalg.norm(found[0]))
  a_nd, b_nd = (np.stack(unit) for unit in units)
  cosine_n = (a_nd * b_nd).sum(1)
  score = np.abs(a_nd @ a_nd.T - b_nd @ b_nd.T).max()
  print(f"{len(a_nd)} images: cosine {cosine_n.min():.6f} at least, {cosine_n.mean():.6f} in the mean; scores differ by {score:.6f} at most")
  return 0


if __name__ == "__main__":
  sys.exit(main())
