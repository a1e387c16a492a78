"""The process that compiles: what it is given, what is kept of it, and how it fails. Another program stands in its place."""

import json
import sys
from dataclasses import asdict

import pytest

from jaxface.planning import worker
from jaxface.planning.compiled import CannotCompile, Compiled, Request, compile_for, request_key
from jaxface.planning.topology import parse_topology


@pytest.fixture
def request_of(tiny):
  return Request(tiny[0], 480, "cpu:2", overrides={}, network=tiny[1])


@pytest.fixture
def program(tmp_path, monkeypatch):
  """Function (lines): a program with these lines takes the place of Python."""

  def program(text: str) -> None:
    file = tmp_path / "python"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(file))

  return program


FACTS = {"arguments": 1, "temporaries": 2, "results": 3, "code": 4, "reported_flops": 5.0, "reported_bytes": 6.0, "text": "ENTRY"}


def test_a_result_is_kept_by_experiment_topology_and_versions(request_of, experiment, program, tmp_path, monkeypatch):
  folder, topology, said = tmp_path / "kept", parse_topology("cpu:2"), []
  assert compile_for(request_of, experiment, topology, cache=folder, only_kept=True) is None
  program(f"echo compiling\necho \"$XLA_FLAGS\" > {tmp_path}/flags\ncp \"$3\" {tmp_path}/given\ncat > \"$4\" <<'E'\n{json.dumps(FACTS)}\nE")
  found = compile_for(request_of, experiment, topology, cache=folder, say=said.append)
  assert {**{name: getattr(found, name) for name in FACTS}, "memory": found.memory} == {**FACTS, "memory": 10}
  assert "compiling" in said[0] and "device_count=2" in (tmp_path / "flags").read_text()
  assert json.loads((tmp_path / "given").read_text()) == asdict(request_of)
  program("exit 1")
  again = compile_for(request_of, experiment, topology, cache=folder)
  assert again == found
  for other in (experiment.with_overrides({"batch_size": "32"}), experiment.with_overrides({"terms.0.block": "64"})):
    assert request_key(request_of, other) != request_key(request_of, experiment)
  monkeypatch.setattr("jaxface.planning.compiled.version", lambda name: "9")
  assert compile_for(request_of, experiment, topology, cache=folder, only_kept=True) is None
  monkeypatch.undo()
  file = next(folder.glob("*.json"))
  file.write_bytes(file.read_bytes()[:-9])
  assert compile_for(request_of, experiment, topology, cache=folder, only_kept=True) is None


@pytest.mark.parametrize(
  ("message", "gibibytes"),
  [("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.5G of 15.75G hbm.", 20.5),
   ("CompileTimeHbmOom: the total memory required for HLO temporaries (212.5G) exceeds available HBM (15.75G). HLO module", 212.5)],
)
def test_a_program_that_is_too_large_has_its_size(message, gibibytes, request_of, experiment, program, tmp_path):
  program(f"echo '{message}' >&2\nexit 1")
  found = compile_for(request_of, experiment, parse_topology("cpu:2"), cache=tmp_path / "kept")
  assert found.refused == found.memory == gibibytes * 2**30


def test_any_other_failure_is_told_and_not_kept(request_of, experiment, program, tmp_path):
  program("echo 'Traceback' >&2\necho 'ValueError: topology v5e:3x5 cannot be built' >&2\nexit 1")
  with pytest.raises(CannotCompile, match="cannot be compiled: ValueError: topology v5e:3x5 cannot be built"):
    compile_for(request_of, experiment, parse_topology("cpu:2"), cache=tmp_path / "kept")
  assert not (tmp_path / "kept").exists()


def test_the_worker_reads_a_request_and_writes_facts(request_of, tmp_path, monkeypatch):
  (tmp_path / "in.json").write_text(json.dumps(asdict(request_of)))
  monkeypatch.setattr(sys, "argv", ["worker", str(tmp_path / "in.json"), str(tmp_path / "out.json")])
  monkeypatch.setattr(worker, "facts_of", lambda experiment, identities, devices, stage: {"arguments": identities * len(devices) + experiment.batch_size})
  assert worker.main() == 0
  assert json.loads((tmp_path / "out.json").read_text()) == {"arguments": 480 * 2 + 16}


def test_a_topology_that_cannot_be_built_is_named(monkeypatch):
  from jax.experimental import topologies

  def refuse(**given):
    raise RuntimeError(f"INVALID_ARGUMENT: layout {given['topology_name']} is not divisible\nmore")

  monkeypatch.setattr(topologies, "get_topology_desc", refuse)
  with pytest.raises(ValueError, match="topology 'v5e:3x5' cannot be built: INVALID_ARGUMENT: layout v5e:3x5 is not divisible"):
    worker.devices_of(parse_topology("v5e:3x5"))


def test_a_tiny_step_compiles_for_a_tpu(request_of, experiment, tmp_path):
  pytest.importorskip("libtpu", reason="LIBTPU ABSENT: no step was compiled for a TPU (pip install 'jaxface[plan]')")
  request = Request(request_of.experiment, 480, "v5e:2x2", overrides={}, network=request_of.network)
  found = compile_for(request, experiment, parse_topology("v5e:2x2"), cache=tmp_path)
  assert isinstance(found, Compiled) and found.temporaries > 0 and "all-reduce" in found.text
