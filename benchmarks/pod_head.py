"""The class centres' training step, compiled for a pod of TPUs that is not here: memory per chip, and what chips exchange.

  pip install libtpu==0.0.52
  python -m benchmarks.pod_head [--topology v5e:16x16] [--json FILE]

The step of `jaxface train` with a linear network of few inputs, CosFace and SGD with momentum, batch 8,192, embeddings of 512. The TPU
compiler runs on any machine and tells the memory of its program; nothing is timed. Exits with 1 if a chip would need more than it has,
if an array on a chip is larger than its part of the centres or than a part of the scores, or if the bytes exchanged differ from the formula.
"""

import math
import os
import sys
from typing import Any

from benchmarks.common import machine
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings

BATCH, SIZE = 8_192, 512
CHIP_BYTES = 16e9  # of a v5e
# Identities, and fields of the term.
CASES: list[tuple[int, dict[str, Any]]] = [
  (10_000_000, {"block": 2_048}),
  (10_000_000, {"sample_rate": 0.1}),
  (30_000_000, {"sample_rate": 0.1}),
  (100_000_000, {"sample_rate": 0.1}),
  (100_000_000, {"sample_rate": 0.1, "block": 2_048}),
  (100_000_000, {"sample_rate": 0.1, "block": 2_048, "center_dtype": "bfloat16"}),
]
FORMULA = "8·B·D + 36·B (40·B with sampled classes)"


def exchanged_by_formula(group: int) -> int:
  """Bytes of the arrays that a step exchanges for the centres: embeddings and their gradients, labels and numbers of each row.

  With one class of `group` sampled the labels are exchanged once more, since their classes are added to the sample.
  """
  return 8 * BATCH * SIZE + (36 if group == 1 else 40) * BATCH


def measure(classes: int, settings: dict[str, Any], mesh: Any) -> dict[str, Any]:
  """A row of the table.

  Raises:
    AssertionError: an array is too large, or the exchange is not as the formula says.
  """
  from benchmarks.head_settings import SIDE
  from benchmarks.head_step import head_step
  from jaxface.heads.columns import LARGEST_BLOCK
  from jaxface.heads.padding import padded_classes
  from jaxface.training.collectives import collectives, largest_shape

  compiled = head_step(classes, SIZE, BATCH, mesh, **settings).compiled()
  memory, text = compiled.memory_analysis(), compiled.as_text()
  group = round(1 / settings.get("sample_rate", 1.0))
  part = padded_classes(classes, group, mesh.size) // mesh.size
  # The linear network's gradient is not of the centres; single numbers are counts and norms.
  sent = [one for one in collectives(text) if one.shape and one.shape[-2:] not in ((3 * SIDE * SIDE, SIZE), (SIZE,))]
  total = sum(one.nbytes for one in sent)
  if total != exchanged_by_formula(group):
    raise AssertionError(f"{classes:,} identities: {total} bytes are exchanged, {FORMULA} is {exchanged_by_formula(group)}: {sent}")
  largest = largest_shape(text)
  # Stored scores are in whole blocks.
  scores = settings.get("block") or -(-part // group // LARGEST_BLOCK) * LARGEST_BLOCK
  if math.prod(largest) > max(part * SIZE, BATCH * scores):
    raise AssertionError(f"{classes:,} identities: an array has the shape {largest} on each chip")
  return {
    "identities": classes, "settings": ", ".join(f"{name} {value}" for name, value in settings.items()),
    "centres and momentum, GB per chip": memory.argument_size_in_bytes / 1e9,
    "temporaries, GB per chip": memory.temp_size_in_bytes / 1e9,
    "largest array on a chip": " × ".join(f"{n:,}" for n in largest), "exchanged for the centres, MB": total / 1e6,
  }


def main() -> int:
  """Compiles and prints."""
  parser = benchmark_parser(__doc__, 1, "not used, nothing is timed")
  parser.add_argument("--topology", default="v5e:16x16", help="chips to compile for (default: %(default)s)")
  options = parse_for_cpu(parser)
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  from jax.experimental import topologies

  from jaxface.training.config import MeshConfig
  from jaxface.training.mesh import make_mesh

  mesh = make_mesh(MeshConfig(), topologies.get_topology_desc(platform="tpu", topology_name=options.topology).devices)
  rows = []
  for classes, settings in CASES:
    announce(f"{classes:,} identities, {settings}")
    rows.append(measure(classes, settings, mesh))
  missed = [row for row in rows if row["centres and momentum, GB per chip"] + row["temporaries, GB per chip"] > CHIP_BYTES / 1e9]
  notes = [
    "Temporaries are the memory of the compiled step beside the state, which it updates in place.",
    "The largest array on a chip is its part of the centres, or the stored scores of the batch: none has batch × identities or"
    " identities × features.",
    f"Exchanged are the arrays of the compiled step's collectives, without the linear network's gradient: {FORMULA} bytes for a batch of B and"
    " embeddings of D, whatever the number of identities (the program stops where it is not so). A chip sends and receives about once"
    " these bytes, twice where the compiler makes an all-reduce of a gathering or scattering.",
    f"Bar: a chip of {CHIP_BYTES / 1e9:.0f} GB holds each: {'missed' if missed else 'met'}.",
  ]
  facts = {"topology": options.topology, "chips": mesh.size, "batch": BATCH, "features": SIZE}
  Findings("Class centres on a pod of TPUs", machine("jax", "jaxlib", "libtpu"), facts, rows, notes).publish(options.json)
  return 1 if missed else 0


if __name__ == "__main__":
  sys.exit(main())
