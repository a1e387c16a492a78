"""The process that compiles a step: `python -m jaxface.planning.worker REQUEST RESULT`, both JSON files. Prints its stages."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxface.planning.abstract_step import abstract_step
from jaxface.planning.compiled import Request
from jaxface.planning.topology import Topology, parse_topology
from jaxface.training.config import Experiment, load_experiment


def devices_of(topology: Topology) -> Sequence[Any]:
  """Devices to compile for: forced ones of this process, or a TPU's that are not here.

  Raises:
    ValueError: the topology cannot be built.
  """
  if topology.platform == "cpu":
    import jax

    return jax.devices("cpu")[: topology.count]
  from jax.experimental import topologies

  # Both cores of a v4 are one device, as in a run.
  more = {"chip_config_name": "megacore"} if topology.chip.name == "v4" else {}
  try:
    return topologies.get_topology_desc(platform="tpu", topology_name=topology.name, **more).devices
  except Exception as error:
    text = str(error).strip().splitlines() or [repr(error)]
    raise ValueError(f"topology {topology.name!r} cannot be built: {text[0][:400]}") from None


def facts_of(
  experiment: Experiment, identities: int, devices: Sequence[Any], stage: Callable[[str], object] = lambda text: None
) -> dict[str, Any]:
  """Compiles the step; fields of `Compiled` that the compiler gives.

  Args:
    experiment: the run.
    identities: of the training set.
    devices: to compile for.
    stage: called at each stage.
  """
  stage("tracing the step")
  step = abstract_step(experiment, identities, devices)
  traced = step.jitted().trace(step.state, step.batch)
  stage("lowering it")
  lowered = traced.lower()
  stage("compiling it, which takes minutes for a large network")
  compiled = lowered.compile()
  memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
  return {
    "arguments": memory.argument_size_in_bytes, "temporaries": memory.temp_size_in_bytes,
    "results": memory.output_size_in_bytes - memory.alias_size_in_bytes, "code": memory.generated_code_size_in_bytes,
    "reported_flops": float(cost.get("flops", 0)), "reported_bytes": float(cost.get("bytes accessed", 0)),
    "text": compiled.as_text(),
  }


def main() -> int:
  """Reads, compiles, writes."""
  source, target = map(Path, sys.argv[1:])
  request = Request(**json.loads(source.read_text(encoding="utf-8")))
  if request.network:
    from jaxface.models.own import load_networks

    load_networks(request.network)
  experiment = load_experiment(request.experiment, small=request.small)[0].with_overrides(request.overrides or {})
  facts = facts_of(
    experiment, request.identities, devices_of(parse_topology(request.topology)), lambda text: print(text, flush=True)
  )
  target.write_text(json.dumps(facts), encoding="utf-8")
  return 0


if __name__ == "__main__":
  sys.exit(main())
