"""Compiles a training step for other devices in a process of its own, and keeps what it found.

The process has the number of CPU devices, or the compiler of TPUs, that the topology needs; this one stays as it is.
"""

import gzip
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jaxface
from jaxface.formats.atomic import atomic_file
from jaxface.formats.checked_json import read_checked_json, write_checked_json
from jaxface.formats.errors import DamagedData
from jaxface.formats.kept_index import cache_folder as user_cache
from jaxface.models.own import loaded_files
from jaxface.planning.topology import Topology
from jaxface.training.config import Experiment
from jaxface.training.resolve import describe

VERSIONS = ("jax", "jaxlib", "libtpu", "flax", "optax", "numpy")
# Packages of jaxface that have no part in a training step.
_ELSEWHERE = {
  "alignment", "commands", "detection", "evaluation", "formats", "gallery", "inference", "interop", "pipeline", "planning", "testing",
  "verifiers",
}
_TOO_LARGE = re.compile(r"Used ([\d.]+)([KMGT]?) of [\d.]+[KMGT]? hbm|\(([\d.]+)([KMGT]?)\) exceeds available HBM")


class CannotCompile(ValueError):
  """A step that cannot be compiled for a topology; the message says why."""


@dataclass(frozen=True)
class Request:
  """What is to be compiled.

  Attributes:
    experiment: name or path.
    identities: of the training set.
    topology: name, see `parse_topology`.
    small: the experiment's small form.
    overrides: fields by dotted name, as text.
    network: Python file of own networks; "" for none.
  """

  experiment: str
  identities: int
  topology: str
  small: bool = False
  overrides: Mapping[str, str] | None = None
  network: str = ""


@dataclass(frozen=True)
class Compiled:
  """What the compiler says of a step. Bytes are of each device.

  Attributes:
    arguments: bytes of state and batch.
    temporaries: bytes beside them.
    results: bytes of results that are not in place.
    code: bytes of the program.
    reported_flops: operations by the compiler's own count, which counts bodies of loops once.
    reported_bytes: bytes by its own count, with prefetches and buffers on the chip.
    seconds: time to trace, lower and compile.
    versions: of the packages, by name.
    refused: bytes that the program would need at least, where the compiler refused it as too large; other figures are then 0.
    text: the compiled program.
  """

  arguments: int = 0
  temporaries: int = 0
  results: int = 0
  code: int = 0
  reported_flops: float = 0.0
  reported_bytes: float = 0.0
  seconds: float = 0.0
  versions: Mapping[str, str] | None = None
  refused: int = 0
  text: str = ""

  @property
  def memory(self) -> int:
    """Bytes that a device needs for the step."""
    return self.refused or self.arguments + self.temporaries + self.results + self.code


def compile_for(
  request: Request, experiment: Experiment, topology: Topology, *, say: Callable[[str], object] = print, cache: Path | None = None,
  only_kept: bool = False,
) -> Compiled | None:
  """The compiled step, from earlier if it was compiled before.

  Args:
    request: what to compile.
    experiment: the experiment of the request, resolved.
    topology: of the request.
    say: called with lines of progress.
    cache: folder that keeps results; None for `cache_folder`.
    only_kept: compile nothing: None if no result is kept.
  Raises:
    CannotCompile: the topology has no compiler here, or the compiler refused for another reason than memory.
  """
  folder = cache_folder() if cache is None else cache
  file = folder / f"{request_key(request, experiment)}.json"
  if kept := _read(file):
    return kept
  if only_kept:
    return None
  check_compiler(topology)
  found = _in_process(request, topology, say)
  folder.mkdir(parents=True, exist_ok=True)
  with atomic_file(file.with_suffix(".txt.gz")) as stream:
    stream.write(gzip.compress(found.text.encode(), mtime=0))
  write_checked_json(file, {**asdict(found), "text": ""})
  return found


def check_compiler(topology: Topology) -> None:
  """Raises `CannotCompile` where there is no compiler for the topology."""
  if topology.platform == "gpu":
    raise CannotCompile(f"{topology.name}: programs for GPUs are compiled on GPUs only; the plan is an estimate")
  if topology.platform == "tpu" and importlib.util.find_spec("libtpu") is None:
    raise CannotCompile(
      f"{topology.name}: the compiler of TPUs is not installed: pip install 'jaxface[plan]' (pip install 'jax[tpu]' takes the version of libtpu"
      " that fits this jax); --estimate plans without it"
    )


def cache_folder() -> Path:
  """Where results are kept: jaxface/plans in XDG_CACHE_HOME, or in ~/.cache."""
  return user_cache() / "plans"


def request_key(request: Request, experiment: Experiment) -> str:
  """SHA-256 over all that the compiled program depends on: experiment, identities, topology, versions and code."""
  facts = {
    "experiment": describe(experiment), "identities": request.identities, "topology": request.topology, "versions": versions(),
    "files": loaded_files(), "code": step_digest(), "flags": [os.environ.get(name, "") for name in ("LIBTPU_INIT_ARGS", "JAXFACE_CPU_CONV")],
  }
  return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def step_digest() -> str:
  """SHA-256 over the files of jaxface that can change a training step."""
  total, root = hashlib.sha256(), Path(jaxface.__file__).parent
  for path in sorted(root.rglob("*.py")):
    name = path.relative_to(root).as_posix()
    if name.split("/")[0] not in _ELSEWHERE:
      total.update(name.encode() + path.read_bytes())
  return total.hexdigest()


def versions() -> dict[str, str]:
  """Versions of the packages that make a program."""

  def one(name: str) -> str:
    try:
      return version(name)
    except PackageNotFoundError:
      return "absent"

  return {name: one(name) for name in VERSIONS}


def _read(file: Path) -> Compiled | None:
  try:
    plain = read_checked_json(file)
    return Compiled(**{**plain, "text": gzip.decompress(file.with_suffix(".txt.gz").read_bytes()).decode()})
  except (OSError, EOFError, DamagedData, TypeError):
    return None  # absent or damaged: it is compiled again


def _in_process(request: Request, topology: Topology, say: Callable[[str], object]) -> Compiled:
  start = time.monotonic()
  with tempfile.TemporaryDirectory() as folder:
    given, result, errors = (Path(folder, name) for name in ("request.json", "result.json", "errors.txt"))
    given.write_text(json.dumps(asdict(request)), encoding="utf-8")
    command = [sys.executable, "-m", "jaxface.planning.worker", str(given), str(result)]
    with errors.open("wb") as stream:
      process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream, env=_environment(topology), text=True)
      try:
        assert process.stdout
        for line in process.stdout:
          say(f"{time.monotonic() - start:5.0f} s  {line.strip()}")
        code = process.wait()
      finally:
        if process.poll() is None:
          process.kill()
          process.wait()
    if code or not result.is_file():
      said = errors.read_text(encoding="utf-8", errors="replace")
      refused = _needed(said)
      if refused:
        return Compiled(refused=refused, seconds=time.monotonic() - start, versions=versions())
      last = [line for line in said.splitlines() if line.strip()][-1:] or [f"exit code {code}"]
      raise CannotCompile(f"{topology.name}: the step cannot be compiled: {last[0][:600]}")
    plain = json.loads(result.read_text(encoding="utf-8"))
  return Compiled(**plain, seconds=time.monotonic() - start, versions=versions())


def _environment(topology: Topology) -> dict[str, str]:
  flags = re.sub(r"--xla_force_host_platform_device_count=\S+", "", os.environ.get("XLA_FLAGS", ""))
  count = topology.count if topology.platform == "cpu" else 1
  # libtpu otherwise asks for the metadata of a cloud machine, and lets one process at a time use it, as for real chips.
  return {
    **os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={count}".strip(),
    "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "JAX_ENABLE_COMPILATION_CACHE": "false",
  }


def _needed(text: str) -> int:
  """Bytes that a refused program would use, of the compiler's message; 0 if that is not why."""
  match = _TOO_LARGE.search(text)
  return int(float(match[1] or match[3]) * 1024 ** " KMGT".index(match[2] or match[4] or " ")) if match else 0


__all__ = [
  "CannotCompile", "Compiled", "Request", "cache_folder", "check_compiler", "compile_for", "request_key", "step_digest", "versions",
]
