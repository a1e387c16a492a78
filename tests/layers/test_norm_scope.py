"""Batch norm in groups: each group as if it were alone, on any number of devices, under `jit` and inside `jax.shard_map`."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from native_oracle import BUILT

from jaxface.layers.formulation import formulation
from jaxface.layers.norm import BatchNorm
from jaxface.layers.norm_scope import NormScope, norms_over
from jaxface.training.collectives import collectives

AXES = ("data", "class")
WAYS = ["pure", pytest.param("onednn", marks=BUILT)]
ROWS, CHANNELS = 16, 3


@pytest.fixture(scope="module")
def mesh():
  return Mesh(np.asarray(jax.devices()[:8]).reshape(4, 2), AXES, axis_types=(AxisType.Auto,) * 2)


@pytest.fixture(scope="module")
def arrays():
  rng = np.random.default_rng(0)
  x, dy = (rng.normal(1, 2, (ROWS, 3, 4, CHANNELS)).astype(np.float32) for _ in range(2))
  params = {"scale": rng.normal(1, 0.3, CHANNELS).astype(np.float32), "bias": rng.normal(size=CHANNELS).astype(np.float32)}
  return params, x, dy


STATISTICS = {"mean": jnp.zeros(CHANNELS), "var": jnp.ones(CHANNELS)}


def normed(params, x, shortcut):
  variables = {"params": params, "batch_stats": STATISTICS}
  y, moved = BatchNorm().apply(variables, x, True, "relu", None, shortcut, mutable=["batch_stats"])
  return y, moved["batch_stats"]


def value_and_gradients(way, scope, params, x, dy):
  with formulation(way), norms_over(scope):

    def loss(params, x):
      y, moved = normed(params, x, x)
      return (y * dy).sum(), (y, moved)

    (_, out), slopes = jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)
  return out, slopes


def definition(params, x):
  """Value and running statistics of one group, in NumPy."""
  x = x.astype(np.float64)
  mean_c, var_c = x.mean((0, 1, 2)), x.var((0, 1, 2))
  y = np.maximum((x - mean_c) / np.sqrt(var_c + 1e-5) * params["scale"] + params["bias"], 0) + x
  return y, {"mean": 0.1 * mean_c, "var": 0.9 + 0.1 * var_c}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("groups", [2, 8])
def test_each_group_is_normalised_as_if_it_were_alone(way, groups, arrays):
  params, x, dy = arrays
  (y, moved), slopes = jax.jit(lambda *a: value_and_gradients(way, NormScope(groups), *a))(params, x, dy)
  parts = [slice(first, first + ROWS // groups) for first in range(0, ROWS, ROWS // groups)]
  expected = [definition(params, x[part]) for part in parts]
  np.testing.assert_allclose(y, np.concatenate([value for value, _ in expected]), atol=2e-5)
  # The running statistics follow the means over the groups.
  chex.assert_trees_all_close(moved, jax.tree.map(lambda *a: np.mean(a, 0), *[each for _, each in expected]), rtol=1e-4, atol=1e-6)
  alone = jax.jit(lambda *a: value_and_gradients(way, NormScope(), *a)[1])
  each = [alone(params, x[part], dy[part]) for part in parts]
  np.testing.assert_allclose(slopes[1], np.concatenate([dx for _, dx in each]), atol=1e-4)
  chex.assert_trees_all_close(slopes[0], jax.tree.map(lambda *a: sum(a), *[own for own, _ in each]), rtol=1e-4, atol=1e-4)


def sums_of(text):
  """(shape, number of devices that add) of each all-reduce; no other collective is expected."""
  found = collectives(text)
  assert {kind for kind, *_ in found} <= {"all-reduce"}
  return [(shape, devices) for _, _, shape, devices in found]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("groups", [1, 2, 8, 16])
def test_devices_change_nothing_and_exchange_only_what_a_group_needs(way, groups, arrays, mesh):
  rows, everywhere = NamedSharding(mesh, P(AXES)), NamedSharding(mesh, P())

  def forward(params, x):
    with formulation(way), norms_over(NormScope(groups)):
      return normed(params, x, x)[0]

  params, x, _ = arrays
  compiled = jax.jit(forward, in_shardings=(everywhere, rows), out_shardings=rows).lower(params, x).compile()
  np.testing.assert_allclose(compiled(params, jax.device_put(x, rows)), jax.jit(forward)(params, x), atol=1e-5)
  sums = sums_of(compiled.as_text())
  if groups >= 8:
    assert not sums  # a device has whole groups
  else:
    assert sums and {devices for _, devices in sums} == {8 // groups}
    assert {int(np.prod(shape)) for shape, _ in sums} == {CHANNELS}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
  ("groups", "scope"),
  [(1, NormScope(1, AXES)), (4, NormScope(1, AXES, ((0, 1), (2, 3), (4, 5), (6, 7)))), (8, NormScope())],
)
def test_inside_shard_map_statistics_are_those_of_the_same_groups(way, groups, scope, arrays, mesh):
  params, x, dy = arrays

  def local(params, x, dy):
    out, (own, dx) = value_and_gradients(way, scope, params, x, dy)
    mean = jax.tree.map(lambda leaf: lax.pmean(leaf, AXES), out[1])
    # What `norms_over` leaves to its caller.
    return (out[0], mean), (lax.psum(own, AXES), dx)

  split = jax.shard_map(
    local, mesh=mesh, in_specs=(P(), P(AXES), P(AXES)), out_specs=((P(AXES), P()), (P(), P(AXES))), check_vma=False
  )
  found = jax.jit(split)(params, x, dy)
  expected = jax.jit(lambda *a: value_and_gradients(way, NormScope(groups), *a))(params, x, dy)
  chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-4)


def test_norms_that_have_no_groups_and_rows_that_do_not_divide_are_refused(arrays):
  params, x, _ = arrays
  with norms_over(NormScope(3)), pytest.raises(ValueError, match=r"model\.norm_groups is 3: needs a divisor of the 16 rows"):
    normed(params, x, x)
  other = nn.BatchNorm(name="theirs")
  variables = other.init(jax.random.key(0), x, True)
  with norms_over(NormScope(2)):
    other.apply(variables, x, use_running_average=True)
    for call in (lambda: other.apply(variables, x, False, mutable=["batch_stats"]),
                 lambda: other.apply(variables, x=x, use_running_average=False, mutable=["batch_stats"])):
      with pytest.raises(ValueError, match=r"flax\.linen\.BatchNorm, which has statistics of the whole batch only"):
        call()
  other.apply(variables, x, False, mutable=["batch_stats"])
