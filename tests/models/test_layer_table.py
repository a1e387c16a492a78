"""Per-layer tables against counts by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from jaxface.layers.convolution import Conv
from jaxface.layers.norm import BatchNorm
from jaxface.models.layer_table import LayerRow, layer_table
from jaxface.models.preprocess import get_preprocess
from jaxface.models.registry import create
from jaxface.models.saved import count_parameters, variable_shapes
from jaxface.models.watch import watch


class Attention(nn.Module):
  """Two products outside of any inner module."""

  @nn.compact
  def __call__(self, x_btd):
    q_btd = nn.Dense(x_btd.shape[-1], use_bias=False, name="query")(x_btd)
    weight_bts = nn.softmax(jnp.einsum("btd,bsd->bts", q_btd, x_btd))
    return jnp.einsum("bts,bsd->btd", weight_bts, x_btd)


class Everything(nn.Module):
  """Biases, groups, strides, a loop over rows, weights used twice, a function that jit remembers, attention."""

  @nn.compact
  def __call__(self, image_bhwc, train):
    x = Conv(8, (5, 3), strides=(2, 1), padding="SAME", use_bias=True, name="conv")(image_bhwc)
    x = Conv(16, (3, 3), padding="VALID", groups=4, name="grouped")(x)
    x = x + self.param("position", nn.initializers.zeros, (1, 3, 8, 16))
    twice = nn.Dense(16, name="twice")
    x = twice(nn.relu(twice(x)))
    matrix = self.param("matrix", nn.initializers.zeros, (16, 4))
    x = jax.lax.map(lambda row: remembered(row, matrix), x.transpose(1, 0, 2, 3)).transpose(1, 0, 2, 3)
    return Attention(name="attention")(remembered(x, jnp.zeros((4, 6))).reshape(x.shape[0], 24, 6)).mean(1)


@jax.jit
def remembered(x, matrix):
  return x @ matrix


def test_every_kind_of_layer_by_hand():
  twice = {"path": "twice", "kind": "Dense", "input_shape": (3, 8, 16), "output_shape": (3, 8, 16)}
  products = 3 * 8 * 16 * 16
  assert layer_table(watch(Everything(), (1, 9, 10, 3))) == [
    LayerRow("", "Everything", (9, 10, 3), (6,), 3 * 8 * 16 + 16 * 4, 24 * 16 * 4 + 24 * 4 * 6, 24 * 16 * 4 + 24 * 4 * 6),
    LayerRow("conv", "Conv", (9, 10, 3), (5, 10, 8), 15 * 3 * 8 + 8, 50 * 15 * 3 * 8, 50 * 8 * (15 * 3 + 1)),
    LayerRow("grouped", "Conv", (5, 10, 8), (3, 8, 16), 9 * 2 * 16, 24 * 9 * 2 * 16, 24 * 9 * 2 * 16),
    LayerRow(**twice, parameters=17 * 16, multiply_adds=products, with_bias=products + 24 * 16),
    LayerRow(**twice, parameters=0, multiply_adds=products, with_bias=products + 24 * 16),
    LayerRow("attention", "Attention", (24, 6), (24, 6), 0, 2 * 24 * 24 * 6, 2 * 24 * 24 * 6),
    LayerRow("attention/query", "Dense", (24, 6), (24, 6), 36, 24 * 36, 24 * 36),
  ]


def test_mobilefacenet_has_the_papers_parameters_and_multiply_adds():
  rows = layer_table(watch(create("mobilefacenet"), (1, 112, 112, 3)))
  assert sum(row.parameters for row in rows) == 1_003_136
  # Section 4.1 of the paper: 221 M.
  assert sum(row.multiply_adds for row in rows) == 220_965_376
  by_path = {row.path: row for row in rows}
  assert by_path["stem/conv"].multiply_adds == 56 * 56 * 27 * 64
  assert by_path["head_global/conv"].multiply_adds == 7 * 7 * 512
  assert by_path["stage5_unit2/project/conv"].output_shape == (7, 7, 128)


def test_nothing_is_lost_and_nothing_counted_twice():
  for name, options in (("smallresnet", {}), ("projected", {}), ("iresnet", {"dtype": "bfloat16"})):
    rows = layer_table(watch(create(name, **options), (1, 96, 96, 3)))
    shapes = variable_shapes(name, options, get_preprocess("unit", size=96))
    assert sum(row.parameters for row in rows) == count_parameters(shapes["params"]), name


@pytest.mark.parametrize("formulation", ["pure", "xla"])
def test_the_count_does_not_depend_on_how_a_convolution_is_computed(formulation, monkeypatch):
  monkeypatch.setenv("JAXFACE_CPU_CONV", formulation)
  assert sum(row.multiply_adds for row in layer_table(watch(create("smallresnet"), (1, 96, 96, 3)))) == 88_031_232


def test_a_module_that_is_called_with_keywords_shows_the_shape_of_its_first_argument():
  class Net(nn.Module):
    @nn.compact
    def __call__(self, image_bhwc, train=False):
      x = BatchNorm(name="norm")(activation="prelu", alpha_c=jnp.zeros(3), train=train, x=image_bhwc)
      return nn.Dense(2, name="dense")(inputs=x.mean((1, 2)))

  shapes = [call.input_shape for call in watch(Net(), (2, 4, 5, 3)).calls]
  assert shapes == [(2, 4, 5, 3), (2, 4, 5, 3), (2, 3)]
