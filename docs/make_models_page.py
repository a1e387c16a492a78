"""Writes docs/models.md: every network with its figures, those of its paper, its speed, and a short training run.

Speeds that are missing in docs/models.json are measured, in a process per network; the runs are from docs/sweep_models.py.

Command: python docs/make_models_page.py [--again] [--no-measure]
"""

import argparse
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model_results import keep_result, read_all, read_results
from sweep_models import verdict
from tqdm import tqdm

from jaxface.commands.malloc import TUNABLES
from jaxface.models.overview import figures
from jaxface.models.registry import list_models
from jaxface.models.speed import measure_speed
from jaxface.models.summary import summarise

PAGE = Path(__file__).with_name("models.md")
HEAD = """# Networks

`jaxface models` prints this table, `jaxface models NAME` the layers of one network. Written by docs/make_models_page.py.

Parameters are those of the network, without a classifier. Multiply-adds are for one image, in convolutions and matrix products
only, without biases. LFW is the paper's figure for its own training set. Speeds are images per second on {machine},
in {dtype}, at the network's own input size: forward alone, and a training step (forward, backward, gradient descent) without
augmentation and classes.

"""
TITLES = ("network", "input", "embedding", "parameters", "multiply-adds", "paper's parameters", "paper's multiply-adds",
          "LFW, %", "forward/s", "train/s")
SWEEP = """
## Every network trains

About a minute each on two cores: CosFace on {identities} identities of the CelebA subset ({images:,} images), with image sizes and
channels as in the table. View 1 is the area under the curve on LFW's 1,000 development pairs, before and after;
nothing was tuned on LFW's test pairs. All gradients of all steps were finite. Command: `make sweep-models`; settings:
docs/model_settings.py.

"""
SWEEP_TITLES = ("network", "input", "options", "parameters", "optimizer", "steps", "loss", "view 1 AUC", "seconds", "note")


def measure_one(name: str) -> None:
  """Measure and store a network's speed."""
  speed = measure_speed(name)
  keep_result(name, "speed", {**asdict(speed), "machine": machine()})


def machine() -> str:
  """Processor and cores."""
  lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
  models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
  return f"{len(os.sched_getaffinity(0))} cores of {models[0] if models else platform.processor()}"


def row(cells: Any) -> str:
  """One line of a table."""
  return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"


def table(titles: tuple[str, ...], rows: list[Any], left: int) -> str:
  """A table with left-aligned first columns and right-aligned others."""
  rule = ["---" if column < left else "---:" for column in range(len(titles))]
  return row(titles) + row(rule) + "".join(map(row, rows))


def paces(speed: dict[str, Any] | None) -> tuple[str, ...]:
  """Images per second, forward and in training."""
  if speed is None:
    return ("–", "–")
  return tuple(f"{speed[key]:,.0f}" if speed[key] >= 20 else f"{speed[key]:.1f}" for key in ("forward", "train"))


def sweep_row(name: str, result: dict[str, Any]) -> tuple[Any, ...]:
  """The row of one run."""
  setting = result["setting"]
  options = ", ".join(f"{key} {value}" for key, value in setting["options"].items())
  optimizer = setting["optimizer"]
  before, after = result["auc"]
  first, last = result["loss"]
  outcome = verdict(result)
  notes = [setting["note"], "" if outcome == "ok" else outcome]
  return (
    f"`{name}`", "×".join(map(str, result["input"])), options or "–", f"{result['parameters']:,}",
    f"{optimizer['name']} {optimizer['learning_rate']:g}", f"{setting['steps']} × {setting['batch_size']}",
    f"{first:.2f} → {last:.2f}", f"{before:.3f} → {after:.3f}", result["seconds"], "; ".join(filter(None, notes)) or "–",
  )


def page(results: dict[str, dict[str, Any]]) -> str:
  """The page from results."""
  speeds = [found["speed"] for found in results.values() if "speed" in found]
  where, dtype = (speeds[-1][key] for key in ("machine", "dtype")) if speeds else ("this machine", "float32")
  rows = [(f"`{name}`", *found["figures"], *paces(found.get("speed"))) for name, found in results.items()]
  text = HEAD.format(machine=where, dtype=dtype) + table(TITLES, rows, 2)
  runs = {name: found["sweep"] for name, found in results.items() if "sweep" in found}
  if runs:
    one = next(iter(runs.values()))
    text += SWEEP.format(identities=one["identities"], images=one["images"])
    text += table(SWEEP_TITLES, [sweep_row(name, result) for name, result in runs.items()], 3)
  return text


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--again", action="store_true", help="repeat existing measurements")
  parser.add_argument("--no-measure", action="store_true", help="skip networks without measurements")
  parser.add_argument("--child", help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.child:
    measure_one(options.child)
    return 0
  for name in tqdm(list_models(), unit="net", desc="measure"):
    keep_result(name, "figures", figures(summarise(name))[1:])
    if not options.no_measure and (options.again or "speed" not in read_results(name)):
      subprocess.run([sys.executable, __file__, "--child", name], env=os.environ | {"GLIBC_TUNABLES": TUNABLES}, check=True)
  results = read_all()
  PAGE.write_text(page({name: results[name] for name in list_models()}), encoding="utf-8")
  return 0


if __name__ == "__main__":
  sys.exit(main())
