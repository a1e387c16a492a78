"""Several processes on loopback: the run of one process, whatever their number; what differs is refused; a fault of one ends all.

What needs no training is tried with processes that only join and wait for each other: those start in seconds.
"""

import json
import re
import shutil
import signal
import socket
import time

import jax
import numpy as np
import pytest
from harness import joined, pack_noise, train

from jaxface.checkpoint import load_tree
from jaxface.formats.embeddings import read_embeddings
from jaxface.interrupted import INTERRUPTED

TIMING = {"time", "images_per_second", "wait_share", "dispatch_share", "device_share", "log_share", "goodput", "unseen/images_per_second"}


def rows(workdir):
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [{key: value for key, value in json.loads(line).items() if key not in TIMING} for line in lines]


def same_rows(found, expected):
  assert [row["step"] for row in found] == [row["step"] for row in expected]
  for row, other in zip(found, expected):
    assert row.keys() == other.keys()
    for name, value in row.items():
      assert value == pytest.approx(other[name], rel=2e-4, abs=1e-6), (row["step"], name)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
  return pack_noise(tmp_path_factory.mktemp("noise"))


@pytest.fixture(scope="module")
def straight(records, tmp_path_factory):
  """The run that nothing disturbs, on one and two processes."""
  folder = tmp_path_factory.mktemp("straight")
  for count in (1, 2):
    undisturbed(folder, count, records)
  return folder


def undisturbed(folder, count, records):
  run = train(folder, count, records=records, workdir=f"on{count}", verify=True)
  assert run.end() == [0] * count, run.report()


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.multihost)])
def test_several_processes_have_the_losses_and_figures_of_one(straight, records, count):
  if count > 2:
    undisturbed(straight, count, records)
  same_rows(rows(straight / f"on{count}"), rows(straight / "on1"))
  models = [load_tree(next((straight / name / "model").glob("variables-*"))) for name in (f"on{count}", "on1")]
  jax.tree.map(lambda found, expected: np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5), *models)
  centers, expected = (read_embeddings(straight / name / "centers_classification.npz") for name in (f"on{count}", "on1"))
  assert centers.names == expected.names
  np.testing.assert_allclose(centers.embedding_nd, expected.embedding_nd, rtol=2e-4, atol=2e-6)


def test_a_killed_process_ends_the_others_and_the_same_command_comes_to_the_same_end(straight, records, tmp_path):
  options = ("--mesh.heartbeat_seconds", 3)
  run = train(tmp_path, 2, options, fault="jaxface.checkpoint:Checkpoints.save@1@kill@2", records=records, verify=True)
  assert run.end(but=[1]) == [INTERRUPTED], run.report()
  assert "process 1 (host " in run.said(0) and "no heartbeat for 3 s (mesh.heartbeat_seconds)" in run.said(0)
  assert "Fatal" not in run.said(0) and "Check failure" not in run.said(0)
  run = train(tmp_path, 2, options, records=records, verify=True)
  assert run.end() == [0, 0], run.report()
  same_rows(rows(tmp_path / "run"), rows(straight / "on2"))


def test_a_damaged_record_ends_all_with_its_name(records, tmp_path):
  packed = tmp_path / "packed"
  shutil.copytree(records, packed)
  shard = next(packed.glob("*.tfrecord*"))
  bytes_ = bytearray(shard.read_bytes())
  bytes_[len(bytes_) // 2] ^= 255
  shard.write_bytes(bytes_)
  run = train(tmp_path, 2, ("--data.on_damage", "raise", "--steps", 40), records=packed)
  assert run.end() == [2, 2], run.report()
  said = [run.said(0), run.said(1)]
  assert all(str(shard) in text for text in said), run.report()
  assert any("failed: " in text for text in said) and "Traceback" not in "".join(said)


def test_other_values_are_refused_on_all_with_whose_they_are(records, tmp_path):
  run = train(tmp_path, 2, records=records, own={1: ("--optimizer.learning_rate", 0.2, "--steps", 13)})
  assert run.end() == [2, 2], run.report()
  for index in (0, 1):
    assert "optimizer.learning_rate: 0.1 on process 0 (host " in run.said(index)
    assert "; 0.2 on process 1 (host " in run.said(index) and "steps: 12 on process 0" in run.said(index)


def test_other_initial_values_are_refused_with_their_names(records, tmp_path):
  run = train(tmp_path, 2, records=records, fault="jaxface.training.step:TrainStep._init@1@fold@1")
  assert run.end() == [2, 2], run.report()
  for index in (0, 1):
    assert "the processes of the run have different values (the state of step 0)" in run.said(index), run.report()
    assert re.search(r"params/model/Dense_0/kernel: [0-9a-f]{8} on process 0 \(host .*; [0-9a-f]{8} on process 1", run.said(index))
    assert "params/model/Dense_0/bias" not in run.said(index)  # zeros on both


@pytest.mark.multihost
def test_values_that_part_later_are_not_saved_and_the_run_comes_to_the_same_end(straight, records, tmp_path):
  run = train(tmp_path, 2, records=records, fault="jaxface.training.between_steps:BetweenSteps.save@1@change@2", verify=True)
  assert run.end() == [2, 2], run.report()
  for index in (0, 1):
    assert "(the values of step 8)" in run.said(index) and "  params/model/Dense_0/bias: " in run.said(index), run.report()
    assert "This state is not saved" in run.said(index) and "kernel" not in run.said(index)
  assert [path.name for path in (tmp_path / "run" / "checkpoints" / "last").iterdir()] == ["4"]
  run = train(tmp_path, 2, records=records, verify=True)
  assert run.end() == [0, 0], run.report()
  same_rows(rows(tmp_path / "run"), rows(straight / "on2"))


def test_another_folder_is_refused(records, tmp_path):
  run = train(tmp_path, 2, records=records, own={1: ("--workdir", tmp_path / "other")})
  assert run.end() == [2, 2], run.report()
  assert all("do not share one workdir" in run.said(index) and str(tmp_path / "other") in run.said(index) for index in (0, 1))
  assert not (tmp_path / "run" / ".lock").exists()


def test_sigterm_before_the_first_step_ends_all_and_gives_the_folder_back(records, tmp_path):
  run = train(tmp_path, 2, records=records)
  run.wait_for("convolution")
  run.signal(1, signal.SIGTERM)
  assert run.end() == [INTERRUPTED, INTERRUPTED], run.report()
  assert "Traceback" not in run.report() and "process 1 (host " in run.said(0) and "failed: interrupted" in run.said(0)
  assert not (tmp_path / "run" / ".lock").exists()


@pytest.mark.parametrize(
  ("fault", "codes", "words"),
  [
    pytest.param("raise0", [2, 2, 2], "process 0 (host {host}) failed: no space left", marks=pytest.mark.multihost),
    ("raise2", [2, 2, 2], "process 2 (host {host}) failed: no space left"),
    ("bug1", [1, 1, 1], "process 1 (host {host}) failed: KeyError: 'no space left'"),
    ("hang1", [2, 2, 2], "process 1 (host {host}) did not arrive here within 4 s of the last sign of progress (mesh.stall_seconds): step 3"),
    pytest.param("work0", [0, 0, 0], "", marks=pytest.mark.multihost),
    ("skip1", [2, 2, 2], "process 1 (host {host}) is at: another point"),
    ("differ", [2, 2, 2], "rate: 0 on process 0 (host {host}), process 1 (host {host}); 1 on process 2 (host {host})"),
    pytest.param("end", [0, 0, 0], "", marks=pytest.mark.multihost),
  ],
)
def test_a_fault_of_one_process_ends_all_with_its_words(tmp_path, fault, codes, words):
  run = joined(tmp_path, 3, fault)
  assert run.end() == codes, run.report()
  for index in range(3):
    if f"{index}" not in fault or fault in ("skip1", "differ"):
      assert words.format(host=socket.gethostname()) in run.said(index), run.report()
  assert "Check failure" not in run.report()


@pytest.mark.multihost
@pytest.mark.parametrize(
  ("fault", "what"),
  [
    ("jaxface.formats.packing:survey@0@hang@1", "while packing {folder}"),
    ("jaxface.training.step:TrainStep._init@1@hang@1", "while building the network"),
  ],
)
def test_a_start_that_hangs_ends_all_with_what_it_hangs_in(records, tmp_path, fault, what):
  images = records.parent / "images"
  run = train(tmp_path, 2, ("--mesh.stall_seconds", 8, "--data.images", images), records="", fault=fault)
  assert run.end() == [INTERRUPTED, INTERRUPTED], run.report()
  hung = int(fault.split("@")[1])
  assert f"nothing was completed for 8 s (mesh.stall_seconds) {what.format(folder=images)}" in run.said(hung), run.report()
  assert "in fail" in run.said(hung) and f"process {hung} (host " in run.said(1 - hung)


@pytest.mark.parametrize(
  ("number", "victim"),
  [
    (signal.SIGKILL, 1), (signal.SIGKILL, 0), (signal.SIGSTOP, 0),
    pytest.param(signal.SIGSTOP, 1, marks=pytest.mark.multihost),
  ],
)
def test_a_silent_process_is_named_in_time(tmp_path, number, victim):
  run = joined(tmp_path, 3, "")
  run.wait_for("step 3", 0)
  run.signal(victim, number)
  began = time.monotonic()
  assert run.end(30, but=[victim]) == [INTERRUPTED] * 2, run.report()
  assert time.monotonic() - began < 15
  for index in {0, 1, 2} - {victim}:
    last = run.said(index).splitlines()[-2:]
    assert f"process {victim} (host " in last[0] and "run the same command again" in last[0], run.report()
    assert last[1].endswith(f"ends with code {INTERRUPTED}")
    if (number, victim) != (signal.SIGKILL, 0):  # JAX's own last lines cannot be helped
      assert "Check failure" not in run.said(index)
