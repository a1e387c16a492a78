"""Exports a model to one file for other programs, in one call."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxface.data.source import Source
from jaxface.inference.calibrate import evenly_spaced
from jaxface.inference.embed import check_template
from jaxface.inference.model import Model, load
from jaxface.inference.sources import open_faces
from jaxface.interop.onnx_export import export_onnx
from jaxface.interop.onnx_precision import check_precision
from jaxface.interop.stablehlo import export_stablehlo
from jaxface.interop.state_dict import export_state_dict
from jaxface.losses.ranges import check_name
from jaxface.models.saved import SavedModel

_log = logging.getLogger(__name__)

FORMATS = ("onnx", "safetensors", "stablehlo")
CALIBRATION_IMAGES = 512  # for int8


def export_model(
  model: Model | str | Path,
  out: str | Path,
  *,
  format: str = "",
  normalize: bool = False,
  mirror: str = "none",
  precision: str = "float32",
  calibrate: Path | str | Source | None = None,
  say: Callable[[str], object] = _log.info,
) -> Path:
  """Writes a model as one file, checked against the model before it appears.

  Args:
    model: a `Model`, or the path of a model folder or of the workdir of a run.
    out: file to write.
    format: "onnx" with the preprocessing inside, for images [B, H, W, 3] of any B, H and W; "safetensors" for weights
      only, under the names of the PyTorch network if there is one; "stablehlo" with the preprocessing inside, run by JAX alone
      through `jax.export.deserialize`; "" follows the suffix of `out`, otherwise "onnx".
    normalize: scale each embedding to length one inside the graph (onnx, stablehlo).
    mirror: use of the mirrored image's embedding inside the graph, "sum", "concat" or "none" (onnx, stablehlo).
    precision: "float32", "float16" or "int8" (onnx).
    calibrate: aligned faces for int8, a folder or packed records, of which up to 512 are used.
    say: called with each line for the user: on what was compared, on alignment, and on files that are skipped.
  Returns:
    `out`, as a path.
  Raises:
    ValueError: an unknown format, mirror or precision, int8 without faces, or an option that the format does not support.
    ParityError: the embeddings of the graph differ from the model's; nothing is written.
    FileNotFoundError: there is no model.
  """
  out = Path(out)
  kind = format or {".safetensors": "safetensors", ".stablehlo": "stablehlo"}.get(out.suffix, "onnx")
  check_name("format", kind, FORMATS)
  check_precision(precision, calibrate is not None)
  if kind == "safetensors" and (normalize or mirror != "none"):
    raise ValueError("normalize and mirror are part of a graph: leave them out, or take format onnx or stablehlo, not safetensors")
  if kind != "onnx" and precision != "float32":
    raise ValueError(f"precision {precision} is a form of format onnx, not of {kind}")
  saved = (model if isinstance(model, Model) else load(model)).saved
  if kind == "safetensors":
    export_state_dict(saved, out)
  elif kind == "stablehlo":
    difference = export_stablehlo(saved, out, normalize=normalize, mirror=mirror)
    say(f"embeddings differ from the model's by at most {difference:.1g}; metadata are in {out}.json")
  else:
    batches = None if calibrate is None else _batches(saved, calibrate, say)
    done = export_onnx(saved, out, normalize=normalize, mirror=mirror, precision=precision, calibration=batches)
    if done.cosine is not None:
      say(f"mean cosine of its embeddings with the model's: {done.cosine:.4f}")
  return out


def _batches(saved: SavedModel, faces: Path | str | Source, say: Callable[[str], object]) -> list[np.ndarray]:
  """Evenly spaced faces to calibrate on."""
  source = open_faces(faces, saved.preprocess)
  for line in (*check_template(source.template, saved.preprocess.template), *getattr(source, "notes", ())):
    say(line)
  return list(evenly_spaced(source, CALIBRATION_IMAGES, say))


__all__ = ["FORMATS", "export_model"]
