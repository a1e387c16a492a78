"""Norms of any network held at their running statistics, in every formulation, and watched."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from native_oracle import BUILT

from jaxface.layers.formulation import formulation
from jaxface.layers.norm import BatchNorm
from jaxface.layers.norm_control import NORM_INPUTS, norm_paths, running_statistics, watched_inputs


class Both(nn.Module):
  """Our norm and Flax's, told in order, by name, or in attributes."""

  @nn.compact
  def __call__(self, x, train):
    x = BatchNorm(name="ours")(x, train, "relu")
    x = BatchNorm(name="ours_by_name")(x, train=train)
    x = BatchNorm(name="ours_by_names")(activation="relu", train=train, x=x)
    x = nn.BatchNorm(name="at_the_call")(x, use_running_average=not train)
    x = nn.BatchNorm(name="at_the_call_by_names")(use_running_average=not train, x=x)
    x = nn.BatchNorm(name="at_the_call_in_order")(x, not train)
    return nn.BatchNorm(use_running_average=not train, name="in_attributes")(x)


@pytest.fixture(scope="module")
def variables():
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(lambda: Both().init(jax.random.key(0), jnp.zeros((2, 4, 4, 3)), False))
  return jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), jnp.float32), shapes)


@pytest.fixture(scope="module")
def x_bhwc():
  return jnp.asarray(np.random.default_rng(1).normal(3, 2, (4, 4, 4, 3)), jnp.float32)


@pytest.mark.parametrize("form", ["pure", pytest.param("onednn", marks=BUILT)])
def test_a_held_norm_trains_as_it_infers_and_does_not_move(form, variables, x_bhwc):
  def run(train):
    return jax.jit(lambda v, x: Both().apply(v, x, train, mutable=["batch_stats"]))(variables, x_bhwc)

  with formulation(form):
    expected, _ = run(False)
    with running_statistics():
      held, stats = run(True)
    free, moved = run(True)
  np.testing.assert_array_equal(held, expected)
  jax.tree.map(np.testing.assert_array_equal, stats["batch_stats"], variables["batch_stats"])
  assert np.abs(np.asarray(free) - expected).max() > 0.1
  assert np.abs(moved["batch_stats"]["ours"]["mean"] - variables["batch_stats"]["ours"]["mean"]).max() > 0.1


def test_a_chosen_norm_is_held_and_the_others_go_on(variables, x_bhwc):
  with running_statistics(lambda path: path == ("ours",)):
    _, stats = jax.jit(lambda v, x: Both().apply(v, x, True, mutable=["batch_stats"]))(variables, x_bhwc)
  same = {
    name: bool((np.asarray(leaf["mean"]) == np.asarray(variables["batch_stats"][name]["mean"])).all())
    for name, leaf in stats["batch_stats"].items()
  }
  assert {name for name, stays in same.items() if stays} == {"ours"} and len(same) == 7
  assert norm_paths(stats["batch_stats"]) == [(name,) for name in same]


def test_inputs_are_those_of_numpy(variables, x_bhwc):
  with formulation("pure"), watched_inputs():
    _, seen = jax.jit(lambda v, x: Both().apply(v, x, False, mutable=[NORM_INPUTS]))(variables, x_bhwc)
  (moments,) = seen[NORM_INPUTS]["ours"]["seen"]
  np.testing.assert_allclose(moments["mean"], np.mean(x_bhwc, (0, 1, 2)), rtol=1e-5)
  np.testing.assert_allclose(moments["var"], np.var(x_bhwc, (0, 1, 2)), rtol=1e-5)
  assert moments["epsilon"] == np.float32(1e-5)


def test_inputs_of_flax_norms_are_those_of_numpy_over_any_axes_and_under_a_mask():
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x, mask):
      nn.BatchNorm(use_running_average=True, name="last", epsilon=1e-3)(x)
      nn.BatchNorm(use_running_average=True, axis=1, name="second")(x=x)
      nn.BatchNorm(axis=(-1, 1), name="two")(x=x, use_running_average=True)
      nn.BatchNorm(use_running_average=True, name="masked")(x, mask=mask)

  x = np.random.default_rng(2).normal(3, 2, (4, 5, 6, 3)).astype(np.float32)
  mask = np.random.default_rng(3).uniform(size=(4, 5, 6, 1)) < 0.5
  variables = Net().init(jax.random.key(0), x, mask)
  with watched_inputs():
    seen = jax.jit(lambda v, x: Net().apply(v, x, mask, mutable=[NORM_INPUTS]))(variables, x)[1][NORM_INPUTS]
  expected = {
    "last": (x.mean((0, 1, 2)), x.var((0, 1, 2))),
    "second": (x.mean((0, 2, 3)), x.var((0, 2, 3))),
    "two": (x.mean((0, 2)), x.var((0, 2))),
    "masked": (x[mask[..., 0]].mean(0), x[mask[..., 0]].var(0)),
  }
  assert set(seen) == set(expected)
  for name, (mean, var) in expected.items():
    (moments,) = seen[name]["seen"]
    assert moments["mean"].shape == variables["batch_stats"][name]["mean"].shape
    np.testing.assert_allclose(moments["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(moments["var"], var, rtol=1e-4)
  assert seen["last"]["seen"][0]["epsilon"] == np.float32(1e-3)
