"""A model that is replaced is there at every moment: after a kill at any step, and for whoever reads meanwhile."""

import json
import os
import subprocess
import sys
import time

import chex
import jax
import numpy as np
import pytest

from jaxface.formats.checked_json import read_checked_json
from jaxface.models import saved as module
from jaxface.models.saved import SavedModel, load_model, save_model

OPTIONS = {"units": [1, 1, 0, 0], "width": 0.0625, "embedding_size": 8}


@pytest.fixture(scope="module")
def old(random_model):
  return random_model("iresnet", **OPTIONS)


@pytest.fixture(scope="module")
def new(old):
  return SavedModel(
    old.name, old.options, old.preprocess, jax.tree.map(lambda leaf: leaf + np.float32(1), old.variables), {"source": "new"}
  )


def as_format_2(folder):
  """The folder as releases before content-named variables wrote it."""
  plain = read_checked_json(folder / "model.json")
  (folder / plain.pop("variables")).rename(folder / "variables")
  (folder / "model.json").write_text(json.dumps({**plain, "format_version": 2}))


class Killed(BaseException):
  pass


def die_at(monkeypatch, step):
  """Dies before the step-th call of what `save_model` does to the disk; returns the calls so far."""
  calls = []

  def dying(owner, name):
    real = getattr(owner, name)

    def call(*arguments, **options):
      if len(calls) == step:
        raise Killed
      calls.append(name)
      return real(*arguments, **options)

    return call

  for owner, name in ((module.checkpoint, "save_tree"), (module, "sync_folder"), (module, "write_checked_json")):
    monkeypatch.setattr(owner, name, dying(owner, name))
  rmtree = module.shutil.rmtree

  def remove(*arguments, **options):
    if len(calls) == step:
      raise Killed
    calls.append("rmtree")
    return rmtree(*arguments, **options)

  monkeypatch.setattr(module.shutil, "rmtree", remove)
  return calls


@pytest.mark.parametrize("before", [2, 3])
@pytest.mark.parametrize("step", range(5))
def test_a_kill_at_any_step_leaves_one_whole_model(old, new, tmp_path, monkeypatch, step, before):
  save_model(tmp_path / "net", old)
  if before == 2:
    as_format_2(tmp_path / "net")
  with monkeypatch.context() as patch:
    calls = die_at(patch, step)
    try:
      save_model(tmp_path / "net", new)
      died = False
    except Killed:
      died = True
  assert died == (step < 4) and calls == ["save_tree", "sync_folder", "write_checked_json", "rmtree"][:step]
  found = load_model(tmp_path / "net")
  chex.assert_trees_all_equal(found.variables, (new if step > 2 else old).variables)
  save_model(tmp_path / "net", new)
  chex.assert_trees_all_equal(load_model(tmp_path / "net").variables, new.variables)
  names = sorted(path.name for path in (tmp_path / "net").iterdir())
  assert len(names) == 3 and names[:2] == ["card.md", "model.json"] and names[2].startswith("variables-")
  assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_a_folder_of_format_2_is_read(old, tmp_path):
  save_model(tmp_path / "net", old)
  as_format_2(tmp_path / "net")
  chex.assert_trees_all_equal(load_model(tmp_path / "net").variables, old.variables)


def test_the_same_variables_are_not_written_again(old, tmp_path, monkeypatch):
  save_model(tmp_path / "net", old)
  monkeypatch.setattr(module.checkpoint, "save_tree", None)
  save_model(tmp_path / "net", SavedModel(old.name, old.options, old.preprocess, old.variables, {"source": "again"}))
  assert load_model(tmp_path / "net").meta == {"source": "again"}


@pytest.mark.parametrize("name", ["../variables-ab", "/tmp", "variables-xyz", 3])
def test_variables_outside_of_the_folder_are_refused(old, tmp_path, name):
  save_model(tmp_path / "net", old)
  plain = read_checked_json(tmp_path / "net" / "model.json")
  (tmp_path / "net" / "model.json").write_text(json.dumps({**plain, "variables": name}))
  with pytest.raises(module.DamagedModel, match="entry 'variables'"):
    load_model(tmp_path / "net")


WRITER = """
import os
import sys
from jaxface.models.saved import SavedModel, load_model, save_model
import jax
folder = sys.argv[1]
models = [load_model(f"{folder}/{name}") for name in ("old", "new")]
print("ready", flush=True)
turn = 0
while not os.path.exists(f"{folder}/stop"):
  save_model(f"{folder}/net", models[turn % 2])
  turn += 1
"""


@pytest.mark.slow
def test_readers_meet_a_whole_model_while_another_process_replaces_it(old, new, tmp_path):
  for name, saved in (("old", old), ("new", new), ("net", old)):
    save_model(tmp_path / name, saved)
  environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
  writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], env=environment, stdout=subprocess.PIPE)
  assert writer.stdout.readline() == b"ready\n"
  # The writer goes on until the reader has met both models, so that neither depends on how the two are scheduled.
  seen, reads, deadline = set(), 0, time.monotonic() + 120
  try:
    while (len(seen) < 2 or reads < 12) and time.monotonic() < deadline and writer.poll() is None:
      found = load_model(tmp_path / "net")
      expected = new if found.meta == {"source": "new"} else old
      chex.assert_trees_all_equal(found.variables, expected.variables)
      seen.add(found.meta.get("source"))
      reads += 1
  finally:
    (tmp_path / "stop").touch()
  assert writer.wait(60) == 0 and seen == {old.meta.get("source"), "new"}
