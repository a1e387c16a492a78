"""The table of a sweep: its JSON form, its order, and its differences."""

import json
from dataclasses import replace

import numpy as np
import pytest

from jaxface.evaluation import Sweep, SweepRow, compare
from jaxface.evaluation.pairs.verification import verify_pairs
from jaxface.formats.pairs import Pairs


@pytest.fixture(scope="module")
def rows():
  """Twenty people, at three amounts of noise on their embeddings."""
  random = np.random.default_rng(0)
  center_nd = np.repeat(random.normal(size=(20, 8)), 3, axis=0)
  names = [f"p{row // 3}/{row % 3}" for row in range(60)]
  left = [f"p{pair % 20}/0" for pair in range(80)]
  right = [f"p{pair % 20}/{1 + pair // 20}" if pair < 40 else f"p{(pair + 1 + pair // 60) % 20}/1" for pair in range(80)]
  pairs = Pairs(left, right, np.arange(80) < 40, np.arange(80) % 20 // 5)
  noise_nd = random.normal(size=center_nd.shape)
  return {level: SweepRow(level, verify_pairs(center_nd + (level or 0.5) * noise_nd, names, pairs), seconds=1.5) for level in (3.0, 1.0, None)}


def test_the_json_has_figures_intervals_and_differences_under_their_names(rows):
  sweep = Sweep("noise", "noise, of 1", (rows[3.0], rows[1.0]), rows[None], {"model": "m", "pairs": "p.txt"}, ("a note",), ((1.0, "data:,"),))
  plain = json.loads(json.dumps(sweep.to_json(), allow_nan=False))
  assert list(plain) == ["kind", "axis", "what", "model", "pairs", "reference", "rows", "examples", "notes"]
  assert (plain["kind"], plain["axis"], plain["what"], plain["model"]) == ("sweep", "noise", "noise, of 1", "m")
  assert [row["value"] for row in plain["rows"]] == [1.0, 3.0] and plain["reference"]["value"] is None
  assert plain["examples"] == [{"value": 1.0, "image": "data:,"}] and plain["notes"] == ["a note"]
  assert "difference" not in plain["reference"]
  for row, given in zip(plain["rows"], (rows[1.0], rows[3.0])):
    found = given.verification
    for name in ("accuracy", "auc", "eer"):
      assert row[name] == getattr(found, name) and row[f"{name}_95"] == list(getattr(found.intervals, name))
      low, high = row["difference"][f"{name}_95"]
      assert low <= row["difference"][name] <= high
      assert row["difference"][name] == pytest.approx(row[name] - plain["reference"][name])
    assert row["tar_at_far"] == found.tar_at_far and set(row["tar_at_far_95"]) == set(row["difference"]["tar_at_far_95"])
    assert row["difference"]["p"]["accuracy"] == compare(rows[None].verification, found)["accuracy"].p
    assert row["seconds"] == 1.5 and row["threshold_cosine"] == found.threshold_cosine


def test_the_order_of_levels_does_not_matter(rows):
  one, other = (Sweep("noise", "noise", tuple(rows[level] for level in order), rows[None]) for order in ((3.0, 1.0), (1.0, 3.0)))
  assert one.to_json() == other.to_json() and str(one) == str(other)


def test_the_table_shows_each_level_once_with_its_interval(rows):
  head, *lines = str(Sweep("noise", "noise, of 1", (rows[3.0], rows[1.0]), rows[None], {"model": "m"})).splitlines()
  assert head.startswith("noise, of 1 of m: %")
  assert [line.split()[0] for line in lines] == ["noise", "1", "3", "unchanged"]
  low, high = rows[1.0].verification.intervals.accuracy
  assert f"{100 * rows[1.0].verification.accuracy:.2f} ({100 * low:.2f} to {100 * high:.2f})" in lines[1]
  models = tuple(replace(rows[level], model=f"m{level:g}") for level in (1.0, 3.0))
  lines = str(Sweep("flops", "multiply-adds", models, models[0])).splitlines()[1:]
  assert len(lines) == 3 and lines[1].endswith("m1") and lines[2].endswith("m3") and " – " in lines[1]
