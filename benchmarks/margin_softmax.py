"""Margin softmax over 100,000 classes, value and gradients, against PyTorch, both dense, alternating in one run.

  python -m benchmarks.margin_softmax [--classes N] [--margins NAME ...] [--rounds N] [--eager] [--json FILE]

Each side computes the mean loss of a batch and its gradients with respect to embeddings and class centres, which it
normalises, in float32. Ours is the term of `jaxface train`, including metrics and padding. PyTorch's side is the usual code:
`linear` of normalised tensors, the own class's cosine gathered, changed and scattered back in place, `cross_entropy`, eager
and with `torch.compile`. Exits with 1 if a bar was missed.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.against_torch import SPEED, compare, measure
from benchmarks.common import equal_malloc, machine
from benchmarks.matrix_peak import NOTE
from benchmarks.options import benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.torch_sides import torch_sides
from benchmarks.worker import cores

BATCH, SIZE = 128, 512
SCALE = 64.0
# Our name of the margin, and (m2, m3) of cos(θ + m2) − m3.
MARGINS = {"cosface": (0.0, 0.35), "arcface": (0.5, 0.0)}
# Of the speed; that of all tables is less.
GOAL = 1.3
# Tolerance for two orders of summing 512 products and 100,000 exponentials.
TOLERANCE = 1e-3


def arrays(classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Embeddings [B, D], centres [C, D] and labels [B], the same on both sides."""
  random = np.random.default_rng(0)
  center = 0.01 * random.standard_normal((classes, SIZE), np.float32)
  label = random.integers(0, classes, BATCH)
  # Directions close to their centres, as in training; lengths as from a network.
  embedding = 20.0 * center[label] + 0.5 * random.standard_normal((BATCH, SIZE), np.float32)
  return embedding, center, label


def jaxface_head(margin: str, classes: int) -> tuple[Callable[[], bool], dict[str, Any]]:
  """Our term, compiled."""
  import jax

  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_enable_compilation_cache", False)
  import jax.numpy as jnp

  from jaxface.heads.classification import Classification
  from jaxface.losses.margins import ArcFace, CosFace

  m2, m3 = MARGINS[margin]
  term = Classification(CosFace(m=m3, scale=SCALE) if margin == "cosface" else ArcFace(m=m2, scale=SCALE))
  embedding, center, label = arrays(classes)
  rest = {"label_b": jnp.asarray(label, jnp.int32), "weight_b": jnp.ones(BATCH)}

  def loss(params, embedding_bd, rest):
    loss_b, _, metrics = term(params, {"embedding_bd": embedding_bd, **rest}, state={}, step=0, key=None)
    return loss_b.sum() / rest["weight_b"].sum(), metrics

  arguments = ({"center_cd": jnp.asarray(center)}, jnp.asarray(embedding), rest)
  compiled = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True)).lower(*arguments).compile()

  def run() -> tuple:
    (value, _), (params_bar, embedding_bar) = jax.block_until_ready(compiled(*arguments))
    return value, embedding_bar, params_bar["center_cd"]

  figures = [float(np.linalg.norm(part)) for part in run()]
  return lambda: bool(run()), {"figures": figures, "temporaries": compiled.memory_analysis().temp_size_in_bytes}


def pytorch_head(margin: str, classes: int, compiled: bool = False) -> tuple[Callable[[], bool], dict[str, Any]]:
  """PyTorch's code, eager unless `compiled`."""
  import torch
  from torch.nn.functional import cross_entropy, linear, normalize

  torch.set_num_threads(cores())
  m2, m3 = MARGINS[margin]
  embedding, center, label = map(torch.from_numpy, arrays(classes))
  embedding.requires_grad_()
  center.requires_grad_()
  rows = torch.arange(BATCH)

  def loss_of(embedding: torch.Tensor, center: torch.Tensor) -> torch.Tensor:
    cosine = linear(normalize(embedding), normalize(center))
    own = cosine[rows, label]
    if m2:
      turned = own * math.cos(m2) - torch.sqrt(1.0 - own**2) * math.sin(m2)
      own = torch.where(own > math.cos(math.pi - m2), turned, own - m2 * math.sin(m2))
    cosine[rows, label] = own - m3
    return cross_entropy(cosine.mul_(SCALE), label)

  if compiled:
    loss_of = torch.compile(loss_of, dynamic=False)

  def run() -> tuple:
    embedding.grad = center.grad = None
    loss = loss_of(embedding, center)
    loss.backward()
    return loss.detach(), embedding.grad, center.grad

  figures = [float(torch.linalg.norm(part)) for part in run()]
  return lambda: bool(run()), {"figures": figures}


def row_of(margin: str, classes: int, rounds: int, peers: list[str]) -> tuple[dict[str, Any], list[str]]:
  """A row of the table and what it missed."""
  return compare(
    margin, {"margin": margin}, jaxface_head, pytorch_head, (margin, classes), fact="figures", tolerance=TOLERANCE,
    differ=f"{margin}: loss and norms of the gradients differ", rounds=rounds, peers=peers,
    flops=6 * BATCH * classes * SIZE,
  )


def main() -> int:
  """Measures and prints."""
  parser = benchmark_parser(__doc__, 11, "timed calls of each side", eager=True)
  parser.add_argument("--classes", type=int, default=100_000, help="default: %(default)s")
  parser.add_argument("--margins", nargs="+", choices=list(MARGINS), default=list(MARGINS), help="default: all")
  options = parse_for_cpu(parser)
  peers = torch_sides(options.eager)
  rows, missed, verdict = measure(options.margins, lambda margin: row_of(margin, options.classes, options.rounds, peers), peers=peers)
  notes = [
    SPEED,
    NOTE,
    "Loss and norms of both gradients are compared between the sides before timing. Temporaries are the memory of our compiled"
    " step without arguments and results; peak memory is the maximum of a side's process.",
    f"{verdict} Own goal: {GOAL} ×.",
  ]
  facts = {
    "classes": options.classes, "batch": BATCH, "features": SIZE, "threads": cores(), "rounds": options.rounds,
  }
  Findings("Margin softmax", machine("jax", "jaxlib", "torch"), facts, rows, notes).publish(options.json)
  return 1 if missed else 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
