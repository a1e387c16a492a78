"""Charts: valid XML whatever the data, labelled axes, points where they belong, and curves thinned without a visible change."""

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.evaluation.measures.roc import roc
from jaxface.evaluation.report.charts import curve
from jaxface.evaluation.report.drawing import CELL, STYLES, Axis, Mark, Series, chart, histogram, thinned

values = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=8)


def numbers(text: str, attribute: str) -> list[float]:
  return [float(one) for one in re.search(f'{attribute}="([^"]*)"', text)[1].split()]


@settings(max_examples=5)
@given(values, st.booleans(), st.booleans(), st.text(max_size=5))
def test_every_drawing_is_xml_with_finite_numbers(value, step, log, name):
  line = Series(name, "mated", np.arange(len(value), dtype=float), np.array(value), step=step)
  x = Axis("<x> $a", 0.1 if log else 0.0, 10.0, scale="log" if log else "linear")
  text = chart(f"a {name} title", [line], x, Axis('"y" & z', -2.0, 2.0), marks=[Mark(0.5, "a & b")])
  ElementTree.fromstring(text)
  assert "nan" not in re.sub(r"<text.*?</text>|aria-label=\"[^\"]*\"", "", text) and "&lt;x&gt; $a" in text
  for path in re.findall(r' d="([^"]*)"', text):
    assert re.fullmatch(r"([MLCQz]\s*(-?[\d.]+\s*)*)*", path), path


def test_colours_are_variables_of_the_page_and_nothing_styles_other_elements():
  text = chart("t", [Series(name, name, np.arange(3.0), np.arange(3.0)) for name in STYLES], Axis("x (s)"), Axis("y (m)"))
  assert not re.findall(r"[: ]#[0-9a-f]{6}", text) and "<style" not in text and "font-family" not in text
  assert {f"var(--{name})" for name in STYLES} <= set(re.findall(r"var\(--\w+\)", text))
  ids = re.findall(r' id="([^"]*)"', text)
  assert len(set(ids)) == len(ids) and set(re.findall(r'(?:href="#|url\(#)([^")]*)', text)) <= set(ids)
  assert "x (s)" in text and "y (m)" in text


def test_two_charts_share_no_ids():
  one, other = (chart(name, [Series("", "mated", np.arange(2.0), np.arange(2.0))], Axis("x"), Axis("y")) for name in "ab")
  assert set(re.findall(r' id="([^"]*)"', one)).isdisjoint(re.findall(r' id="([^"]*)"', other))


def test_a_line_goes_through_its_points_in_the_frame_that_the_read_out_uses():
  text = chart("t", [Series("", "mated", np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 0.0]))], Axis("x", 0, 1), Axis("y", 0, 1), link="threshold")
  left, right, top, bottom = numbers(text, "data-frame")
  assert numbers(text, "data-limits") == [0, 1, 0, 1]
  paths = [[float(one) for one in re.findall(r"-?[\d.]+", path)] for path in re.findall(r' d="([^"]*)"', text)]
  assert any(len(path) == 6 and np.allclose(path, [left, bottom, (left + right) / 2, top, right, bottom], atol=0.02) for path in paths)


@pytest.mark.parametrize("scale", ["linear", "log", "probit"])
def test_a_thinned_curve_leaves_out_no_cell(scale):
  rng = np.random.default_rng(0)
  same_p = rng.random(20_000) < 0.5
  found = roc(rng.normal(size=20_000) + 2.0 * same_p, same_p)
  x, y = Axis("x", 1e-3, 0.99, scale), Axis("y", 0.0, 1.0)
  far_k, tar_k = np.clip(found.far, 1e-3, 0.99), found.tar
  x_k, y_k = thinned(far_k, tar_k, x, y)
  assert len(x_k) <= min(len(far_k), 4 / CELL + 2) and (x_k[0], y_k[0]) == (far_k[0], tar_k[0]) and (x_k[-1], y_k[-1]) == (far_k[-1], tar_k[-1])
  kept = {(a, b) for a, b in zip(x_k, y_k)}
  assert kept <= {(a, b) for a, b in zip(far_k, tar_k)}
  if scale == "linear":  # every point has a drawn one within a cell
    drawn = np.stack([x_k, y_k])
    for point in np.stack([far_k, tar_k]).T[::37]:
      assert (np.abs(drawn - point[:, None]) <= 1.001 * CELL).all(0).any()


def test_histogram_counts_everything_once_as_shares():
  same, other = histogram([("a", "mated", np.array([-5.0, 0.1, 0.1, 0.9])), ("b", "other", np.empty(0))], 0.0, 1.0, 2)
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
  assert curve(smooth, "v", "v").count("var(--model0)") == 1
  assert curve(noise, "v", "v").count("var(--model0)") == 2
  assert len(curve(noise, "v", "v")) < 40_000
