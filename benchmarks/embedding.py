"""Embedding of jaxface against PyTorch and ONNX Runtime, taking turns in one run.

  python -m benchmarks.embedding [--nets NAME ...] [--batch N] [--rounds N] [--json FILE]

All sides turn the same batch of uint8 images at 112 × 112 into embeddings in float32, preprocessing included, without the
mirror image: ours under `jit`, PyTorch in eval and inference mode with channels last, ONNX Runtime on the file that
`jaxface export` writes of our network. There is no bar: this only measures.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import equal_malloc, has, interleave, machine, speedup
from benchmarks.page import Findings
from benchmarks.worker import Worker, cores

NETS = ("iresnet18", "mobilefacenet")
SIZE = (112, 112, 3)
CALLS = 4

NOTES = [
  "Speed is images/s of jaxface over images/s of the peer, by rounds: the median, and the quartiles in brackets.",
  "ONNX Runtime's file has its batch norms folded into the convolutions; ours and PyTorch's compute them.",
  "CPU convolutions are XLA's own or pure formulations; PyTorch's are oneDNN's, ONNX Runtime has its own. There is no"
  " bar here.",
]


def batch_of(size: int) -> np.ndarray:
  """Images [B, H, W, 3] uint8."""
  return np.random.default_rng(0).integers(0, 256, (size, *SIZE), np.uint8)


def repeated(embed: Callable[[], Any]) -> Callable[[], None]:
  """`CALLS` batches, so that a round is long enough to be timed."""

  def run() -> None:
    for _ in range(CALLS):
      embed()

  return run


def network(net: str) -> tuple[Any, int]:
  """Our network with fresh parameters, always the same, and how many there are."""
  import jax

  from jaxface.models.preprocess import get_preprocess
  from jaxface.models.registry import create
  from jaxface.models.saved import SavedModel, count_parameters

  variables = jax.jit(create(net).init, static_argnames="train")(
    jax.random.key(0), np.zeros((1, *SIZE), np.float32), train=False
  )
  return SavedModel(net, {}, get_preprocess("unit"), variables), count_parameters(variables["params"])


def export(net: str, file: str) -> tuple[Callable[[], None], dict[str, Any]]:
  """Writes our network as ONNX; the export compares both before the file appears."""
  from jaxface.interop.onnx_export import export_onnx

  export_onnx(network(net)[0], file)
  return (lambda: None), {}


def jaxface_embed(net: str, batch_size: int) -> tuple[Callable[[], None], dict[str, Any]]:
  """Ours."""
  import jax

  saved, parameters = network(net)
  embed = jax.jit(saved.embed)
  image = jax.device_put(batch_of(batch_size))
  return repeated(lambda: embed(saved.variables, image).block_until_ready()), {"parameters": parameters}


def pytorch_embed(net: str, batch_size: int) -> tuple[Callable[[], None], dict[str, Any]]:
  """PyTorch's."""
  import torch

  from benchmarks.torch_nets import NETS as TORCH_NETS
  from benchmarks.torch_nets import count_parameters, normalise

  torch.set_num_threads(cores())
  model = TORCH_NETS[net]().to(memory_format=torch.channels_last).eval()
  image = torch.from_numpy(batch_of(batch_size))

  @torch.inference_mode()
  def embed() -> torch.Tensor:
    return model(normalise(image))

  return repeated(embed), {"parameters": count_parameters(model)}


def onnxruntime_embed(file: str, batch_size: int) -> tuple[Callable[[], None], dict[str, Any]]:
  """ONNX Runtime's."""
  import onnxruntime

  settings = onnxruntime.SessionOptions()
  settings.intra_op_num_threads = cores()
  session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
  image = batch_of(batch_size)
  return repeated(lambda: session.run(None, {"image": image})), {}


def compare(net: str, batch_size: int, rounds: int) -> dict[str, Any]:
  """A row of the table: every side in a process of its own, in turn."""
  with tempfile.TemporaryDirectory() as folder:
    sides = {"jaxface": Worker(jaxface_embed, net, batch_size)}
    if has("torch"):
      sides["pytorch"] = Worker(pytorch_embed, net, batch_size)
    if has("onnxruntime") and has("onnx"):
      file = str(Path(folder, f"{net}.onnx"))
      # In a process of its own: what the export needs is no part of embedding.
      Worker(export, net, file).close()
      sides["onnxruntime"] = Worker(onnxruntime_embed, file, batch_size)
    counts = {name: side.facts["parameters"] for name, side in sides.items() if "parameters" in side.facts}
    if len(set(counts.values())) > 1:
      raise AssertionError(f"{net}: the sides are not the same network: they have {counts} parameters")
    timing = interleave(sides, rounds=rounds)
    peak = {name: side.close() for name, side in sides.items()}
  images = CALLS * batch_size
  row: dict[str, Any] = {"network": net, "batch": batch_size, "parameters": counts["jaxface"]}
  row |= {f"{name} images/s": images / float(np.median(timing.wall[name])) for name in sides}
  for peer in [name for name in sides if name != "jaxface"]:
    middle, low, high = speedup(timing.wall, "jaxface", peer)
    row[f"speed / {peer}"] = f"{middle:.2f} ({low:.2f}–{high:.2f})"
    row[f"by CPU time / {peer}"] = f"{speedup(timing.cpu, 'jaxface', peer)[0]:.2f}"
  return row | {f"{name} peak MB": peak[name] / 1e6 for name in sides}


def main() -> int:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS), help="default: all")
  parser.add_argument("--batch", type=int, default=32, help="images at a time (default: %(default)s)")
  parser.add_argument("--rounds", type=int, default=15, help=f"of {CALLS} batches (default: %(default)s)")
  parser.add_argument("--json", metavar="FILE", help="where the figures go as JSON too")
  options = parser.parse_args()
  # Ours as the others, whatever other devices there are.
  os.environ["JAX_PLATFORMS"] = "cpu"
  rows = []
  for net in options.nets:
    print(f"{net} …", file=sys.stderr, flush=True)
    rows.append(compare(net, options.batch, options.rounds))
  facts = {"images": "112 × 112", "type": "float32", "threads": cores(), "rounds": options.rounds}
  versions = machine("jax", "jaxlib", "torch", "onnxruntime")
  Findings("Embedding", versions, facts, rows, NOTES).publish(options.json)
  return 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
