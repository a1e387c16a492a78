"""The contracts of a run: it resumes bit for bit, does not depend on the devices, and undoes a non-finite step."""

import json
import time
from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.checkpoint import WrongCheckpoint
from jaxface.data.source import UnreadableRow
from jaxface.evaluation.config import VerificationConfig
from jaxface.formats.errors import DamagedData
from jaxface.losses.triplet_term import TripletLoss
from jaxface.training.goodput import read_goodput
from jaxface.training.interrupt import INTERRUPTED, Interrupted
from jaxface.training.logs import read_metrics
from jaxface.training.loop import TrainingDiverged, train
from jaxface.training.optimizer import OptimizerConfig
from jaxface.training.profile import REQUEST_FILE
from jaxface.training.workdir import Workdir


@pytest.fixture(scope="module")
def straight(experiment, source, tmp_path_factory, run):
  return run(experiment, source, tmp_path_factory.mktemp("straight"))


def assert_same_bits(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_step_is_traced_once_and_the_loss_falls(straight, experiment):
  trained, rows = straight
  assert trained.traces == 1
  assert [row["step"] for row in rows] == [3, 6, 9, 12]
  # The margin grows over the first six steps, and the loss with it; after that it falls, from one batch to the next with noise.
  assert rows[3]["loss"] < min(rows[1]["loss"], rows[2]["loss"])
  assert rows[-1]["bad_steps"] == 0


@pytest.mark.parametrize("step", [4, *(pytest.param(step, marks=pytest.mark.sweep) for step in (7, 10))])
def test_an_interrupted_run_ends_bit_for_bit_like_one_that_was_not(step, straight, experiment, source, tmp_path, run, stop_at):
  if step == 10:  # a profile changes nothing
    (tmp_path / REQUEST_FILE).write_text("2")
  with pytest.raises(Interrupted) as stop:
    run(experiment, source, tmp_path, [stop_at(step)])
  assert stop.value.code == INTERRUPTED and stop.value.step == step
  before = read_goodput(tmp_path)
  trained, rows = run(experiment, source, tmp_path)
  assert_same_bits(trained.variables, straight[0].variables)
  assert [row for row in rows if "loss" in row] == straight[1]
  check_goodput(tmp_path, before)
  if step == 10:
    check_profile(tmp_path)


def test_a_delay_of_the_log_counts_in_the_interval_in_which_it_was(experiment, source, tmp_path, run, monkeypatch):
  real, delays = Workdir.check_owner, iter([0.3])

  def check_owner(workdir):
    time.sleep(next(delays, 0.0))
    real(workdir)

  monkeypatch.setattr(Workdir, "check_owner", check_owner)
  run(replace(experiment, steps=6), source, tmp_path)
  rows = list(read_metrics(tmp_path))
  assert next(delays, None) is None and [row["step"] for row in rows] == [3, 6]
  check_shares(rows)
  assert rows[0]["log_share"] < 0.01 and rows[1]["log_share"] * 3 * experiment.batch_size / rows[1]["images_per_second"] > 0.25


def check_goodput(folder, before):
  """Of a run in its second life, the first of which had the goodput `before`."""
  found = read_goodput(folder)
  assert (before.lives, found.lives) == (1, 2) and 0 < before.training < found.training and before.wall < found.wall
  assert 0 < found.share < 1 and found.redone == pytest.approx(0.0, abs=1e-3) and found.starting > before.starting > 0
  assert "(2 lives); starting and compiling " in (folder / "notes.txt").read_text()
  check_shares(read_metrics(folder))


def check_shares(rows):
  for row in rows:
    if "loss" in row:
      assert all(0 <= row[name] <= 1 for name in ("dispatch_share", "device_share", "log_share", "goodput"))
      assert row["wait_share"] + row["dispatch_share"] + row["log_share"] <= 1.001


def check_profile(folder):
  """Two steps, from the one after the first row of the log, which looked for the file."""
  (file,) = (path for path in (folder / "tensorboard" / "plugins" / "profile" / "step_00000004").iterdir() if path.name.endswith("-0.xplane.pb"))
  assert file.stat().st_size > 1000 and b"train" in file.read_bytes()
  assert "steps 4 to 5: profile in " in (folder / "notes.txt").read_text()
  assert not (folder / REQUEST_FILE).exists() and not list((folder / "tensorboard").glob(".profile*"))


@pytest.mark.parametrize("devices", [pytest.param(2, marks=pytest.mark.sweep), 8])
def test_losses_do_not_depend_on_the_mesh(devices, experiment, source, tmp_path, with_devices, run):
  # At the rate of the other runs, whose loss rises first, differences of rounding grow tenfold in three steps.
  calm = replace(experiment, optimizer=OptimizerConfig(learning_rate=0.01))
  (_, alone), (_, rows) = (run(with_devices(calm, count), source, tmp_path / str(count)) for count in (1, devices))
  assert len(rows) == len(alone) == 4
  for row, expected in zip(rows, alone):
    assert row["loss"] == pytest.approx(expected["loss"], rel=2e-4)


def test_a_non_finite_step_changes_nothing_and_too_many_end_the_run(experiment, source, tmp_path, run):
  wild = replace(experiment, optimizer=OptimizerConfig(learning_rate=1e38, clip_norm=0.0), max_bad_steps=3, ema=0.0)
  with pytest.raises(TrainingDiverged, match=r"lower optimizer\.learning_rate"):
    run(wild, source, tmp_path)
  rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
  assert rows[-1]["bad_in_row"] >= 3


class Damaged:
  """The source, but that one record cannot be read."""

  def __init__(self, source):
    self.__dict__.update(vars(source))
    self.names, self._read = source.names, source.read

  def read(self, record_n, out):
    self._read(record_n, out)
    return [UnreadableRow(DamagedData("torn", record=5), row) for row in np.flatnonzero(record_n == 5)]


@pytest.mark.filterwarnings("ignore:.*torn")
def test_damaged_records_are_counted_over_all_lives_of_a_run(experiment, source, tmp_path, run, stop_at):
  torn = replace(experiment, steps=24, ema=0.0)
  straight, rows = run(torn, Damaged(source), tmp_path / "a")
  # 24 batches of 16 are three epochs of 128 records.
  assert straight.damaged == rows[-1]["damaged_records"] == 3
  with pytest.raises(Interrupted):
    run(torn, Damaged(source), tmp_path / "b", [stop_at(13)])
  resumed, again = run(torn, Damaged(source), tmp_path / "b")
  assert resumed.damaged == 3 and [row for row in again if "loss" in row] == rows


@dataclass(frozen=True)
class EveryOther:
  """A term that is NaN in every other step."""

  scope: ClassVar[str] = "row"
  from_step: int = 0
  every: int = 2
  weight: float = 1.0

  def init(self, key, embedding_size, num_classes):
    return {}, {}

  def __call__(self, params, inputs, *, state, step, key):
    bad = (step >= self.from_step) & (step % self.every == 0)
    return jnp.where(bad, jnp.nan, 1.0) * (inputs["embedding_bd"] ** 2).sum(1), state, {}


def test_alternating_bad_steps_are_said_and_end_the_run_by_their_share(experiment, source, tmp_path, run, capsys):
  half = replace(experiment, steps=100, terms=(EveryOther(),), ema=0.0, checkpoint_every=100, log_every=5)
  with pytest.raises(TrainingDiverged, match=r"^\d+ of 100 steps, at or shortly before step \d+, .* \(max_bad_share is 0.2\)"):
    run(half, source, tmp_path / "stopped")
  rows = read_metrics(tmp_path / "stopped")
  assert rows[-1]["bad_lately"] > 20 and rows[-1]["step"] < 60
  assert {row["skipped"] for row in rows} == {2, 3} and all(row["loss"] is not None for row in rows)
  said = capsys.readouterr().err
  assert "skipped 3" in said and said.count("had a non-finite loss or gradient and were skipped; the run ends at") == 1
  trained, _ = run(replace(half, max_bad_share=1.0), source, tmp_path / "whole")
  assert trained.skipped == 50


def test_an_interval_of_skipped_steps_logs_no_loss(experiment, source, tmp_path, run):
  void = replace(experiment, steps=6, terms=(EveryOther(from_step=3, every=1),), log_every=3, ema=0.0)
  rows = run(void, source, tmp_path)[1]
  assert [(row["step"], row["skipped"]) for row in rows] == [(3, 0), (6, 3)]
  assert rows[0]["loss"] > 0 and rows[1]["loss"] is None and rows[1]["gradient_norm"] is None


def test_a_network_that_has_collapsed_is_told_of(experiment, source, tmp_path, run, capsys):
  # Of any mean direction this term says that it is a collapse, of none the other.
  for threshold, told in ((1e-6, True), (1.0, False)):
    term = TripletLoss(collapse_at=threshold)
    run(replace(experiment, steps=3, terms=(term,)), source, tmp_path / str(told))
    assert ("step 3: in 100% of the last steps all embeddings had the same direction" in capsys.readouterr().err) == told


def test_another_experiment_in_the_same_folder_is_refused_by_field(straight, experiment, source, tmp_path, run, stop_at):
  with pytest.raises(Interrupted):
    run(experiment, source, tmp_path, [stop_at(4)])
  with pytest.raises(ValueError, match=r"optimizer\.learning_rate: 0\.05 then, 0\.5 now"):
    run(replace(experiment, optimizer=OptimizerConfig(learning_rate=0.5)), source, tmp_path)


def test_a_checkpoint_of_another_model_names_the_first_leaf(experiment, source, tmp_path, run, stop_at):
  with pytest.raises(Interrupted):
    run(experiment, source, tmp_path, [stop_at(4)])
  wider = replace(experiment, model=replace(experiment.model, embedding_size=12))
  (tmp_path / "config.json").unlink()
  with pytest.raises(WrongCheckpoint, match=r"leaf 'params/model/.*expected float32\["):
    run(wider, source, tmp_path)


def test_a_batch_that_does_not_spread_over_the_devices_is_refused(experiment, source, tmp_path, with_devices):
  with pytest.raises(ValueError, match="does not spread over 8 devices"):
    train(with_devices(replace(experiment, batch_size=12), 8), Workdir(tmp_path), source)


def test_nothing_is_left_to_do_the_second_time(straight, experiment, source, tmp_path, run):
  first, _ = run(experiment, source, tmp_path)
  again, _ = run(experiment, source, tmp_path)
  assert again.traces == 0 and again.step == experiment.steps
  assert_same_bits(again.variables, first.variables)



class ScoreEvery:
  """Scores states as a verification set would: the state of step 4 is the best."""

  def due(self, step, last):
    return step > 0 and step % 4 == 0

  def __call__(self, step, variables):
    return {"score": 1.0 if step == 4 else 0.5}


def test_the_best_state_becomes_the_model_if_asked(experiment, source, tmp_path, run):
  scored = replace(experiment, use="best", evaluation=(VerificationConfig(every=4),))
  trained, _ = run(scored, source, tmp_path, [ScoreEvery()])
  assert trained.step == 4
  again, _ = run(scored, source, tmp_path, [ScoreEvery()])
  assert again.step == 4
  assert_same_bits(again.variables, trained.variables)
