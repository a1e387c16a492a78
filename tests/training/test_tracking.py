"""A run in services: what is read back by their own programs equals the log of the run, also after an interruption."""

import json
import re
import struct
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from jaxface.training import tracking
from jaxface.training.config import Experiment
from jaxface.training.interrupt import Interrupted
from jaxface.training.logs import read_metrics
from jaxface.training.loop import train_run
from jaxface.training.resolve import resolve_run
from jaxface.training.tracking import TRACKING_FILE, Trackers, TrackingConfig, tracked
from jaxface.training.tracking_mlflow import metric_key
from jaxface.training.workdir import Workdir


class Kept:
  """A service in memory. It fails in the method that `fail` names."""

  made: list["Kept"] = []  # noqa: RUF012
  fail = ""

  def __init__(self, run):
    self._check("open")
    self.run, self.rows, self.files, self.ending = run, [], [], None
    self.known_as = run.known_as or f"run{len(self.made)}"
    self.made.append(self)

  def _check(self, name):
    if self.fail == name:
      raise ConnectionError("no route to host")

  def write(self, step, values):
    self._check("write")
    self.rows.append((step, values))

  def attach(self, file):
    self._check("attach")
    self.files.append(file.name)

  def close(self, ending):
    self._check("close")
    self.ending = ending


@pytest.fixture
def kept(monkeypatch):
  monkeypatch.setattr(Kept, "made", [])
  monkeypatch.setattr(Kept, "fail", "")
  for name in ("kept", "second"):
    monkeypatch.setitem(tracking.SERVICES, name, (__name__, "Kept"))
    monkeypatch.setitem(sys.modules, name, ModuleType(name))  # its package
  monkeypatch.setitem(sys.modules, __name__, sys.modules[Kept.__module__])
  return Kept


@pytest.fixture
def go(experiment, source):
  """Trains the small experiment, with services."""

  def go(folder, config, hooks=(), say=print, **changes):
    changed = replace(experiment, steps=6, checkpoint_every=2, log_every=1, tracking=config, **changes)
    workdir = Workdir(folder)
    with tracked(config, say) as trackers, workdir.own():
      train_run(resolve_run(changed, source, workdir.path), workdir, hooks, trackers)
      trackers.attach([workdir.path / "config.json", workdir.path / "nothing.html"])
    return changed

  return go


def logged(folder):
  """Finite values of the log by step and name."""
  rows = read_metrics(folder)
  return {(row["step"], name): value for row in rows for name, value in row.items() if name not in ("step", "time") and value is not None}


def test_services_receive_what_the_log_has_and_a_resumed_run_is_the_same_run_there(go, kept, tmp_path, stop_at):
  config, folder = TrackingConfig(to=("kept", "second")), tmp_path / "run"
  with pytest.raises(Interrupted):
    go(folder, config, [stop_at(3)])
  go(folder, config)
  assert [(one.known_as, one.ending) for one in kept.made] == [("run0", "interrupted"), ("run1", "interrupted"), ("run0", "finished"), ("run1", "finished")]
  first, second, *resumed = kept.made
  assert first.rows == second.rows and resumed[0].rows == resumed[1].rows and resumed[0].files == ["config.json"]
  assert {(step, name): value for step, row in (*first.rows, *resumed[0].rows) for name, value in row.items()} == logged(folder)
  assert first.run.config["steps"] == 6 and "jax" in first.run.environment["packages"] and "commit" in first.run.environment["git"]
  assert json.loads((folder / TRACKING_FILE).read_text())["kept"] == "run0"
  with pytest.raises(ValueError, match="holds a run with other values"):
    go(folder, config, seed=5)
  assert len(kept.made) == 4  # a refused command leaves the service's run as it was


def opened(folder, say=print, resumed=False):
  trackers = Trackers(TrackingConfig(to=("kept",)), say)
  trackers.open("run", folder, {}, {}, resumed=resumed)
  return trackers


def test_a_run_that_begins_anew_in_its_folder_is_another_run_there(kept, tmp_path):
  for resumed in (False, True, False):
    opened(tmp_path, resumed=resumed).close("interrupted")
  assert [one.known_as for one in kept.made] == ["run0", "run0", "run2"]


@pytest.mark.parametrize("method", ["write", "attach", "close"])
def test_a_service_that_fails_is_named_once_and_the_run_goes_on(kept, tmp_path, method):
  lines = []
  kept.fail = method
  trackers = opened(tmp_path, lines.append)
  for step in (1, 2):
    trackers.write(step, {"loss": 1.0})
  trackers.attach([tmp_path / TRACKING_FILE])
  trackers.close("finished")
  assert len(lines) == 1 and lines[0].startswith("kept: ConnectionError: no route to host. Nothing more is reported")
  assert len(kept.made[0].rows) == (0 if method == "write" else 2)


def test_a_service_that_cannot_be_reached_at_the_start_is_an_error(kept, tmp_path):
  kept.fail = "open"
  with pytest.raises(ConnectionError):
    opened(tmp_path)


def test_a_run_that_fails_is_said_to_have_failed(kept, tmp_path):
  with pytest.raises(RuntimeError, match="broken hook"), tracked(TrackingConfig(to=("kept",))) as trackers:
    trackers.open("run", tmp_path, {}, {}, resumed=False)
    raise RuntimeError("broken hook")
  assert kept.made[0].ending == "failed"


def test_values_that_are_not_finite_are_left_out(kept, tmp_path):
  trackers = opened(tmp_path)
  trackers.write(1, {"loss": float("nan"), "accuracy": 0.5})
  trackers.write(2, {"loss": float("inf")})
  assert kept.made[0].rows == [(1, {"accuracy": 0.5})]


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_package_that_is_missing_is_named_with_its_extra_before_training(monkeypatch, name):
  monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(ImportError, match=rf"pip install 'jaxface\[{name}\]'"), tracked(TrackingConfig(to=(name,))):
    pytest.fail("it began")


def test_wrong_fields_are_named():
  with pytest.raises(ValueError, match=r"'mlflo'.* needs some of mlflow, wandb"):
    Experiment().with_overrides({"tracking.to": "mlflo"})
  assert Experiment().with_overrides({"tracking.to": "wandb,mlflow"}).tracking.to == ("wandb", "mlflow")
  with pytest.raises(ValueError, match=r"tracking\.project is empty"):
    TrackingConfig(project="")


def test_mlflow_reads_the_run_back(go, tmp_path, stop_at, monkeypatch):
  mlflow = pytest.importorskip("mlflow", reason="EXTRA ABSENT: mlflow is not installed: the report to MLflow was not tested here")
  monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
  config, folder = TrackingConfig(to=("mlflow",), project="faces"), tmp_path / "run"
  with pytest.raises(Interrupted):
    go(folder, config, [stop_at(3)])
  client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
  number = client.get_experiment_by_name("faces").experiment_id
  assert [run.info.status for run in client.search_runs([number])] == ["KILLED"]
  experiment = go(folder, config)
  (run,) = client.search_runs([number])
  assert run.info.status == "FINISHED" and run.info.run_name == experiment.name
  assert run.data.params["steps"] == "6" and run.data.params["optimizer.learning_rate"] == str(experiment.optimizer.learning_rate)
  assert re.match(r"\d+\.", run.data.tags["version.jax"]) and "workdir" in run.data.tags
  expected = {}
  for (step, name), value in logged(folder).items():
    expected.setdefault(metric_key(name), {})[step] = value
  assert set(run.data.metrics) == set(expected) and "loss" in expected
  for name, values in expected.items():
    history = client.get_metric_history(run.info.run_id, name)
    assert sorted(metric.step for metric in history) == sorted(values), name  # one value per step, though steps were run twice
    if "share" not in name and name not in ("images_per_second", "goodput"):
      assert {metric.step: metric.value for metric in history} == values, name
  artifact = client.download_artifacts(run.info.run_id, "config.json", str(tmp_path))
  assert Path(artifact).read_bytes() == (folder / "config.json").read_bytes()


def test_mlflow_takes_all_names_of_figures():
  assert metric_key("lfw/tar@1e-4") == "lfw/tar_1e-4" and metric_key("loss") == "loss"


def test_wandb_offline_has_the_run(go, tmp_path, stop_at, monkeypatch):
  wandb = pytest.importorskip("wandb", reason="EXTRA ABSENT: wandb is not installed: the report to W&B was not tested here")
  monkeypatch.setenv("WANDB_MODE", "offline")
  monkeypatch.setenv("WANDB_SILENT", "true")
  config, folder = TrackingConfig(to=("wandb",), project="faces"), tmp_path / "run"
  with pytest.raises(Interrupted):
    go(folder, config, [stop_at(3)])
  go(folder, config)
  wandb.teardown()  # its process ends, so that the files are complete
  known_as = json.loads((folder / TRACKING_FILE).read_text())["wandb"]
  files = sorted((folder / "wandb").glob(f"offline-run-*-{known_as}/run-{known_as}.wandb"))
  assert len(files) == 2  # one for each process, of the same run
  found, codes, settings = {}, [], {}
  for file in files:
    for record in records(file):
      if record.WhichOneof("record_type") == "history":
        row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        found.update({(row["step"], name): value for name, value in row.items() if name != "step" and name[0] != "_"})
      elif record.WhichOneof("record_type") == "exit":
        codes.append(record.exit.exit_code)
      elif record.WhichOneof("record_type") == "run":
        settings.update({item.key: json.loads(item.value_json) for item in record.run.config.update})
  assert codes == [75, 0] and settings["steps"] == 6 and "packages" in settings["environment"]
  log = logged(folder)
  assert set(found) == set(log) and all(found[key] == log[key] for key in log if key[1] == "loss")
  assert (files[1].parent / "files" / "config.json").exists()


def records(file):
  """Records of a file of W&B: blocks of 32 KiB with frames of CRC, length and kind (whole, first, middle, last), after a header."""
  from wandb.proto import wandb_internal_pb2

  data, at, whole = file.read_bytes(), 7, b""
  assert data[:4] == b":W&B"
  while at + 7 <= len(data):
    if (left := 32768 - at % 32768) < 7:
      at += left
      continue
    size, kind = struct.unpack_from("<HB", data, at + 4)
    whole += data[at + 7 : at + 7 + size]
    at += 7 + size
    if kind in (1, 4):
      record = wandb_internal_pb2.Record()
      record.ParseFromString(whole)
      whole = b""
      yield record
