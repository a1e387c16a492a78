"""A run outlives damage to what it saved, other devices, and ends in words when its folder is gone."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from jaxface.checkpoint import DamagedCheckpoint
from jaxface.training.interrupt import Interrupted
from jaxface.training.loop import train
from jaxface.training.run_log import NOTES_FILE
from jaxface.training.workdir import Workdir, WorkdirLost


def damage(folder):
  """Flip a byte in the arrays of a state."""
  path = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 64
  path.write_bytes(content)
  return path.name


@pytest.fixture(scope="module")
def straight(experiment, source, tmp_path_factory, run):
  return run(experiment, source, tmp_path_factory.mktemp("straight"))


@pytest.fixture(scope="module")
def interrupted(experiment, source, tmp_path_factory, run, stop_at):
  """A run that was stopped at step 8, with states of steps 5 and 8."""
  folder = tmp_path_factory.mktemp("interrupted")
  with pytest.raises(Interrupted):
    run(experiment, source, folder, [stop_at(8)])
  return folder


def test_a_run_goes_on_from_the_state_before_a_damaged_one_to_the_same_end(
  straight, interrupted, experiment, source, tmp_path, run, capsys
):
  folder = shutil.copytree(interrupted, tmp_path / "run")
  name = damage(folder / "checkpoints" / "last" / "8")
  trained, rows = run(experiment, source, folder)
  np.testing.assert_equal(trained.variables, straight[0].variables)
  assert rows == straight[1]
  line = "the state of step 8 is damaged"
  assert line in capsys.readouterr().err
  notes = (folder / NOTES_FILE).read_text()
  assert notes.count(line) == 1 and name in notes and "Going on from the one of step 5" in notes


def test_a_run_without_a_whole_state_ends_and_loses_nothing(interrupted, experiment, source, tmp_path, run):
  folder = shutil.copytree(interrupted, tmp_path / "run")
  for step in (5, 8):
    damage(folder / "checkpoints" / "last" / str(step))
  rows = (folder / "metrics.jsonl").read_text()
  with pytest.raises(DamagedCheckpoint, match=r"(?s)last/8: state/.*last/5: state/"):
    run(experiment, source, folder)
  assert (folder / "metrics.jsonl").read_text() == rows


class Vanish:
  """Removes something of the workdir after a step."""

  def __init__(self, step, path, *, aside):
    self.step, self.path, self.aside = step, path, aside

  def due(self, step, last):
    return step == self.step

  def __call__(self, step, variables):
    self.path.rename(self.aside)
    return {}


@pytest.mark.parametrize("name", [".", "config.json", "metrics.jsonl"])
def test_a_workdir_that_vanishes_ends_the_run_within_an_interval(name, experiment, source, tmp_path):
  folder = tmp_path / "run"
  long = replace(experiment, steps=200, checkpoint_every=200)
  vanish = Vanish(7, folder / name, aside=tmp_path / "aside")
  what = "the folder itself" if name == "." else name
  with pytest.raises(WorkdirLost, match=f"{what} removed during the run"):
    train(long, Workdir(folder), source, [vanish])
  rows = tmp_path / "aside" / "metrics.jsonl" if name == "." else tmp_path / "aside" if name == "metrics.jsonl" else folder / "metrics.jsonl"
  assert [line.split(",")[0] for line in rows.read_text().splitlines()] == ['{"step": 3', '{"step": 6']


@pytest.fixture(scope="module")
def calm(experiment, with_devices):
  """Eight devices; slow, so that rounding differences between meshes do not grow."""
  slow = replace(experiment.optimizer, learning_rate=0.005)
  return replace(with_devices(experiment, 8), log_every=1, steps=9, checkpoint_every=9, optimizer=slow)


@pytest.fixture(scope="module")
def of_eight(calm, source, tmp_path_factory, run, stop_at):
  """Rows of a run on eight devices, and the workdir of one that was stopped at step 4."""
  folder = tmp_path_factory.mktemp("eight")
  with pytest.raises(Interrupted):
    run(calm, source, folder / "stopped", [stop_at(4)])
  return run(calm, source, folder / "whole")[1], folder / "stopped"


# Centres have 256 rows on several devices and 16 on one, and they are replicated, sharded, or scored in blocks.
@pytest.mark.parametrize(
  ("devices", "changes"), [(1, {}), pytest.param(2, {"sharded": False}, marks=pytest.mark.sweep),
    pytest.param(4, {"block": 8}, marks=pytest.mark.sweep), pytest.param(1, {"block": 8}, marks=pytest.mark.sweep)]
)
def test_a_run_of_eight_devices_resumes_on_others_with_another_head(devices, changes, of_eight, calm, source, tmp_path, with_devices, run):
  expected, stopped = of_eight
  folder = shutil.copytree(stopped, tmp_path / "run")
  calm = replace(calm, terms=(replace(calm.terms[0], **changes),))
  _, rows = run(with_devices(calm, devices), source, folder)
  assert [row["step"] for row in rows] == [row["step"] for row in expected]
  for row, want in zip(rows, expected):
    assert row["loss"] == pytest.approx(want["loss"], rel=1e-6 if row["step"] <= 5 else 1e-5)
