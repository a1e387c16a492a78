"""One optimizer step of jaxface against the same step in PyTorch, taking turns in one run.

  python -m benchmarks.training [--nets NAME ...] [--dtypes NAME ...] [--batch N] [--rounds N] [--json FILE]

Both sides hold a fixed batch of uint8 images at 112 × 112 and do everything that a step does: normalise, forward, CosFace
over 5,000 identities, backward, SGD with momentum and weight decay. Augmentation is off. Ours is the step of
`jaxface train`, which also measures the length of the gradient and guards against non-finite ones. PyTorch runs the same
network channels last; its bfloat16 is autocast. There is no bar: this only measures.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import equal_malloc, has, interleave, machine, speedup
from benchmarks.page import Findings
from benchmarks.worker import Worker, cores

# Networks with the batch that a step of theirs takes here.
NETS = {"iresnet18": 32, "mobilefacenet": 128}
DTYPES = ("float32", "bfloat16")
CLASSES = 5000
SIZE = (112, 112, 3)
MARGIN, SCALE = 0.35, 64.0
LEARNING_RATE, MOMENTUM, DECAY = 0.01, 0.9, 5e-4

NOTES = [
  "Speed is images/s of jaxface over images/s of PyTorch, by rounds: the median, and the quartiles in brackets. The same"
  " by processor time beside it is the better guide when other programs took the cores.",
  "CPU convolutions are XLA's own or pure formulations; PyTorch's are oneDNN's. There is no bar here: a ratio below one"
  " says how far there is to go.",
  "Compilation is cold: tracing, lowering and compiling the whole step without a persistent cache.",
  "Temporaries are what the compiled step needs beyond its arguments and results; peak memory is the most that the"
  " process of one side ever held, libraries and compilation included.",
]


def batch_of(size: int) -> tuple[np.ndarray, np.ndarray]:
  """Images [B, H, W, 3] uint8 and labels [B]."""
  random = np.random.default_rng(0)
  return random.integers(0, 256, (size, *SIZE), np.uint8), random.integers(0, CLASSES, size)


def jaxface_step(net: str, dtype: str, batch_size: int) -> tuple[Callable[[], float], dict[str, Any]]:
  """Our step, compiled; it returns the loss."""
  import jax

  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_enable_compilation_cache", False)
  from jaxface.data.augment import AugmentConfig
  from jaxface.heads.classification import Classification
  from jaxface.losses.margins import CosFace
  from jaxface.models.config import ModelConfig
  from jaxface.models.preprocess import get_preprocess
  from jaxface.models.registry import create
  from jaxface.models.saved import count_parameters
  from jaxface.training.config import Experiment
  from jaxface.training.mesh import batch_sharding, make_mesh, state_sharding
  from jaxface.training.optimizer import OptimizerConfig
  from jaxface.training.schedule import ScheduleConfig
  from jaxface.training.step import TrainStep, compile_step

  experiment = Experiment(
    batch_size=batch_size,
    augment=AugmentConfig(mirror=0.0, shift=0, jitter=0.0),
    model=ModelConfig(name=net, dtype=dtype),
    terms=(Classification(margin=CosFace(m=MARGIN, scale=SCALE)),),
    optimizer=OptimizerConfig(learning_rate=LEARNING_RATE, momentum=MOMENTUM, weight_decay=DECAY),
    schedule=ScheduleConfig(name="constant"),
  )
  step = TrainStep(experiment, create(net, dtype=dtype), get_preprocess("unit"), CLASSES)
  mesh = make_mesh(experiment.mesh)
  key = jax.random.key(0)
  shardings = state_sharding(mesh, jax.eval_shape(step.init, key))
  state = jax.jit(step.init, out_shardings=shardings)(key)
  image, label = batch_of(batch_size)
  batch = jax.device_put(
    {
      "image": image,
      "label": label.astype(np.int32),
      "weight": np.ones(batch_size, np.float32),
      "position": np.arange(batch_size, dtype=np.uint32),
    },
    batch_sharding(mesh),
  )
  start = time.perf_counter()
  compiled = compile_step(step, shardings, batch_sharding(mesh)).lower(state, batch).compile()
  seconds = time.perf_counter() - start

  def run() -> float:
    nonlocal state
    state, metrics = jax.block_until_ready(compiled(state, batch))
    if int(metrics["bad_steps"]):
      raise AssertionError("a step was not finite and was skipped: what was timed is not training")
    return float(metrics["loss"])

  return run, {
    "parameters": count_parameters(state.params),
    "compile_seconds": seconds,
    "temporaries": compiled.memory_analysis().temp_size_in_bytes,
  }


def pytorch_step(net: str, dtype: str, batch_size: int) -> tuple[Callable[[], float], dict[str, Any]]:
  """PyTorch's step, eager; it returns the loss."""
  import torch

  from benchmarks.torch_nets import NETS as TORCH_NETS
  from benchmarks.torch_nets import CosFaceHead, count_parameters, normalise

  torch.set_num_threads(cores())
  torch.manual_seed(0)
  image, label = map(torch.from_numpy, batch_of(batch_size))
  model = TORCH_NETS[net]().to(memory_format=torch.channels_last).train()
  with torch.no_grad():
    embedding_size = model(normalise(image[:2])).shape[1]
  head = CosFaceHead(embedding_size, CLASSES, SCALE, MARGIN)
  params = [*model.parameters(), *head.parameters()]
  optimizer = torch.optim.SGD(
    [
      {"params": [p for p in params if p.ndim > 1], "weight_decay": DECAY},
      {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ],
    lr=LEARNING_RATE,
    momentum=MOMENTUM,
  )

  def run() -> float:
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
      loss = head(model(normalise(image)), label)
    loss.backward()
    optimizer.step()
    return loss.item()

  return run, {"parameters": count_parameters(model, head)}


def compare(net: str, dtype: str, batch_size: int, rounds: int) -> dict[str, Any]:
  """A row of the table: both sides in processes of their own, in turn."""
  sides = {"jaxface": Worker(jaxface_step, net, dtype, batch_size)}
  if has("torch"):
    sides["pytorch"] = Worker(pytorch_step, net, dtype, batch_size)
  counts = {name: side.facts["parameters"] for name, side in sides.items()}
  if len(set(counts.values())) > 1:
    raise AssertionError(f"{net}: the sides are not the same network: they have {counts} parameters")
  timing = interleave(sides, rounds=rounds, warmup=2)
  ours = sides["jaxface"].facts
  peak = {name: side.close() for name, side in sides.items()}
  row: dict[str, Any] = {"network": net, "type": dtype, "batch": batch_size, "parameters": counts["jaxface"]}
  row |= {f"{name} images/s": batch_size / float(np.median(timing.wall[name])) for name in sides}
  if "pytorch" in sides:
    middle, low, high = speedup(timing.wall, "jaxface", "pytorch")
    row["speed / pytorch"] = f"{middle:.2f} ({low:.2f}–{high:.2f})"
    row["by CPU time"] = f"{speedup(timing.cpu, 'jaxface', 'pytorch')[0]:.2f}"
  row |= {"compile s": ours["compile_seconds"], "temporaries MB": ours["temporaries"] / 1e6}
  return row | {f"{name} peak MB": peak[name] / 1e6 for name in sides}


def main() -> int:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS), help="default: all")
  parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES), help="default: both")
  parser.add_argument("--batch", type=int, help=f"images per step (default: {NETS})")
  parser.add_argument("--rounds", type=int, default=9, help="timed steps of each side (default: %(default)s)")
  parser.add_argument("--json", metavar="FILE", help="where the figures go as JSON too")
  options = parser.parse_args()
  # Ours as PyTorch's, whatever other devices there are.
  os.environ["JAX_PLATFORMS"] = "cpu"
  rows = []
  for net in options.nets:
    for dtype in options.dtypes:
      print(f"{net} {dtype} …", file=sys.stderr, flush=True)
      rows.append(compare(net, dtype, options.batch or NETS[net], options.rounds))
  facts = {"images": "112 × 112", "identities": CLASSES, "threads": cores(), "rounds": options.rounds}
  Findings("Training step", machine("jax", "jaxlib", "torch"), facts, rows, NOTES).publish(options.json)
  return 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
