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
  steps=400,
  batch_size=16,
  log_every=7,
  checkpoint_every=20,
  data=DataConfig(synthetic=SyntheticConfig(identities=12, images_per_identity=6, size=16)),
  model=ModelConfig("iresnet", size=16, embedding_size=8, options={"units": (1, 1, 1, 1), "width": 0.125}),
  terms=(Classification(CosFace(scale=16.0, warmup_steps=30)),),
  mesh=MeshConfig(devices=1),
  ema=0.9,
)
'''
TIMING = {"time", "images_per_second", "wait_share"}


def start(path, folder):
  return subprocess.Popen(
    [sys.executable, "-m", "jaxface.commands.main", "train", str(path), "--workdir", str(folder)],
    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
  )


def finish(path, folder):
  process = start(path, folder)
  _, errors = process.communicate(timeout=300)
  assert process.returncode == 0, errors.decode()[-2000:]


def rows(folder):
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  return [{key: value for key, value in json.loads(line).items() if key not in TIMING} for line in lines]


def last_step(folder):
  path = folder / "metrics.jsonl"
  complete = path.read_text().splitlines() if path.is_file() else []
  return json.loads(complete[-1])["step"] if complete else -1


def wait_for_step(process, folder, moment):
  deadline = time.monotonic() + 240
  while last_step(folder) < moment and time.monotonic() < deadline:
    assert process.poll() is None, process.stderr.read().decode()[-2000:]
    time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_run_ends_bit_for_bit_like_one_that_was_not(tmp_path):
  path = tmp_path / "killed.py"
  path.write_text(EXPERIMENT)
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

  expected, found = (load_model(tmp_path / name).variables for name in ("straight", "killed"))
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  assert rows(tmp_path / "killed") == rows(tmp_path / "straight")
