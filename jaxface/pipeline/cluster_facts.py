"""What a process of a cluster has: its host, devices, versions, experiment, data, and whether it can write to the folder of the run."""

import hashlib
import os
import platform
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from jaxface.data.config import open_records, open_source
from jaxface.data.fingerprint import digest, fingerprint
from jaxface.formats.walk import walk
from jaxface.training.config import Experiment
from jaxface.training.custom import CustomExperiment, expand_path
from jaxface.training.host_facts import data_facts, run_facts
from jaxface.training.hosts import gather, sign_of_life
from jaxface.training.links import network_interfaces
from jaxface.training.resolve import describe

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
  if data.images and not data.records:
    facts = _attempt("data.images", lambda: _listed(expand_path(data.images, "data.images")))
  else:
    facts = _attempt("data", lambda: fingerprint(open_source(replace(data, records=expand_path(data.records, "data.records")))[0]))
  for index, one in enumerate(experiment.evaluation):
    for field in ("records", "images", "pairs"):
      name = f"evaluation.{index}.{field}"
      if path := getattr(one, field):
        sign_of_life()
        facts |= _attempt(name, lambda path=path, name=name: _content(expand_path(path, name), records=name.endswith("records")))
  return facts


def _attempt(name: str, read: Callable[[], Mapping[str, Any]]) -> Facts:
  try:
    return {f"{name}, {key}": value for key, value in data_facts(read()).items()}
  except (OSError, ValueError) as error:
    return {name: f"cannot be read: {error}"}


def _content(path: str, *, records: bool) -> Mapping[str, Any]:
  if records:
    return fingerprint(open_records(path))
  if Path(path).is_file():
    return {"sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
  return _listed(path)


def _listed(folder: str) -> Mapping[str, Any]:
  """Names and sizes of the images of a folder; their content is compared once they are packed."""
  paths = walk(folder).paths
  return {"images": len(paths), "names and sizes": digest([f"{path}:{(Path(folder) / path).stat().st_size}" for path in paths])}


def write_access(folder: Path) -> Facts:
  """Whether this process can write to the folder of the run, and sees what the others write; a collective call.

  Args:
    folder: it is created if it is absent; nothing stays in it.
  Returns:
    "folder": "shared with all", or what is wrong.
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
  unseen = [index for index, theirs in enumerate(written) if theirs and not error and not _sees(folder / f".doctor-{index}", theirs)]
  gather("reading the folder of the run")  # nobody removes a file before all have looked
  mine.unlink(missing_ok=True) if not error else None
  if unseen and not error:
    error = f"{folder} is not shared: the files of process {', '.join(map(str, unseen))} do not appear"
  return {"folder of the run": error or "writable, shared by all"}


def _sees(path: Path, token: str) -> bool:
  try:
    return path.read_text() == token
  except OSError:
    return False


__all__ = ["Facts", "equal_facts", "machine", "write_access"]
