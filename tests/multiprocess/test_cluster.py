"""`jaxface doctor --cluster` with two and four local processes: all is well, or one of them is wrong and named."""

import json
import shutil

import pytest
from harness import Processes, free_port, pack_noise

from jaxface.formats.packing import pack

FILE = """
import os
import sys
from dataclasses import replace

from jaxface.data.config import DataConfig
from jaxface.training.config import Experiment

index = int(sys.argv[sys.argv.index("--mesh.process_id") + 1])
EXPERIMENT = Experiment(data=DataConfig(records=os.environ["RECORDS"]), batch_size=16)
if os.environ.get("FAULT") == f"data{index}":
  EXPERIMENT = replace(EXPERIMENT, data=replace(EXPERIMENT.data, records=os.environ["OTHER"]))
if os.environ.get("FAULT") == f"absent{index}":
  EXPERIMENT = replace(EXPERIMENT, data=replace(EXPERIMENT.data, records=os.environ["RECORDS"] + "-gone"))
if os.environ.get("FAULT") == f"version{index}":
  import jaxface.training.host_facts as facts
  facts._version = lambda name, kept=facts._version: "0.0.1" if name == "optax" else kept(name)
if os.environ.get("FAULT") == f"devices{index}":
  os.environ["XLA_FLAGS"] += " --xla_force_host_platform_device_count=2"
if os.environ.get("FAULT") == f"slow{index}":
  import time
  import jaxface.training.bandwidth as bandwidth
  kept = bandwidth.jax.block_until_ready
  bandwidth.jax.block_until_ready = lambda x: (time.sleep(0.2), kept(x))[1]
"""


@pytest.fixture(scope="module")
def records(tmp_path_factory):
  """A packed set, and one that lacks a person."""
  folder = tmp_path_factory.mktemp("noise")
  whole = pack_noise(folder)
  shutil.rmtree(folder / "images" / "person07")
  pack(folder / "images", folder / "fewer")
  return whole, folder / "fewer"


def doctor(folder, count, records, *options, fault="", own=None):
  folder.mkdir(exist_ok=True)
  (folder / "file.py").write_text(FILE)
  port = free_port()
  base = ["-m", "jaxface.commands.main", "doctor", "--cluster", str(folder / "file.py"), "--megabytes", "0.1", "--workdir", str(folder / "run")]
  commands = [
    [*base, *map(str, options), *map(str, (own or {}).get(index, ())), "--mesh.coordinator", f"127.0.0.1:{port}", "--mesh.processes", str(count),
     "--mesh.process_id", str(index)]
    for index in range(count)
  ]
  return Processes(folder, commands, "doctor", {"FAULT": fault, "RECORDS": str(records[0]), "OTHER": str(records[1])})


@pytest.mark.multihost
@pytest.mark.parametrize("count", [2, 4])
def test_equal_processes_have_no_fault(count, records, tmp_path):
  run = doctor(tmp_path, count, records, "--json", tmp_path / "report.json")
  assert run.end() == [0] * count, run.report()
  assert f"mesh: data {count}" in run.said(0) and "no fault: the processes agree" in run.said(0)
  report = json.loads((tmp_path / "report.json").read_text())
  assert report["rows"] == [16 // count] * count and not report["faults"] and all(link["right"] for link in report["links"])
  names = ["data"] + (["between 0 and 1", "between 2 and 3", "between 1 and 2"] if count == 4 else [])
  assert [link["name"] for link in report["links"]] == names
  assert not list((tmp_path / "run").iterdir())


@pytest.mark.multihost
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize(
  ("fault", "words"),
  [
    ("data", ["data, shards_sha256", "data, identities"]), ("absent", ["cannot be read: "]), ("version", ["package optax", '"0.0.1"']),
    ("devices", ["devices of the process", "no collective was tried"]), ("folder", ["is not shared"]), ("blocked", ["cannot be written"]),
  ],
)
def test_one_wrong_process_is_named_with_what_it_has(count, fault, words, records, tmp_path):
  wrong = count - 1
  (tmp_path / "file").write_text("in the way")
  places = {"folder": tmp_path / "elsewhere", "blocked": tmp_path / "file" / "below"}
  own = {wrong: ("--workdir", places[fault])} if fault in places else {}
  run = doctor(tmp_path, count, records, fault=f"{fault}{wrong}", own=own)
  assert run.end() == [1] * count, run.report()
  said = run.said(0)
  assert f"process {wrong} (host " in said and all(word in said for word in words), said
  if count == 4:  # the three that agree are not accused
    assert not any(f"fault: process {index} (host" in said for index in range(2)), said


@pytest.mark.multihost
def test_a_slow_process_and_a_slow_network_are_faults(records, tmp_path):
  run = doctor(tmp_path / "a", 2, records, "--expect", "data=1000")
  assert run.end() == [1, 1] and "less than half of the expected 1e+03 GB/s (--expect)" in run.said(0), run.report()
  run = doctor(tmp_path / "b", 4, records, fault="slow3")
  assert run.end() == [1] * 4 and "between process 2 (host " in run.said(0) and "of the median" in run.said(0), run.report()


@pytest.mark.multihost
def test_a_killed_process_ends_the_others_with_its_name(records, tmp_path):
  run = doctor(tmp_path, 2, records, "--mesh.heartbeat_seconds", 3, "--megabytes", 200)
  run.wait_for("Gloo", 1)
  run.processes[1].kill()
  assert run.end(but=[1]) == [75] and "process 1 (host " in run.said(0), run.report()
