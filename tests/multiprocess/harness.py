"""Several processes of one run on loopback, started as a user starts them; on packed noise, which needs no rendering."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from jaxface.formats.images import encode_jpeg
from jaxface.formats.packing import pack

EXPERIMENT = '''
"""A run of seconds, with a network that compiles at once."""

import importlib
import os
import time
from dataclasses import replace
from typing import ClassVar

import flax.linen as nn
import jax

from jaxface.data.config import DataConfig
from jaxface.evaluation.config import VerificationConfig
from jaxface.heads.classification import Classification
from jaxface.losses.margins import CosFace
from jaxface.models.config import ModelConfig
from jaxface.models.preprocess import Preprocess, get_preprocess
from jaxface.models.registry import register
from jaxface.training.config import Experiment, MeshConfig


class Pool(nn.Module):
  embedding_size: int
  convention: ClassVar[Preprocess] = get_preprocess("unit", size=16)

  @nn.compact
  def __call__(self, image_bhwc, train=False):
    x = nn.avg_pool(image_bhwc, (4, 4), (4, 4)).reshape(image_bhwc.shape[0], -1)
    x = nn.BatchNorm(use_running_average=not train)(nn.Dense(16)(x))
    return nn.Dense(self.embedding_size)(nn.relu(x))


@register
def pool(embedding_size: int = 8) -> nn.Module:
  """Pooled pixels."""
  return Pool(embedding_size)


EXPERIMENT = Experiment(
  name="pair", steps=12, batch_size=16, log_every=2, checkpoint_every=4,
  data=DataConfig(records=os.environ["RECORDS"]),
  model=ModelConfig("pool", size=16, embedding_size=8),
  # Centres sharded over all processes, and sampled; tests/multiprocess/test_two_hosts.py scores all classes.
  terms=(Classification(CosFace(scale=16.0), sample_rate=1 / 3, block=4),),
)


# With a verification set, whose images several hosts share.
VERIFIED = replace(
  EXPERIMENT, data=replace(EXPERIMENT.data, holdout=0.5), evaluation=(VerificationConfig(name="unseen", every=4),)
)


def fail(*given, **named):
  """In the place of a function that FAULT names, at one call on one process: MODULE:NAME@PROCESS@KIND@CALL."""
  calls.append(given)
  if str(jax.process_index()) != process or len(calls) < int(call):
    return kept(*given, **named)
  if kind == "hang":
    time.sleep(3600)
  if kind == "kill":
    os.kill(os.getpid(), 9)
  if kind == "fold":  # another key
    return kept(*given[:-1], jax.random.fold_in(given[-1], 1))
  if kind == "change":  # another value of one parameter, in the copy of this process
    state = given[-1]
    leaf = state.params["model"]["Dense_0"]["bias"]
    own = jax.make_array_from_single_device_arrays(leaf.shape, leaf.sharding, [leaf.addressable_data(0) + 1e-6])
    model = {**state.params["model"], "Dense_0": {**state.params["model"]["Dense_0"], "bias": own}}
    return kept(*given[:-1], state._replace(params={**state.params, "model": model}))
  raise {"OSError": OSError, "KeyError": KeyError}[kind]("no space left")


if os.environ.get("VERIFY"):
  EXPERIMENT = VERIFIED
if os.environ.get("FAULT"):
  path, process, kind, call = os.environ["FAULT"].split("@")
  calls = []
  owner, _, names = path.partition(":")
  *parents, name = names.split(".")
  owner = importlib.import_module(owner)
  for parent in parents:
    owner = getattr(owner, parent)
  kept = getattr(owner, name)
  setattr(owner, name, fail)
'''


JOINED = '''
"""Processes that do nothing but join and wait for each other, as a loop of training does; what happens is in the arguments."""

import sys
import time

import jax

from jaxface.interrupted import exit_code, sigterm_interrupts
from jaxface.training.config import MeshConfig
from jaxface.training.host_facts import compare_hosts
from jaxface.training.hosts import gather, join_hosts, sign_of_life, together

index, count, port, fault = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
sigterm_interrupts()
try:
  mesh = MeshConfig(coordinator=f"127.0.0.1:{port}", processes=count, process_id=index, heartbeat_seconds=3, stall_seconds=4)
  join_hosts(mesh)
  with together():
    for step in range(1000):
      print("step", step, flush=True)
      if step == 3 and fault == f"raise{index}":
        raise OSError("no space left")
      if step == 3 and fault == f"bug{index}":
        raise KeyError("no space left")
      if step == 3 and fault == f"hang{index}":
        time.sleep(3600)
      if step == 3 and fault == f"work{index}":
        for _ in range(14):
          time.sleep(0.5)
          sign_of_life()
      if step == 3 and fault == f"skip{index}":
        gather("another point")
      if step == 3 and fault == "differ":
        compare_hosts("a test", {"rate": index // 2, "steps": 5})
      if step == 4 and fault in ("end", "work0", "work1"):
        break
      gather(f"step {step}")
      time.sleep(0.05)
except BaseException as error:
  if exit_code(error) == 1:
    raise
  print(f"worker: {error or type(error).__name__}", file=sys.stderr)
  sys.exit(exit_code(error))
'''


def free_port() -> int:
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    return probe.getsockname()[1]


def environment_of_one_device() -> dict[str, str]:
  """This process's environment, without the flag that forces several devices."""
  flags = re.sub(r"--xla_force_host_platform_device_count=\S+", "", os.environ.get("XLA_FLAGS", ""))
  return {**os.environ, "XLA_FLAGS": flags.strip()}


def run_workers(script: str, hosts: int, *arguments: object) -> list[str]:
  """Output of each of some processes of `script`, which gets its number, a port ("0" for one process alone) and `arguments`.

  All must end with code 0.
  """
  port = free_port() if hosts > 1 else 0
  environment = environment_of_one_device() | {
    "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive",
  }
  workers = [
    subprocess.Popen([sys.executable, "-c", script, str(index), str(port), *map(str, arguments)], env=environment,
                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for index in range(hosts)
  ]
  said = []
  for worker in workers:
    out, errors = worker.communicate(timeout=300)
    assert worker.returncode == 0, errors.decode()[-3000:]
    said.append(out.decode())
  return said


class Processes:
  """Some processes whose output goes to files.

  Args:
    folder: for the files.
    commands: the arguments of each process's Python.
    name: of the files.
    environment: in addition to this process's.
  """

  def __init__(self, folder: Path, commands, name="process", environment=()):
    folder.mkdir(exist_ok=True)
    environment = environment_of_one_device() | {
      "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu", "JAXFACE_CPU_CONV": "xla",
      # What waits for work must not take the other processes' cores; and the command restarts itself to set the last one.
      "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0",
    } | dict(environment)
    self.files = [folder / f"{name}.{index}.txt" for index in range(len(commands))]
    self.processes = []
    for command, path in zip(commands, self.files):
      with open(path, "w") as file:
        self.processes.append(subprocess.Popen([sys.executable, *command], env=environment, stdout=file, stderr=file))

  def said(self, index: int) -> str:
    return self.files[index].read_text()

  def wait_for(self, pattern: str, index: int = 0, seconds: float = 240) -> None:
    """Until process `index` has said something like `pattern`."""
    until = time.monotonic() + seconds
    while not re.search(pattern, self.said(index)):
      assert time.monotonic() < until and self.processes[index].poll() is None, f"no {pattern!r}:\n{self.report()}"
      time.sleep(0.05)

  def signal(self, index: int, number: signal.Signals) -> None:
    self.processes[index].send_signal(number)

  def end(self, seconds: float = 240, *, but=()) -> list[int]:
    """Exit codes of all processes `but` some, which must end within `seconds`; whatever is left is killed."""
    until = time.monotonic() + seconds
    try:
      return [
        process.wait(max(until - time.monotonic(), 0.01)) for index, process in enumerate(self.processes) if index not in but
      ]
    except subprocess.TimeoutExpired as error:
      raise AssertionError(f"not ended within {seconds} s:\n{self.report()}") from error
    finally:
      for process in self.processes:
        process.kill()
        process.wait()

  def report(self) -> str:
    return "\n".join(f"--- process {index}\n{self.said(index)}" for index in range(len(self.processes)))


def pack_noise(folder: Path) -> Path:
  """Sixteen people with four images each, packed below `folder`."""
  rng = np.random.default_rng(0)
  for person in range(16):
    (folder / "images" / f"person{person:02d}").mkdir(parents=True)
    face_hwc = rng.integers(0, 256, (16, 16, 3))
    for image in range(4):
      seen_hwc = np.clip(face_hwc + rng.normal(0, 40, face_hwc.shape), 0, 255).astype(np.uint8)
      (folder / "images" / f"person{person:02d}" / f"{image}.jpg").write_bytes(encode_jpeg(seen_hwc))
  pack(folder / "images", folder / "records")
  return folder / "records"


def train(folder: Path, count: int, options=(), *, records: Path, own=None, fault="", verify=False, workdir="run") -> Processes:
  """Processes of `jaxface train` in `folder`, each with one device.

  Args:
    folder: gets the experiment, what the processes say, and the working folder.
    count: how many processes.
    records: what is trained on, see `pack_noise`.
    options: of the command line, for all; `own` for each by its number.
    fault: see the experiment's `fail`.
    verify: with a verification set.
    workdir: name of the working folder.
  """
  folder.mkdir(exist_ok=True)
  path, port = folder / "pair.py", free_port()
  path.write_text(EXPERIMENT)
  commands = []
  for index in range(count):
    mesh = ("--mesh.coordinator", f"127.0.0.1:{port}", "--mesh.processes", count, "--mesh.process_id", index) if count > 1 else ()
    given = ("--workdir", folder / workdir, *mesh, *options, *(own or {}).get(index, ()))
    commands.append(["-m", "jaxface.commands.main", "train", str(path), *map(str, given)])
  return Processes(folder, commands, workdir, {"FAULT": fault, "VERIFY": "1" if verify else "", "RECORDS": str(records)})


def joined(folder: Path, count: int, fault: str) -> Processes:
  """Processes that join and wait for each other, see JOINED."""
  port = free_port()
  return Processes(folder, [["-c", JOINED, str(index), str(count), str(port), fault] for index in range(count)])
