"""InsightFace's larger MobileFaceNets: exact counts, the grouped stem, gradients, precision."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.layers.formulation import formulation
from jaxface.models.preprocess import get_preprocess
from jaxface.models.registry import create
from jaxface.models.saved import count_parameters, variable_shapes


def conv(cin, cout, side, groups=1, act=True):
  """A convolution without bias, its norm and its slopes."""
  return cin // groups * cout * side * side + 2 * cout + cout * act


def unit(cin, expanded, cout):
  return conv(cin, expanded, 1) + conv(expanded, expanded, 3, expanded) + conv(expanded, cout, 1, act=False)


def by_hand(stem: int, blocks: tuple[int, ...], c: int) -> int:
  """InsightFace's module list with `c` channels at first and twice as many later."""
  body = unit(c, 128, c) * (1 + blocks[1]) + unit(c, 256, 2 * c) + unit(2 * c, 256, 2 * c) * blocks[2]
  body += unit(2 * c, 512, 2 * c) + unit(2 * c, 256, 2 * c) * blocks[3]
  head = conv(2 * c, 512, 1) + conv(512, 512, 7, 512, act=False) + 512 * 512 + 2 * 512
  return conv(3, c, 3) + stem + body + head


@pytest.mark.parametrize(
  ("name", "expected", "count"),
  [
    ("mobilefacenet512", by_hand(conv(128, 128, 3, groups=64), (1, 4, 6, 2), 128), 2_059_520),
    ("mobilefacenet512_large", by_hand(2 * unit(256, 128, 256), (2, 8, 12, 4), 256), 6_314_880),
  ],
)
def test_counts_are_those_of_insightface(name, expected, count):
  shapes = variable_shapes(name, {})
  assert count_parameters(shapes["params"]) == expected == count
  assert shapes["params"]["embedding"]["conv"]["kernel"].shape == (1, 1, 512, 512)


@pytest.fixture(scope="module")
def tiny(random_model):
  saved = random_model("mobilefacenet512", width=0.0625, embedding_size=8)
  return saved, np.asarray(jax.random.normal(jax.random.key(1), (2, 16, 16, 3)))


def test_the_stem_convolves_groups_of_two_channels_by_every_formulation(tiny):
  saved, x_bhwc = tiny
  assert saved.variables["params"]["stem_depthwise"]["conv"]["kernel"].shape == (3, 3, 2, 8)

  def embed(way):
    with formulation(way):
      return jax.jit(lambda x: saved.module.apply(saved.variables, x, train=False))(x_bhwc)

  np.testing.assert_allclose(embed("pure"), embed("xla"), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(jax.jit(partial(saved.module.apply, train=False))(saved.variables, x_bhwc), embed("xla"),
                             rtol=1e-4, atol=1e-5)


def test_gradients_are_finite_and_reach_every_leaf(tiny):
  saved, _ = tiny
  x_bhwc, target_bd = jax.random.normal(jax.random.key(3), (4, 16, 16, 3)), jax.random.normal(jax.random.key(2), (4, 8))

  def loss(params):
    out_bd, _ = saved.module.apply({**saved.variables, "params": params}, x_bhwc, train=True, mutable=["batch_stats"])
    return ((out_bd - target_bd) ** 2).mean()

  gradient = jax.jit(jax.grad(loss))(saved.variables["params"])
  chex.assert_tree_all_finite(gradient)
  silent = [path for path, leaf in jax.tree_util.tree_leaves_with_path(gradient) if not np.asarray(leaf).any()]
  assert not silent


def test_bfloat16_stays_close(tiny):
  saved, x_bhwc = tiny
  low = create("mobilefacenet512", **saved.options, dtype="bfloat16")
  found, full = (jax.jit(partial(net.apply, train=False))(saved.variables, x_bhwc) for net in (low, saved.module))
  assert found.dtype == jnp.float32
  cosine = (found * full).sum(-1) / jnp.linalg.norm(found, axis=-1) / jnp.linalg.norm(full, axis=-1)
  assert float(cosine.min()) > 0.99


def test_the_large_one_begins_with_bottlenecks():
  shapes = variable_shapes("mobilefacenet512_large", {"width": 0.0625}, get_preprocess("unit", size=16))["params"]
  assert {"stem_unit1", "stem_unit2"} <= set(shapes) and "stem_depthwise" not in shapes
