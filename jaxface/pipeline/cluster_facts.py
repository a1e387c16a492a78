"""What a process of a cluster has: its host, devices, versions, experiment, data, and whether it can write to the folder of the run."""

import hashlib
import os
import platform
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax

from jaxface.data.config import open_records, open_source
from jaxface.data.fingerprint import digest, fingerprint
from jaxface.formats.walk import walk
from jaxface.training.config import Experiment
from jaxface.training.custom import CustomExperiment, expand_fields, expand_path
from jaxface.training.host_facts import data_facts, run_facts
from jaxface.training.hosts import gather, host_name, sign_of_life
from jaxface.training.links import network_interfaces
from jaxface.training.resolve import describe
from jaxface.training.workdir import LATE

Facts = dict[str, Any]


def machine() -> Facts:
  """Host, process, memory and devices of this process: what is shown, and not compared."""
  devices = jax.local_devices()
  memory = (devices[0].memory_stats() or {}).get("bytes_limit", 0)
  return {
    "host": socket.gethostname(), "pid": os.getpid(), "platform": devices[0].platform, "kind": devices[0].device_kind,
    "devices": len(devices), "device_memory": int(memory), "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
  }


def equal_facts(experiment: Experiment | CustomExperiment | None) -> Facts:
  """What must be equal on all processes: devices, versions, code, the fields of the experiment, and its data.

  What cannot be read is a fact, too, so that the process that cannot is named.

  Args:
    experiment: the experiment of the run, or None.
  """
  fields = describe(experiment) if isinstance(experiment, Experiment) else {}
  facts = {**run_facts(fields), "python": platform.python_version(), "devices of the process": len(jax.local_devices())}
  rates = network_interfaces()
  facts["network interfaces, GB/s"] = sorted(rates.values())
  return {**facts, **(_data(experiment) if isinstance(experiment, Experiment) else {})}


def _data(experiment: Experiment) -> Facts:
  data = experiment.data
  if data.unpacked:
    facts = _attempt("data.images", lambda: _listed(expand_path(data.images, "data.images")))
  else:
    facts = _attempt("data", lambda: fingerprint(open_source(expand_fields(data, "data", "records", "mixture"))[0]))
  for index, one in enumerate(experiment.evaluation):
    for field in ("records", "images", "pairs"):
      name = f"evaluation.{index}.{field}"
      if path := getattr(one, field):
        sign_of_life()
        facts |= _attempt(name, partial(_content, path, name))
  return facts


def _attempt(name: str, read: Callable[[], Mapping[str, Any]]) -> Facts:
  try:
    return {f"{name}, {key}": value for key, value in data_facts(read()).items()}
  except (OSError, ValueError) as error:
    return {name: f"cannot be read: {error}"}


def _content(path: str, name: str) -> Mapping[str, Any]:
  path = expand_path(path, name)
  if name.endswith("records"):
    return fingerprint(open_records(path))
  if Path(path).is_file():
    return {"sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
  return _listed(path)


def _listed(folder: str) -> Mapping[str, Any]:
  """Names and sizes of the images of a folder; their content is compared once they are packed."""
  paths = walk(folder).paths
  return {"images": len(paths), "names and sizes": digest([f"{path}:{(Path(folder) / path).stat().st_size}" for path in paths])}


def write_access(folder: Path) -> Facts:
  """Whether this process can write to the folder of the run, and whose files it sees there; a collective call.

  Args:
    folder: it is created if it is absent; nothing stays in it.
  Returns:
    "path"; "error", or ""; "sees": numbers of the processes whose files appear.
  """
  mine, token, error = folder / f".doctor-{jax.process_index()}", secrets.token_hex(8), ""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    mine.write_text(token)
    if mine.read_text() != token:
      error = "what is written cannot be read back"
  except OSError as failed:
    error = f"cannot be written: {failed}"
  written = gather("writing to the folder of the run", "" if error else token)
  sees = [] if error else _seen(folder, written)
  gather("reading the folder of the run")  # nobody removes a file before all have looked
  if not error:
    mine.unlink(missing_ok=True)
  return {"path": str(folder), "error": error, "sees": sees}


def folder_faults(access: Sequence[Facts]) -> list[str]:
  """A sentence for each process that cannot write to the folder of the run, or does not share it with most others.

  Args:
    access: from `write_access`, of all processes.
  """
  lines = [f"{host_name(index)}: folder of the run: {one['error']}" for index, one in enumerate(access) if one["error"]]
  able = [index for index, one in enumerate(access) if not one["error"]]
  groups = [tuple(access[index]["sees"]) for index in able]
  most = max(groups, key=groups.count, default=())
  shared = 2 * groups.count(most) > len(able)
  for index, group in zip(able, groups):
    if set(group) != set(able) and not (shared and group == most):
      unseen = ", ".join(str(other) for other in able if other not in group)
      lines.append(f"{host_name(index)}: folder of the run: {access[index]['path']} is not shared: the files of process {unseen} do not appear")
  return lines


def _seen(folder: Path, written: Sequence[str]) -> list[int]:
  """Processes whose file appears; on a network it may come late."""
  until = time.monotonic() + LATE / 4
  while True:
    seen = [index for index, token in enumerate(written) if token and _sees(folder / f".doctor-{index}", token)]
    if len(seen) == sum(map(bool, written)) or time.monotonic() > until:
      return seen
    time.sleep(0.1)


def _sees(path: Path, token: str) -> bool:
  try:
    return path.read_text() == token
  except OSError:
    return False


__all__ = ["Facts", "equal_facts", "folder_faults", "machine", "write_access"]
