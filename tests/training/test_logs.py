"""Metrics files: what is written can be read, by us and by TensorBoard, also after a crash and a resume."""

import itertools
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.formats.tfrecord import scan
from jaxface.training.events import EventFile, encode_scalars
from jaxface.training.logs import METRICS_FILE, MetricWriter, host_scalars, read_metrics


def write(folder, steps, resume_step=0, factor=1.0):
  with MetricWriter(folder, resume_step=resume_step) as writer:
    for step in steps:
      writer.write(step, {"loss": jnp.float32(factor * step), "learning_rate": 0.5})


def test_rows_come_back(tmp_path):
  write(tmp_path / "run", [0, 10, 20])
  rows = read_metrics(tmp_path / "run")
  assert [(row["step"], row["loss"], row["learning_rate"]) for row in rows] == [(0, 0, 0.5), (10, 10, 0.5), (20, 20, 0.5)]
  assert all(a["time"] <= b["time"] for a, b in itertools.pairwise(rows))


def test_resuming_cuts_rows_at_and_after_the_step(tmp_path):
  write(tmp_path, [0, 10, 20, 30])
  write(tmp_path, [20, 30, 40], resume_step=20, factor=2.0)
  assert [(row["step"], row["loss"]) for row in read_metrics(tmp_path)] == [(0, 0), (10, 10), (20, 40), (30, 60), (40, 80)]
  assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


def test_starting_afresh_cuts_all(tmp_path):
  write(tmp_path, [0, 10])
  write(tmp_path, [0], factor=3.0)
  assert len(read_metrics(tmp_path)) == 1


def test_a_line_torn_by_a_crash_is_dropped(tmp_path):
  write(tmp_path, [0, 10])
  path = tmp_path / METRICS_FILE
  for cut in range(1, 20):
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"step": 20, "loss": 1.25}'[:cut])
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 10]
    write(tmp_path, [], resume_step=20)
    assert path.read_bytes() == whole


def test_a_damaged_line_is_named(tmp_path):
  write(tmp_path, [0, 10])
  path = tmp_path / METRICS_FILE
  path.write_text(path.read_text() + "nonsense\n")
  with pytest.raises(ValueError, match=r"metrics\.jsonl, line 3: .*nonsense"):
    MetricWriter(tmp_path, resume_step=20)
  assert "nonsense" in path.read_text()


def test_values_that_are_not_finite_become_null(tmp_path):
  with MetricWriter(tmp_path) as writer:
    values = writer.write(1, {"loss": jnp.nan, "norm": jnp.inf, "fine": 1})
  assert math.isnan(values["loss"]) and values["norm"] == math.inf

  def no_constants(name):
    raise AssertionError(f"{name} is not JSON")

  row = json.loads((tmp_path / METRICS_FILE).read_text(), parse_constant=no_constants)
  assert (row["loss"], row["norm"], row["fine"]) == (None, None, 1)


def test_only_scalars_and_free_names(tmp_path):
  assert host_scalars({"a": jnp.ones((1,)), "b": np.float64(2), "c": True}) == {"a": 1.0, "b": 2.0, "c": 1.0}
  with MetricWriter(tmp_path) as writer:
    with pytest.raises(ValueError, match=r"metric 'loss_b' has shape \(2,\)"):
      writer.write(0, {"loss_b": jnp.ones(2)})
    with pytest.raises(ValueError, match="metric 'step'"):
      writer.write(0, {"step": 1})
  assert read_metrics(tmp_path) == []


def load_events(path):
  loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
  return list(loader.EventFileLoader(str(path)).Load())


def test_tensorboard_reads_our_events(tmp_path):
  file = EventFile(tmp_path, start_step=7)
  file.write(12, {"loss": 0.25, "größe/x": -1e30})
  file.write(2**40, {"loss": math.nan, "huge": 1e300})
  file.close()
  version, session, first, second = load_events(file.path)
  assert version.file_version == "brain.Event:2"
  assert session.step == 7 and session.session_log.status == session.session_log.START
  assert first.step == 12 and second.step == 2**40
  assert abs(first.wall_time - session.wall_time) < 60

  def values(event):
    return {value.tag: value.tensor.float_val[0] for value in event.summary.value}

  assert values(first) == {"loss": 0.25, "größe/x": float(np.float32(-1e30))}
  assert math.isnan(values(second)["loss"]) and values(second)["huge"] == math.inf


def test_tensorboard_forgets_what_a_resumed_run_repeats(tmp_path):
  accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
  write(tmp_path, [0, 10, 20, 30])
  write(tmp_path, [20, 30, 40], resume_step=20, factor=2.0)
  events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("loss")
  assert [(event.step, event.value) for event in events] == [(0, 0), (10, 10), (20, 40), (30, 60), (40, 80)]


def test_event_bytes_by_hand():
  # wall_time 1.5 (field 1, 64 bits), step 300 (field 2, varint), summary (field 5) {value (1) {tag (1) "a", 2.0 (2)}}.
  expected = bytes.fromhex("09 000000000000f83f" "10 ac02" "2a 0a" "0a 08" "0a 01 61" "15 00000040")
  assert encode_scalars(300, {"a": 2.0}, 1.5) == expected


@given(step=st.integers(0, 2**62), value=st.floats(width=32), tag=st.text(max_size=200))
def test_any_scalar_survives_its_message(step, value, tag):
  event_pb2 = pytest.importorskip("tensorboard.compat.proto.event_pb2")
  event = event_pb2.Event.FromString(encode_scalars(step, {tag: value}, 2.5))
  (found,) = event.summary.value
  assert (event.step, event.wall_time, found.tag) == (step, 2.5, tag)
  np.testing.assert_equal(found.simple_value, value)


def test_event_files_are_framed_records_and_never_share_a_name(tmp_path):
  files = [EventFile(tmp_path) for _ in range(3)]
  for file in files:
    file.close()
    assert len(list(scan(file.path.read_bytes(), file=str(file.path)))) == 2
  assert len({file.path for file in files}) == 3
