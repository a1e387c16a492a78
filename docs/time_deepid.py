"""Time to train DeepID's sixty networks, from the processor time of a few steps of the small form's sixteen.

Runs `jaxface train deepid --small` for a few steps and reads the processor time of its process after each of them, so that starting and compiling are
not counted; all else is: reading and changing images, cropping patches, both passes, the update. The time of sixty is that of sixteen times 60 / 16; the
share of each core that other programs take does not count, though their use of caches and memory does.

Command: JAXFACE_DATA=FOLDER python docs/time_deepid.py --records RECORDS
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from jaxface.training import load_experiment

SMALL, _ = load_experiment("deepid", small=True)
NETWORKS, ALL, CORES = 16, 60, 2


def busy_seconds(process: int) -> float:
  """Processor time of a process and its threads, user and system."""
  fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
  return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def steps_done(file: Path) -> int:
  """The last step of a log of metrics; 0 before the first."""
  lines = file.read_text().splitlines() if file.is_file() else []
  return json.loads(lines[-1])["step"] if lines else 0


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--records", required=True, metavar="DIR", help="packed training images, such as runs/deepid_small/records/train")
  parser.add_argument("--steps", type=int, default=8, help="default: %(default)s; the first two are not counted")
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    command = [sys.executable, "-m", "jaxface.commands.main", "train", "deepid", "--small", "--workdir", f"{folder}/run", "--data.records", options.records,
               "--evaluation=", "--steps", str(options.steps), "--log_every", "1", "--schedule.warmup_steps", "1"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    at: dict[int, tuple[float, float]] = {}
    while run.poll() is None:
      done = steps_done(Path(folder, "run", "metrics.jsonl"))
      if done not in at:
        at[done] = busy_seconds(run.pid), time.monotonic()
      time.sleep(0.05)
  steps = sorted(step for step in at if step >= 2)
  if run.returncode or len(steps) < 3:
    print(f"{' '.join(command)}: ended with {run.returncode} after {max(at, default=0)} steps", file=sys.stderr)
    return 1
  busy, wall = (np.diff([at[step][which] for step in steps]) / np.diff(steps) for which in (0, 1))
  step = float(np.median(busy))
  minutes = step * ALL / NETWORKS * SMALL.steps / CORES / 60
  print(f"{NETWORKS} networks, {SMALL.batch_size} images a step: {step:.2f} s of processor time ({busy.min():.2f} to {busy.max():.2f}), {np.median(wall):.2f} s by the clock,"
        f" load {os.getloadavg()[0]:.1f}")
  print(f"{ALL} networks, {SMALL.steps:,} steps on {CORES} cores without other programs: {minutes:.0f} minutes")
  return 0


if __name__ == "__main__":
  sys.exit(main())
