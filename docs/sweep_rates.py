"""Trains one network with sampled classes, three rates with three seeds each, and writes the comparison into docs/class_centers.md.

Each run is the experiment `margins` with CosFace, on the subset of CelebA, for 1,000 steps, verified on LFW view 2. Finished runs
are kept.

Command: JAXFACE_DATA=FOLDER python docs/sweep_rates.py
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from generated import replace_part
from scipy.stats import t
from tqdm import tqdm

from jaxface.formats.atomic import write_json

PAGE = Path(__file__).with_name("class_centers.md")
RESULTS = Path(__file__).with_name("sampling.json")
GROUPS = (1, 3, 10)
SEEDS = (0, 1, 2)


def arguments(group: int, seed: int, workdir: Path) -> list[str]:
  """Command line of a run that samples one class of every `group`."""
  return [
    "train", "cosface", "--workdir", str(workdir), "--seed", str(seed),
    *(["--terms.0.sample_rate", f"{1 / group:.6g}"] if group > 1 else []),
  ]


def run_one(group: int, seed: int, folder: Path) -> dict[str, Any]:
  """Figures of a run, which is made or continued where it is not finished."""
  workdir = folder / f"w{group}_seed{seed}"
  if not (workdir / "lfw.json").is_file():
    subprocess.run([sys.executable, "-m", "jaxface.commands.main", *arguments(group, seed, workdir)], check=True)
  figures = json.loads((workdir / "lfw.json").read_text(encoding="utf-8"))
  return {
    "group": group, "seed": seed, "folds": [fold["accuracy"] for fold in figures["folds"]], "auc": figures["auc"],
    "tar": figures["tar_at_far"]["1e-2"],
  }


def interval(value_n: np.ndarray) -> tuple[float, float]:
  """Mean of independent values and half the width of its 95 % interval (Student's t)."""
  half = t.ppf(0.975, len(value_n) - 1) * value_n.std(ddof=1) / np.sqrt(len(value_n))
  return float(value_n.mean()), float(half)


def table(results: list[dict[str, Any]]) -> str:
  """The generated part of the page."""
  folds_rsf = np.array([[one["folds"] for one in results if one["group"] == group] for group in GROUPS])
  lines = [
    "| rate | LFW of each seed, % | mean, % | difference to rate 1, points: over folds | over seeds | AUC | TAR at FAR 1e-2 |",
    "|---|---|---|---|---|---|---|",
  ]
  for index, group in enumerate(GROUPS):
    own_sf, own = folds_rsf[index], [one for one in results if one["group"] == group]
    change_sf = 100 * (own_sf - folds_rsf[0])
    over = ["–", "–"] if group == 1 else [
      "{:+.2f} ± {:.2f}".format(*interval(change_sf.mean(axis=axis))) for axis in (0, 1)
    ]
    cells = [
      "1" if group == 1 else f"1/{group}", " / ".join(f"{100 * each:.2f}" for each in own_sf.mean(axis=1)),
      "{:.2f} ± {:.2f}".format(*interval(100 * own_sf.mean(axis=0))), *over,
      f"{np.mean([one['auc'] for one in own]):.4f}", f"{np.mean([one['tar'] for one in own]):.3f}",
    ]
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"


def main() -> int:
  """Runs what is missing, and writes the page."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--runs", type=Path, default=Path("runs/rates"), help="folder of the runs (default: %(default)s)")
  parser.add_argument("--page-only", action="store_true", help="write the page from docs/sampling.json, without runs")
  options = parser.parse_args()
  if not options.page_only:
    if not Path(os.environ.get("JAXFACE_DATA", ""), "celeba_aligned112").is_dir():
      parser.error("set JAXFACE_DATA to the folder that holds celeba_aligned112, lfw_aligned112 and protocols")
    todo = [(group, seed) for seed in SEEDS for group in GROUPS]
    results = [run_one(group, seed, options.runs) for group, seed in tqdm(todo, unit="run", desc="rates")]
    write_json(RESULTS, results)
  results = json.loads(RESULTS.read_text(encoding="utf-8"))
  replace_part(PAGE, "docs/sweep_rates.py", table(results))
  return 0


if __name__ == "__main__":
  sys.exit(main())
