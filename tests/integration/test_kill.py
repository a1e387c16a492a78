"""SIGKILL at a random moment, the same command again, SIGTERM, and again: bitwise the same end."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jaxface.models.saved import load_model
from jaxface.training.interrupt import INTERRUPTED

EXPERIMENT = '''
"""A run of seconds."""

from jaxface.data import DataConfig, SyntheticConfig
from jaxface.heads import Classification
from jaxface.losses import CosFace
from jaxface.models import ModelConfig
from jaxface.training import Experiment, MeshConfig

EXPERIMENT = Experiment(
  name="killed",
  steps=STEPS,
  batch_size=16,
  log_every=7,
  checkpoint_every=SAVE_EVERY,
  data=DataConfig(synthetic=SyntheticConfig(identities=12, images_per_identity=6, size=16)),
  model=ModelConfig("iresnet", size=16, embedding_size=8, options={"units": (1, 0, 0, 0), "width": 0.125}),
  terms=(TERM,),
  mesh=MeshConfig(MESH),
  ema=0.9,
)
'''
# A term and a mesh; where several devices are forced, those of a real machine are stood in for.
RUNS = {
  "dense": ("Classification(CosFace(scale=16.0, warmup_steps=30))", "devices=1"),
  "sampled": ("Classification(CosFace(scale=16.0, warmup_steps=30), sample_rate=1 / 3, block=64)", "devices=4"),
}
TIMING = {"time", "images_per_second", "wait_share", "dispatch_share", "device_share", "log_share", "goodput"}


def write(path, kind, *, steps, save_every):
  """An experiment file of one of the `RUNS`."""
  term, mesh = RUNS[kind]
  text = EXPERIMENT
  for name, value in (("STEPS", steps), ("SAVE_EVERY", save_every), ("TERM", term), ("MESH", mesh)):
    text = text.replace(name, str(value))
  path.write_text(text)
  return path


def start(path, folder):
  return subprocess.Popen(
    [sys.executable, "-m", "jaxface.commands.main", "train", str(path), "--workdir", str(folder)],
    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
  )


def finish(path, folder):
  process = start(path, folder)
  _, errors = process.communicate(timeout=900)
  assert process.returncode == 0, errors.decode()[-2000:]


def rows(folder):
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  return [{key: value for key, value in json.loads(line).items() if key not in TIMING} for line in lines]


def last_step(folder):
  path = folder / "metrics.jsonl"
  # Behind the last line end may stand a row that a kill has torn.
  complete = path.read_text().split("\n")[:-1] if path.is_file() else []
  return json.loads(complete[-1])["step"] if complete else -1


def wait_for_step(process, folder, moment):
  deadline = time.monotonic() + 240
  while last_step(folder) < moment and time.monotonic() < deadline:
    assert process.poll() is None, process.stderr.read().decode()[-2000:]
    time.sleep(0.01)


def check_same_end(killed, straight):
  expected, found = (load_model(folder).variables for folder in (straight, killed))
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  assert rows(killed) == rows(straight)
  for file in straight.glob("centers_*.npz"):
    assert (killed / file.name).read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_a_killed_run_ends_bit_for_bit_like_one_that_was_not(tmp_path):
  path = write(tmp_path / "killed.py", "dense", steps=200, save_every=20)
  finish(path, tmp_path / "straight")

  process = start(path, tmp_path / "killed")
  wait_for_step(process, tmp_path / "killed", random.randrange(40, 90))
  process.send_signal(signal.SIGKILL)
  assert process.wait() == -signal.SIGKILL

  process = start(path, tmp_path / "killed")
  wait_for_step(process, tmp_path / "killed", random.randrange(110, 150))
  process.send_signal(signal.SIGTERM)
  assert process.wait() == INTERRUPTED
  finish(path, tmp_path / "killed")
  check_same_end(tmp_path / "killed", tmp_path / "straight")


@pytest.mark.sweep
@pytest.mark.parametrize("kind", RUNS)
def test_twenty_kills_anywhere_end_bit_for_bit_like_none(kind, tmp_path):
  # A state every five steps of milliseconds: most of the time one is being written.
  path = write(tmp_path / "killed.py", kind, steps=500, save_every=5)
  finish(path, tmp_path / "straight")
  folder, states = tmp_path / "killed", tmp_path / "killed" / "checkpoints" / "last"
  unfinished = 0
  for kill in range(int(os.environ.get("JAXFACE_KILLS", "20"))):
    process, before = start(path, folder), last_step(folder)
    wait_for_step(process, folder, before + random.randrange(1, 12))
    time.sleep(random.uniform(0, 0.1))
    assert process.poll() is None, f"the run ended before kill {kill}"
    process.send_signal(signal.SIGKILL)
    process.wait()
    unfinished += any(not (state / "checksums-0.json").exists() for state in states.iterdir())
  assert unfinished, "no kill fell into a save"
  finish(path, folder)
  check_same_end(folder, tmp_path / "straight")
