"""Compares the facts that must be equal on all processes of a run."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

import jaxface
from jaxface.layers.explain import convolution
from jaxface.models.own import loaded_files
from jaxface.training.hosts import gather, host_name
from jaxface.training.resume import generic

# Fields that may differ between processes: process number, coordinator address, reading options, and paths of data. The content of
# the data is compared, see `jaxface.training.resume.describe_data`.
OWN = frozenset({
  "mesh.coordinator", "mesh.process_id", "data.threads", "data.synthetic.remember", "data.records", "data.mixture", "data.images",
  "data.embeddings", "evaluation.N.images", "evaluation.N.records", "evaluation.N.pairs", "model.init_from",
})
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
SETTINGS = ("jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl", "jax_threefry_partitionable")
_SHOWN = 60


class HostsDiffer(ValueError):
  """The processes of a run differ; the message lists each field with its values and processes."""


def compare_hosts(what: str, facts: Mapping[str, Any]) -> None:
  """Raise on every process if the facts differ; a collective call.

  Args:
    what: description of the point, for messages.
    facts: JSON values by name.
  Raises:
    HostsDiffer: names all that differs.
    HostsApart: see `gather`.
  """
  text = json.dumps(dict(facts), sort_keys=True, default=str)
  digests = gather(what, hashlib.sha256(text.encode()).hexdigest())
  if len(set(digests)) == 1:
    return
  found = [json.loads(each) for each in gather(f"{what}: what differs", text)]
  raise HostsDiffer(
    f"the processes of the run differ ({what}):\n" + "\n".join(differences(found))
    + "\nUse the same command, code and data on all hosts"
  )


def differences(found: list[dict[str, Any]]) -> list[str]:
  """A line for each fact that differs between processes.

  Args:
    found: facts of the processes, by number.
  """
  lines = []
  for name, whose in by_value(found):
    if len(whose) > 1:
      shown = (f"{short(value)} on {', '.join(map(host_name, indices))}" for value, indices in whose.items())
      lines.append(f"  {name}: {'; '.join(shown)}")
  return lines


def by_value(found: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, dict[str, list[int]]]]:
  """For each fact its name, and the processes that have each of its values, as JSON or "absent".

  Args:
    found: facts of the processes, by number.
  """
  for name in dict.fromkeys(name for facts in found for name in facts):
    whose: dict[str, list[int]] = {}
    for index, facts in enumerate(found):
      whose.setdefault(json.dumps(facts[name]) if name in facts else "absent", []).append(index)
    yield name, whose


def short(value: str) -> str:
  """The JSON of a fact, a digest by its first digits."""
  if re.fullmatch(r'"[0-9a-f]{40,}"', value):
    return f"{value[1:13]}…"
  return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}… (sha256 {hashlib.sha256(value.encode()).hexdigest()[:8]})"


def run_facts(fields: Mapping[str, Any]) -> dict[str, Any]:
  """Facts about code and experiment.

  Args:
    fields: fields of the experiment by dotted name.
  Returns:
    JSON values by name.
  """
  return {
    **{name: value for name, value in fields.items() if generic(name) not in OWN},
    "jaxface": jaxface.__version__,
    "jaxface's sources": code_digest(),
    **{f"file {name}": sha256 for name, sha256 in sorted(loaded_files().items())},
    **{f"package {name}": _version(name) for name in PACKAGES},
    **{name: str(getattr(jax.config, name, "")) for name in SETTINGS},
    "devices": f"{jax.default_backend()}, {jax.local_devices()[0].device_kind}",
    "convolution": convolution(),
  }


def data_facts(data: Mapping[str, Any]) -> dict[str, Any]:
  """Facts about data, flattened.

  Args:
    data: result of `jaxface.training.resume.describe_data`.
  """
  flat: dict[str, Any] = {}

  def take(name: str, value: Any) -> None:
    if isinstance(value, Mapping):
      for key, inner in value.items():
        take(f"{name}, {key}" if name else str(key), inner)
    else:
      flat[name] = value

  take("", data)
  return flat


@cache
def code_digest() -> str:
  """SHA-256 in hex over the Python files of the package on disk."""
  total, root = hashlib.sha256(), Path(jaxface.__file__).parent
  for path in sorted(root.rglob("*.py")):
    body = path.read_bytes()
    total.update(f"{path.relative_to(root).as_posix()}:{len(body)}:".encode() + body)
  return total.hexdigest()


def _version(name: str) -> str:
  try:
    return version(name)
  except PackageNotFoundError:
    return "not installed"


__all__ = ["HostsDiffer", "by_value", "code_digest", "compare_hosts", "data_facts", "differences", "run_facts", "short"]
