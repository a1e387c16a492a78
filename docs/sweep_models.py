"""Trains every network for about a minute on real faces, and writes the results to docs/models.json.

Each is trained with CosFace's loss on a subset of CelebA by `jaxface.training` with the settings in docs/model_settings.py, and
evaluated before and after on the 1,000 pairs of LFW's view 1 (pairsDevTest), which are meant for choosing settings. A rerun
skips finished networks. docs/make_models_page.py makes a page of the results.

Command: JAXFACE_DATA=FOLDER python docs/sweep_models.py [PATTERN ...]
"""

import argparse
import dataclasses
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from model_results import keep_result, read_results
from model_settings import Setting, setting
from tqdm import tqdm

from jaxface.commands.malloc import TUNABLES
from jaxface.data.augmentation import AugmentConfig
from jaxface.data.config import DataConfig, open_records, open_source
from jaxface.evaluation.config import VerificationConfig
from jaxface.formats.atomic import write_json
from jaxface.formats.pairs import read_pairs
from jaxface.heads.classification import Classification
from jaxface.heads.per_member import PerMember
from jaxface.inference.verify import VerificationHook
from jaxface.losses.margins import CosFace
from jaxface.losses.term import Term
from jaxface.models.config import ModelConfig
from jaxface.models.registry import create, list_models
from jaxface.models.saved import SavedModel, count_parameters, save_model
from jaxface.pipeline.run import pack_once
from jaxface.training.config import Experiment, MeshConfig
from jaxface.training.logs import read_metrics
from jaxface.training.loop import train
from jaxface.training.schedule import ScheduleConfig
from jaxface.training.workdir import Workdir

# Parameters without a gradient: a network under a projection, and the scale of an IR-ResNet's last norm, which is fixed at one.
STILL = ("frozen/*", "embedding_norm/scale")

# Identities with fewer images are ignored: a minute is too short to train thousands of centres.
MIN_IMAGES = 5


class FirstParameters:
  """Keeps a copy of the initial parameters."""

  def due(self, step: int, last: int) -> bool:
    return step == 0

  def __call__(self, step: int, variables: Any) -> dict[str, float]:
    self.params = jax.tree.map(np.array, variables["params"])
    return {}


def experiment(name: str, chosen: Setting, runs: Path) -> Experiment:
  """The run of one network."""
  return Experiment(
    name=name, steps=chosen.steps, batch_size=chosen.batch_size, log_every=10, checkpoint_every=chosen.steps,
    keep_checkpoints=1,
    data=DataConfig(records=str(runs / "records" / "train"), min_images=MIN_IMAGES),
    augment=AugmentConfig(mirror=0.5),
    model=ModelConfig(
      name, size=chosen.size, fit="resize", options=chosen.options,
      init_from=str(runs / chosen.init_from) if chosen.init_from else "",
    ),
    terms=(objective(name, chosen.options),),
    optimizer=chosen.optimizer,
    schedule=ScheduleConfig(name="cosine", warmup_steps=chosen.steps // 10),
    mesh=MeshConfig(devices=1),
  )


def objective(name: str, options: Mapping[str, Any]) -> Term:
  """CosFace's loss, and one for each network of an ensemble."""
  classification = Classification(CosFace(m=0.1, scale=16.0))
  members = getattr(create(name, **options), "members", 1)
  return PerMember(classification, members) if members > 1 else classification


def sweep_one(name: str, runs: Path, pairs_file: Path) -> dict[str, Any]:
  """Train one network; returns the results as plain values."""
  chosen = setting(name)
  plan = experiment(name, chosen, runs)
  folder = runs / name
  shutil.rmtree(folder, ignore_errors=True)
  workdir = Workdir(folder)
  source, _ = open_source(plan.data)
  config = VerificationConfig("view1", mirror="none")
  images = open_records(runs / "records" / "view1")
  first = FirstParameters()
  hook = VerificationHook(config, images, read_pairs(pairs_file), plan.model, workdir.path / "before.npz")
  start = time.perf_counter()
  trained = train(plan, workdir, source, (hook, first))
  seconds = time.perf_counter() - start
  rows = read_metrics(workdir.path)
  auc = [row["view1/auc"] for row in rows if "view1/auc" in row]
  steps = [row for row in rows if "loss" in row]
  save_model(workdir.model, SavedModel(name, trained.options, trained.preprocess, trained.variables))
  shutil.rmtree(workdir.checkpoints)
  params = trained.variables["params"]
  moved = jax.tree.map(lambda a, b: bool((a != b).any()), first.params, params)
  return {
    "setting": plain(chosen),
    "input": [*trained.preprocess.size, trained.preprocess.channels],
    "parameters": count_parameters(params),
    "images": int(source.num_records),
    "identities": int(source.num_identities),
    "seconds": round(seconds),
    "images_per_second": round(float(np.median([row["images_per_second"] for row in steps])), 1),
    "loss": [round(steps[0]["loss"], 3), round(steps[-1]["loss"], 3)],
    # Number of steps with a non-finite loss or gradient.
    "bad_steps": int(steps[-1]["bad_steps"]),
    "unmoved": [
      jax.tree_util.keystr(path, simple=True, separator="/")
      for path, leaf in jax.tree_util.tree_leaves_with_path(moved) if not leaf
    ],
    "auc": [round(value, 4) for value in auc],
  }


def plain(chosen: Setting) -> dict[str, Any]:
  """A setting as JSON values."""
  return json.loads(json.dumps(dataclasses.asdict(chosen)))


def prepare(data: Path, runs: Path) -> None:
  """Pack the training images, and the LFW images of view 1, once."""
  pack_once(str(data / "celeba_aligned112"), runs / "records" / "train", 0, "arcface112")
  pairs = read_pairs(data / "protocols" / "pairsDevTest.txt")
  for name in {*pairs.left, *pairs.right}:
    copy = runs / "view1" / f"{name}.jpg"
    if not copy.is_file():
      copy.parent.mkdir(parents=True, exist_ok=True)
      shutil.copy(data / "lfw_aligned112" / f"{name}.jpg", copy)
  pack_once(str(runs / "view1"), runs / "records" / "view1", 0, "arcface112")


def verdict(result: dict[str, Any]) -> str:
  """The faults of a run, or "ok"."""
  stuck = [leaf for leaf in result["unmoved"] if not any(fnmatch.fnmatch(leaf, pattern) for pattern in STILL)]
  wrong = [
    text for text, bad in (
      ("the loss did not fall", not result["loss"][1] < result["loss"][0]),
      (f"{result['bad_steps']} steps with a gradient that was not finite", result["bad_steps"] > 0),
      (f"parameters that did not change: {', '.join(stuck)}", bool(stuck)),
      ("AUC is not above the untrained net's", not result["auc"][1] > result["auc"][0]),
    ) if bad
  ]
  return "; ".join(wrong) or "ok"


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("patterns", nargs="*", default=["*"], help="shell patterns of networks (default: all)")
  parser.add_argument("--runs", type=Path, default=Path("runs/models"), help="folder for runs and packed images")
  parser.add_argument("--again", action="store_true", help="repeat finished networks")
  parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
  options = parser.parse_args()
  data = Path(os.environ.get("JAXFACE_DATA", ""))
  if not (data / "celeba_aligned112").is_dir():
    parser.error("set JAXFACE_DATA to the folder that holds celeba_aligned112, lfw_aligned112 and protocols")
  if options.child:
    write_json(options.child, sweep_one(options.patterns[0], options.runs, data / "protocols" / "pairsDevTest.txt"))
    return 0
  names = [name for name in list_models() if any(fnmatch.fnmatch(name, pattern) for pattern in options.patterns)]
  names.sort(key=lambda name: bool(setting(name).init_from))
  prepare(data, options.runs)
  failed = 0
  for name in tqdm(names, unit="net", desc="sweep"):
    before = read_results(name).get("sweep")
    if before and before["setting"] == plain(setting(name)) and verdict(before) == "ok" and not options.again:
      continue
    # A process per network, so that memory is released and a crash affects only one network.
    out = options.runs / f"{name}.json"
    command = [sys.executable, __file__, name, "--runs", str(options.runs), "--child", str(out)]
    done = subprocess.run(command, env=os.environ | {"GLIBC_TUNABLES": TUNABLES})
    if done.returncode:
      tqdm.write(f"{name}: ended with code {done.returncode}")
      failed += 1
      continue
    result = json.loads(out.read_text(encoding="utf-8"))
    keep_result(name, "sweep", result)
    tqdm.write(f"{name}: {verdict(result)}; loss {result['loss']}, AUC {result['auc']}, {result['seconds']} s")
    failed += verdict(result) != "ok"
  return 1 if failed else 0


if __name__ == "__main__":
  sys.exit(main())
