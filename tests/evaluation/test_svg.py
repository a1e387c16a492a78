"""Charts: valid XML whatever the data, round ticks, points where they belong."""

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.evaluation.report.charts import curve
from jaxface.evaluation.report.svg import Axis, Mark, Series, chart, histogram, nice_ticks

finite = st.floats(-1e9, 1e9).map(lambda value: round(value, 3))


@given(finite, finite, st.integers(2, 10))
def test_ticks_cover_the_range_with_round_steps(one, other, count):
  low, high = min(one, other), max(one, other)
  ticks = nice_ticks(low, high, count)
  steps = np.diff(ticks)
  assert ticks[0] <= low + 1e-8 * steps[0]
  assert ticks[-1] >= high - 1e-8 * steps[0]
  np.testing.assert_allclose(steps, steps[0], rtol=1e-5)
  mantissa = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-6)
  assert min(abs(mantissa - nice) for nice in (1, 2, 5, 10)) < 1e-4
  assert 2 <= len(ticks) <= count + 3


@pytest.mark.parametrize(
  ("low", "high", "expected"),
  [
    (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    (0.03, 0.97, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    (0, 1500, [0, 500, 1000, 1500]),
    (0, 0, [-0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6]),
  ],
)
def test_ticks_by_hand(low, high, expected):
  assert nice_ticks(low, high) == expected


values = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=20)


@given(values, st.booleans(), st.booleans(), st.text(max_size=5))
def test_every_drawing_is_xml_with_finite_numbers(value, step, log, name):
  name = re.sub(r"[^\x20-\ud7ff\ue000-\ufffd]", "", name)
  line = Series(name, "s-mated", np.arange(len(value), dtype=float), np.array(value), step=step)
  low = 0.1 if log else None
  text = chart(
    name, [line], Axis("<x>", low, 10.0 if log else None, log=log), Axis('"y"'), marks=[Mark(0.5, "a & b")]
  )
  ElementTree.fromstring(text)
  coordinates = re.findall(r' (?:x1|x2|y1|y2|x|y)="([^"]*)"', text)
  assert all(math.isfinite(float(one)) for one in coordinates)
  for path in re.findall(r' d="([^"]*)"', text):
    assert re.fullmatch(r"([MLHV]-?[\d.]+( -?[\d.]+)?)*Z?", path), path


def test_a_line_goes_through_its_points():
  text = chart(
    "t", [Series("", "s-mated", np.array([0.0, 1.0]), np.array([0.0, 1.0]))], Axis("", 0, 1), Axis("", 0, 1)
  )
  assert 'class="line s-mated" d="M56 254L458 10"' in text


def test_a_step_holds_its_value_and_gaps_break_the_line():
  line = Series("", "s-mated", np.array([0, 0.5, 1, 1]), np.array([0, 0.5, np.nan, 1]), step=True)
  text = chart("t", [line], Axis("", 0, 1), Axis("", 0, 1))
  assert 'd="M56 254H257V132M458 10"' in text


def test_histogram_counts_everything_once_as_shares():
  same, other = histogram([("a", "s", np.array([-5.0, 0.1, 0.1, 0.9])), ("b", "s", np.empty(0))], 0.0, 1.0, 2)
  np.testing.assert_array_equal(same.x, [0, 0, 0.5, 1])
  np.testing.assert_array_equal(same.y, [0, 0.75, 0.25, 0])
  assert not other.y.any()


def test_curves_need_two_values_and_take_gaps():
  assert curve([], "loss", "Loss") == ""
  assert curve([{"step": 1, "loss": 2.0}, {"step": 2}], "loss", "Loss") == ""
  assert curve([{"step": step, "loss": math.nan} for step in range(5)], "loss", "Loss") == ""
  ElementTree.fromstring(
    curve([{"step": step, "loss": math.nan if step == 3 else 1.0} for step in range(5)], "loss", "L")
  )


def test_a_schedule_is_drawn_as_it_is_and_noise_gets_a_mean():
  smooth = [{"step": step, "v": min(step, 100 - step)} for step in range(101)]
  noise = [
    {"step": step, "v": float(value)} for step, value in enumerate(np.random.default_rng(0).normal(size=5000))
  ]
  assert curve(smooth, "v", "v").count("s-faint") == 0
  assert curve(noise, "v", "v").count("s-faint") == 1
  assert len(curve(noise, "v", "v")) < 25_000
