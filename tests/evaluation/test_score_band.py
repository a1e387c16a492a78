"""Bands of one range that were filled in parts find what one band finds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.evaluation.streaming.score_band import ScoreBand


@given(st.integers(0, 10_000), st.integers(1, 5), st.sampled_from([8, 1000]), st.sampled_from([0.0, 1e-3]))
def test_joined_parts_are_the_whole(seed, parts, capacity, error):
  random = np.random.default_rng(seed)
  score = np.round(random.uniform(-1, 1, 200), random.integers(1, 4))
  whole = ScoreBand(-0.4, 0.6, capacity, error=error)
  whole.add(score)
  bands = [ScoreBand(-0.4, 0.6, capacity, error=error) for _ in range(parts)]
  for band, part in zip(bands, np.array_split(score, parts)):
    band.add(part)
  found = [band.parts() for band in bands]
  for band in bands:
    band.join(found)
    assert band.above == whole.above
    for position in range(0, 200, 7):
      assert band.find(position) == whole.find(position)


def test_a_band_joins_itself_alone():
  band = ScoreBand(-1.0, 1.0)
  band.add(np.array([0.5, 0.5, -0.5]))
  before = band.find(1)
  band.join([band.parts()])
  assert band.find(1) == before and before.score == pytest.approx(0.5)
