"""Embedding with jaxface, PyTorch and ONNX Runtime, alternating in one run.

  python -m benchmarks.embedding [--nets NAME ...] [--batch N] [--rounds N] [--eager] [--json FILE]

All sides compute float32 embeddings of the same batch of uint8 images at 112 × 112, including preprocessing, without the
mirror image: ours under `jit`, PyTorch in eval and inference mode with channels last, eagerly and through `torch.compile`,
ONNX Runtime on the file that `jaxface export` writes of our network. Exits with 1 if the bar was missed against the faster
of PyTorch's sides; `--eager` skips `torch.compile`.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Speedup, equal_malloc, has, interleave, machine, speedup
from benchmarks.matrix_peak import NOTE, PRODUCT, product_side, share_cells
from benchmarks.nets import NETS, images, multiply_adds, same_parameters
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.torch_sides import COMPILED, missed_by, torch_sides, verdict, verdict_cells
from benchmarks.worker import Worker, cores

# Batches per network, so that a round has a suitable duration.
CALLS = {"iresnet18": 2, "iresnet50": 1, "mobilefacenet": 8}
# Desired images/s relative to ONNX Runtime.
ONNX_GOAL = 1.0

NOTES = [
  NOTE,
  "Speed is images/s of jaxface divided by images/s of the peer, per round: median, and quartiles in brackets.",
  "Norms after convolutions are folded into them in the ONNX file, and with oneDNN in jaxface; PyTorch computes them.",
]


def repeated(net: str, embed: Callable[[], Any]) -> Callable[[], None]:
  """The batches of a round."""

  def run() -> None:
    for _ in range(CALLS[net]):
      embed()

  return run


def network(net: str) -> tuple[Any, int]:
  """Our network with fixed initial parameters, and their number."""
  import jax

  jax.config.update("jax_platforms", "cpu")

  from jaxface.models.preprocess import get_preprocess
  from jaxface.models.registry import create
  from jaxface.models.saved import SavedModel, count_parameters

  model, options, side, _ = NETS[net]
  variables = jax.jit(create(model, **options).init, static_argnames="train")(
    jax.random.key(0), np.zeros((1, side, side, 3), np.float32), train=False
  )
  return SavedModel(model, options, get_preprocess("unit"), variables), count_parameters(variables["params"])


def export(net: str, file: str) -> tuple[Callable[[], None], dict[str, Any]]:
  """Writes our network as ONNX; the export compares both before the file appears."""
  from jaxface.interop.onnx_export import export_onnx

  export_onnx(network(net)[0], file)
  return (lambda: None), {}


def jaxface_embed(net: str, batch_size: int) -> tuple[Callable[[], None], dict[str, Any]]:
  """Ours."""
  import jax

  from jaxface.layers.formulation import current_formulation

  saved, parameters = network(net)
  embed = jax.jit(saved.embed)
  image = jax.device_put(images(NETS[net].side, batch_size))
  facts = {"formulation": current_formulation(), "parameters": parameters}
  return repeated(net, lambda: embed(saved.variables, image).block_until_ready()), facts


def pytorch_embed(net: str, batch_size: int, compiled: bool) -> tuple[Callable[[], None], dict[str, Any]]:
  """PyTorch's embedding, eager unless `compiled`."""
  import torch

  from benchmarks.torch_nets import build, count_parameters, normalise

  torch.set_num_threads(cores())
  # Flush denormals, as XLA does on its threads.
  torch.set_flush_denormal(True)
  model = build(NETS[net]).to(memory_format=torch.channels_last).eval()
  image = torch.from_numpy(images(NETS[net].side, batch_size))

  def forward(image: torch.Tensor) -> torch.Tensor:
    return model(normalise(image))

  if compiled:
    forward = torch.compile(forward, dynamic=False)

  @torch.inference_mode()
  def embed() -> torch.Tensor:
    return forward(image)

  embed()
  return repeated(net, embed), {"parameters": count_parameters(model)}


def onnxruntime_embed(net: str, file: str, batch_size: int) -> tuple[Callable[[], None], dict[str, Any]]:
  """ONNX Runtime's embedding."""
  import onnxruntime

  settings = onnxruntime.SessionOptions()
  settings.intra_op_num_threads = cores()
  session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
  image = images(NETS[net].side, batch_size)
  return repeated(net, lambda: session.run(None, {"image": image})), {}


def compare(
  net: str, batch_size: int, rounds: int, torch_peers: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Speedup], list[str]]:
  """A row of the table, the speed against each peer, and what the row missed: every side in its own process, alternating."""
  with tempfile.TemporaryDirectory() as folder:
    sides = {"jaxface": Worker(jaxface_embed, net, batch_size)}
    sides |= {peer: Worker(pytorch_embed, net, batch_size, peer == COMPILED) for peer in torch_peers}
    if has("onnxruntime") and has("onnx"):
      file = str(Path(folder, f"{net}.onnx"))
      # In its own process, so that memory of the export is not counted.
      Worker(export, net, file).close()
      sides["onnxruntime"] = Worker(onnxruntime_embed, net, file, batch_size)
    counts = {name: side.facts["parameters"] for name, side in sides.items() if "parameters" in side.facts}
    parameters = same_parameters(net, counts)
    product = Worker(product_side, "float32")
    timing = interleave({**sides, PRODUCT: product}, rounds=rounds)
    product.close()
    ours = sides["jaxface"].facts
    peak = {name: side.close() for name, side in sides.items()}
  row: dict[str, Any] = {"network": net, "batch": batch_size, "parameters": parameters}
  row |= {f"{name} images/s": CALLS[net] * batch_size / float(np.median(timing.wall[name])) for name in sides}
  speed, by_cpu = ({peer: speedup(seconds, "jaxface", peer) for peer in sides if peer != "jaxface"} for seconds in (timing.wall, timing.cpu))
  row |= verdict_cells(speed, by_cpu, peak)
  if "onnxruntime" in speed:
    row |= {"speed / onnxruntime": str(speed["onnxruntime"]), "by CPU time / onnxruntime": f"{by_cpu['onnxruntime'].middle:.2f}"}
  row |= share_cells(2 * CALLS[net] * batch_size * multiply_adds(NETS[net]), timing.wall, product.facts["flops"], list(sides))
  row["convolutions"] = ours["formulation"]
  row |= {f"{name} peak MB": peak[name] / 1e6 for name in sides}
  return row, speed, missed_by(net, speed, peak)


def main() -> int:
  """Measures and prints; exits with 1 if a bar is missed."""
  parser = benchmark_parser(__doc__, 11, f"of so many batches: {CALLS}", eager=True)
  parser.add_argument("--nets", nargs="+", choices=list(CALLS), default=list(CALLS), help="default: all")
  parser.add_argument("--batch", type=int, default=32, help="images at a time (default: %(default)s)")
  options = parse_for_cpu(parser)
  peers = torch_sides(options.eager)
  rows, missed, slower = [], [], []
  for net in options.nets:
    announce(net)
    row, speed, wrong = compare(net, options.batch, options.rounds, peers)
    rows.append(row)
    missed += wrong
    if "onnxruntime" in speed and speed["onnxruntime"].middle < ONNX_GOAL:
      slower.append(net)
  goal = f"Goal: ≥ {ONNX_GOAL} ONNX Runtime" + (f", not reached by {', '.join(slower)}" if slower else "")
  notes = [*NOTES, f"{verdict(missed, peers)} {goal}."]
  facts = {"type": "float32", "threads": cores(), "rounds": options.rounds}
  Findings("Embedding", machine("jax", "jaxlib", "torch", "onnxruntime"), facts, rows, notes).publish(options.json)
  return 1 if missed else 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
