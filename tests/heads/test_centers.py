"""Class centres: how they start, and what is refused."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from class_head_cases import mesh_of
from hypothesis import given
from hypothesis import strategies as st

from jaxface.heads import centers
from jaxface.heads.centers import init_centers
from jaxface.heads.padding import pad_classes, padded_classes
from jaxface.heads.rounding import round_by_chance, round_rows
from jaxface.losses.joint import Geometry
from jaxface.losses.margins import ArcFace


def test_centers_start_as_documented():
  params = init_centers(jax.random.key(0), 2_000, 64, Geometry(unit_x=False, unit_w=False, bias=True, subcenters=2))
  assert params["center_cd"].shape == (4_000, 64) and params["center_cd"].dtype == jnp.float32
  np.testing.assert_allclose(params["center_cd"].std(), 0.01, rtol=0.02)
  np.testing.assert_array_equal(params["bias_c"], np.zeros(2_000))
  with pytest.raises(ValueError, match="num_classes = 0"):
    init_centers(jax.random.key(0), 0, 64, ArcFace().geometry)


GEOMETRY = Geometry(unit_x=True, unit_w=True, bias=True, subcenters=2)


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_a_center_depends_on_its_class_alone(devices, monkeypatch):
  monkeypatch.setattr(centers, "_BLOCK", 7)
  rows = padded_classes(300, 3, devices)
  one = init_centers(jax.random.key(3), 300, 5, GEOMETRY)
  spread = jax.jit(lambda key: init_centers(key, 300, 5, GEOMETRY, rows=rows, mesh=mesh_of(devices)))(jax.random.key(3))
  np.testing.assert_array_equal(spread["center_cd"][:600], one["center_cd"])
  np.testing.assert_array_equal(spread["center_cd"][600:], np.zeros((2 * (rows - 300), 5)))
  assert spread["bias_c"].shape == (rows,)


@given(classes=st.integers(1, 10**8), size=st.integers(1, 100), devices=st.sampled_from([1, 2, 6, 8, 64, 256, 384, 1024]))
def test_padding_divides_over_groups_and_devices_and_mostly_knows_no_devices(classes, size, devices):
  rows = padded_classes(classes, size, devices)
  assert rows >= classes and rows % (size * devices) == 0
  assert rows - classes < math.lcm(256, devices) * size
  assert 256 % devices or rows == padded_classes(classes, size)


def test_padding_stands_behind_the_classes():
  params = {"center_cd": jnp.ones((6, 2)), "bias_c": jnp.ones(3)}
  padded = pad_classes(params, 3, 5)
  np.testing.assert_array_equal(padded["center_cd"], [[1, 1]] * 6 + [[0, 0]] * 4)
  np.testing.assert_array_equal(padded["bias_c"], [1, 1, 1, 0, 0])


@given(x=st.lists(st.floats(width=32, allow_subnormal=False), min_size=1, max_size=9), seed=st.integers(0, 99))
def test_rounding_by_chance_takes_a_neighbour_and_keeps_what_needs_none(x, seed):
  x = np.array(x, np.float32)
  rounded = np.asarray(round_by_chance(jnp.asarray(x), jax.random.key(seed)), np.float32)
  exact = np.asarray(jnp.asarray(x, jnp.bfloat16), np.float32) == x
  np.testing.assert_array_equal(rounded[exact], x[exact])
  np.testing.assert_array_equal(np.isnan(rounded), np.isnan(x))
  usual = np.isfinite(x) & (np.abs(x) < 3e38)
  assert (np.abs(rounded[usual] - x[usual]) <= np.abs(x)[usual] * 2.0**-7).all()
  assert (np.sign(rounded) == np.sign(x))[usual].all()


def test_rounding_by_chance_is_right_on_average_and_the_same_for_each_row():
  x = jnp.asarray(np.random.default_rng(0).normal(size=64), jnp.float32)
  keys = jax.random.split(jax.random.key(0), 4000)
  mean = jax.jit(jax.vmap(lambda key: round_by_chance(x, key)))(keys).astype(jnp.float32).mean(axis=0)
  np.testing.assert_allclose(mean, x, rtol=5 * 2**-8 / 4000**0.5)
  rows, number = jnp.arange(12.0).reshape(6, 2) / 7, jnp.array([4, 9, 2])
  whole = round_rows(rows, jax.random.key(1), number)
  np.testing.assert_array_equal(round_rows(rows[2:4], jax.random.key(1), number[1:2]), whole[2:4])
