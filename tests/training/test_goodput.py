"""Goodput over the lives of a run: by hand, and as laws over any lives. tests/training/test_loop.py has that of real runs."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.training.goodput import EVERY, LIVES_FILE, Life, Lives, read_goodput, total_goodput


class Clock:
  def __init__(self, time=1000.0):
    self.time = time

  def __call__(self):
    return self.time


def test_two_lives_by_hand():
  # Life one: 10 s starting, 60 s of steps of which 40 s were saved at step 20, then it is killed. An hour later 5 s, 30 s.
  first = Life(1000.0, 1075.0, 0, starting=10.0, training=60.0, waiting=6.0, evaluating=3.0, saving=2.0, saved={10: 20.0, 20: 40.0})
  second = Life(4675.0, 4710.0, 20, starting=5.0, training=30.0)
  found = total_goodput([first, second])
  assert (found.wall, found.training, found.redone, found.stopped, found.lives) == (3710.0, 70.0, 20.0, 3600.0, 2)
  assert (found.starting, found.evaluating, found.saving, found.other, found.waiting) == (15.0, 3.0, 2.0, 0.0, 6.0)
  assert found.share == pytest.approx(70 / 3710)
  assert str(found).startswith("goodput 2%: 1:10 in steps of 1:01:50 since the first start (2 lives); steps made again after a crash 0:20;")


lives_of = st.lists(st.tuples(*[st.floats(0, 1e4)] * 6, st.floats(0, 1), st.floats(0, 1e5)), min_size=1, max_size=5)


@given(lives_of)
@settings(max_examples=50)
def test_the_parts_are_the_wall_time_and_no_life_makes_goodput_larger_than_one(drawn):
  lives, now, step = [], 0.0, 0
  for starting, training, evaluating, saving, other, _, kept, gap in drawn:
    end = now + starting + training + evaluating + saving + other
    life = Life(now, end, step, starting=starting, training=training, evaluating=evaluating, saving=saving, saved={step + 10: kept * training})
    lives.append(life)
    step, now = step + 10, end + gap
  found = total_goodput(lives)
  assert sum(seconds for _, seconds in found.rows()) == pytest.approx(found.wall, abs=1e-6 * max(found.wall, 1))
  assert 0 <= found.share <= 1 + 1e-9
  # A life that begins again from step 0 loses all that was trained before.
  lost = total_goodput([*lives, Life(now, now + 1.0, 0, training=1.0)])
  assert lost.training == pytest.approx(1.0)


def test_a_life_is_counted_as_it_goes(tmp_path):
  now = Clock()
  lives = Lives(tmp_path, "a", 990.0, 0, now=now)
  now.time += 10
  lives.evaluated(4.0)  # of the network at step 0
  lives.started()
  assert lives.life.starting == 16.0
  now.time += 30
  lives.evaluated(5.0)
  assert lives.logged(2.5) == pytest.approx(25 / 50)
  now.time += 12
  lives.saved(10, 2.0)
  assert (lives.life.training, lives.life.saved, lives.life.saving) == (35.0, {10: 35.0}, 2.0)
  found = read_goodput(tmp_path)
  assert found == lives.total() and found.wall == 62.0 and found.other == pytest.approx(0.0)
  # What is not written within a few seconds is all that a killed process can lose.
  now.time += EVERY / 2
  lives.logged(2.5)
  assert read_goodput(tmp_path).training == 35.0
  now.time += EVERY
  lives.logged(2.5)
  assert read_goodput(tmp_path).training == pytest.approx(35.0 + 1.5 * EVERY)


def test_another_run_in_the_folder_begins_anew_and_damage_ends_nothing(tmp_path):
  now = Clock()
  Lives(tmp_path, "a", 1000.0, 0, now=now).write()
  assert [len(Lives(tmp_path, "a", 1000.0, 0).lives), len(Lives(tmp_path, "b", 1000.0, 0).lives), len(Lives(tmp_path, "b", 1000.0, 5).lives)] == [2, 1, 2]
  whole = (tmp_path / LIVES_FILE).read_text()
  for text in ("", "{}", whole.replace("1000", "1001"), whole[: len(whole) // 2], json.dumps({"lives": [asdict(Life(0.0, 1.0))]})):
    (tmp_path / LIVES_FILE).write_text(text)
    assert read_goodput(tmp_path) is None and len(Lives(tmp_path, "a", 1000.0, 0).lives) == 1
  assert not any(path.name != LIVES_FILE for path in tmp_path.iterdir())
