"""Exports a model to one file for other programs, in one call."""

from pathlib import Path

from jaxface.inference.model import Model, load
from jaxface.interop.onnx_export import export_onnx
from jaxface.interop.state_dict import export_state_dict
from jaxface.losses.ranges import check_name

FORMATS = ("onnx", "safetensors")


def export_model(
  model: Model | str | Path, out: str | Path, *, format: str = "", normalize: bool = False, mirror: str = "none"
) -> Path:
  """Writes a model as one file, checked against the model before it appears.

  Args:
    model: a `Model`, or the path of a model folder or of the workdir of a run.
    out: file to write.
    format: "onnx" with the preprocessing inside, for images [B, H, W, 3] of any B, H and W; "safetensors" for weights
      only, under the names of the PyTorch network if there is one; "" follows the suffix of `out`, otherwise "onnx".
    normalize: scale each embedding to length one inside the graph (onnx).
    mirror: use of the mirrored image's embedding inside the graph, "sum", "concat" or "none" (onnx).
  Returns:
    `out`, as a path.
  Raises:
    ValueError: an unknown format or mirror, or an option that the format does not support.
    ParityError: the embeddings of the graph differ from the model's; nothing is written.
    FileNotFoundError: there is no model.
  """
  out = Path(out)
  kind = format or ("safetensors" if out.suffix == ".safetensors" else "onnx")
  check_name("format", kind, FORMATS)
  if kind != "onnx" and (normalize or mirror != "none"):
    raise ValueError(f"normalize and mirror are part of a graph: leave them out, or take format onnx, not {kind}")
  saved = (model if isinstance(model, Model) else load(model)).saved
  if kind == "onnx":
    export_onnx(saved, out, normalize=normalize, mirror=mirror)
  else:
    export_state_dict(saved, out)
  return out


__all__ = ["FORMATS", "export_model"]
