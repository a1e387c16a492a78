"""No damaged byte is restored in silence: it is named, and the state before is taken."""

import os
import shutil

import chex
import jax
import numpy as np
import pytest

from jaxface.checkpoint import Checkpoints, DamagedCheckpoint, load_tree, save_tree


def files_of(folder):
  return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def written(state_of, tmp_path_factory):
  """Two last states and a best one."""
  folder = tmp_path_factory.mktemp("written")
  checkpoints = Checkpoints(folder)
  for step in (10, 20):
    checkpoints.save(step, state_of(step))
  checkpoints.save_if_best(10, state_of(10), 0.5)
  checkpoints.close()
  return folder


@pytest.fixture
def states(written, tmp_path):
  return shutil.copytree(written, tmp_path / "states")


def restore(folder, like, **options):
  """What is restored, and what is said."""
  checkpoints = Checkpoints(folder)
  try:
    return checkpoints.restore(like, **options), checkpoints.take_notes()
  finally:
    checkpoints.close()


def check_flips(written, folder, state_of, flip, rng, count):
  """Flips in any file of the newest state, each file as likely: never the damaged numbers, and never without a word."""
  like = state_of(0)
  names = [path.relative_to(written / "last" / "20") for path in files_of(written / "last" / "20")]
  for number in range(count):
    copy = shutil.copytree(written, folder / str(number))
    name = names[int(rng.integers(len(names)))]
    where = flip(copy / "last" / "20" / name, rng)
    found, notes = restore(copy, like)
    chex.assert_trees_all_equal(found, state_of(10))
    assert len(notes) == 1 and "the state of step 20 is damaged" in notes[0] and name.name in notes[0], where
    shutil.rmtree(copy)


def test_a_flipped_byte_is_named_and_the_state_before_is_restored(written, tmp_path, state_of, flip):
  check_flips(written, tmp_path, state_of, flip, np.random.default_rng(0), 12)


@pytest.mark.sweep
def test_two_hundred_flips(written, tmp_path, state_of, flip):
  check_flips(written, tmp_path, state_of, flip, np.random.default_rng(), int(os.environ.get("JAXFACE_FLIPS", "200")))


def test_every_file_is_covered(states, state_of, flip):
  rng, newest = np.random.default_rng(1), states / "last" / "20"
  checkpoints = Checkpoints(states)
  for path in files_of(newest):
    whole = path.read_bytes()
    flip(path, rng)
    assert path.name in checkpoints._last.damage(20)
    path.write_bytes(whole)
    for cut in (whole[:-1], whole + b"\n"):
      path.write_bytes(cut)
      assert path.name in checkpoints._last.damage(20)
    path.unlink()
    expected = "" if path.name == "checksums-0.json" else path.name
    assert expected in checkpoints._last.damage(20)
    path.write_bytes(whole)
  assert checkpoints._last.damage(20) == ""
  checkpoints.close()


def test_the_run_goes_on_from_the_older_state_and_the_damaged_one_is_kept(states, state_of, flip):
  flip(states / "last" / "20" / "state" / "_METADATA", np.random.default_rng(2))
  checkpoints = Checkpoints(states)
  assert checkpoints.latest_step == 20
  chex.assert_trees_all_equal(checkpoints.restore(state_of(0)), state_of(10))
  assert checkpoints.latest_step == 10
  checkpoints.save(20, state_of(21))
  checkpoints.wait()
  assert sorted(path.name for path in (states / "last").iterdir()) == ["10", "20", "20.damaged"]
  chex.assert_trees_all_equal(checkpoints.restore(state_of(0)), state_of(21))
  assert len(checkpoints.take_notes()) == 1
  checkpoints.close()


def test_without_a_whole_state_each_is_named(states, state_of, flip):
  for step in (10, 20):
    flip(states / "last" / str(step) / "state" / "manifest.ocdbt", np.random.default_rng(step))
  with pytest.raises(DamagedCheckpoint, match=r"(?s)last/20: state/manifest\.ocdbt.*last/10: state/manifest\.ocdbt.*another --workdir"):
    restore(states, state_of(0))
  assert sorted(path.name for path in (states / "last").iterdir()) == ["10", "20"]


def test_a_damaged_best_state_is_refused_or_replaced(states, state_of, flip):
  chex.assert_trees_all_equal(restore(states, state_of(0), best=True), (state_of(10), []))
  flip(states / "best" / "10" / "state" / "_sharding", np.random.default_rng(3))
  with pytest.raises(DamagedCheckpoint, match=r"best/10: state/_sharding.*\n.*--use last"):
    restore(states, state_of(0), best=True)
  checkpoints = Checkpoints(states)
  checkpoints.check_best()
  assert "the best state, of step 10, is damaged" in checkpoints.take_notes()[0]
  assert checkpoints.save_if_best(30, state_of(30), 0.1)
  checkpoints.close()
  chex.assert_trees_all_equal(restore(states, state_of(0), best=True)[0], state_of(30))


def test_a_best_state_whose_score_is_lost_is_set_aside(states, state_of, flip):
  flip(states / "best" / "10" / "checksums-0.json", np.random.default_rng(4))
  checkpoints = Checkpoints(states)
  assert checkpoints.save_if_best(30, state_of(30), 0.1)
  assert "its score cannot be read" in checkpoints.take_notes()[0]
  assert not checkpoints.save_if_best(40, state_of(40), 0.1)
  checkpoints.close()


def test_a_state_without_its_list_is_passed_over_with_a_note_and_removed(states, state_of):
  (states / "last" / "20" / "checksums-0.json").unlink()
  found, notes = restore(states, state_of(0))
  chex.assert_trees_all_equal(found, state_of(10))
  assert len(notes) == 1 and f"step 20 is not used, since {states / 'last' / '20'} has no checksums-0.json: deleted, or" in notes[0]
  assert "end the run and put checksums-0.json back from a copy" in notes[0]
  checkpoints = Checkpoints(states)
  checkpoints.save(15, state_of(15))
  checkpoints.close()
  assert sorted(path.name for path in (states / "last").iterdir()) == ["10", "15"]


def test_a_state_that_a_kill_cut_short_is_told_of(states, state_of):
  (states / "last" / "20" / "checksums-0.json").unlink()
  (states / "last" / "20" / "state").rename(states / "last" / "20" / "state.orbax-checkpoint-tmp-1")
  found, notes = restore(states, state_of(0))
  chex.assert_trees_all_equal(found, state_of(10))
  assert len(notes) == 1 and "the state of step 20 was not finished" in notes[0]


def test_the_only_state_is_kept_when_its_list_is_gone_and_comes_back_with_it(states, state_of):
  shutil.rmtree(states / "last" / "10")
  listed = states / "last" / "20" / "checksums-0.json"
  text = listed.read_text()
  listed.unlink()
  checkpoints = Checkpoints(states)
  assert checkpoints.latest_step is None
  (note,) = checkpoints.take_notes()
  assert "kept as 20.damaged" in note and "rename it to 20" in note
  checkpoints.close()
  aside = states / "last" / "20.damaged"
  (aside / "checksums-0.json").write_text(text)
  aside.rename(states / "last" / "20")
  chex.assert_trees_all_equal(restore(states, state_of(0)), (state_of(20), []))


def test_flips_in_a_tree_are_named(state_of, flip, tmp_path):
  tree = {"params": state_of(1)["params"]}
  save_tree(tmp_path / "tree", tree)
  chex.assert_trees_all_equal(load_tree(tmp_path / "tree"), jax.device_get(tree))
  rng = np.random.default_rng(5)
  for path in files_of(tmp_path / "tree"):
    whole = path.read_bytes()
    flip(path, rng)
    with pytest.raises(DamagedCheckpoint, match=path.name):
      load_tree(tmp_path / "tree")
    path.write_bytes(whole)
  chex.assert_trees_all_equal(load_tree(tmp_path / "tree"), jax.device_get(tree))
