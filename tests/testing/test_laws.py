"""Each law passes a loss that keeps it and catches one that breaks it; our own losses keep them."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxface import heads, losses, testing
from jaxface.testing.laws import value_and_gradient

ROWS = testing.Batch(
  np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32),
  np.array([0, 1, 2, 0, 1, 2, 0, 0], np.int32),
  np.array([1, 1, 0, 1, 1, 1, 1, 0], np.float32),
)


def good(x_bd, label_b, weight_b):
  """Twice the squared distance to the mean of the batch's live rows."""
  x_bd = jnp.where(weight_b[:, None] > 0, x_bd, 0)
  mean_d = x_bd.sum(0) / jnp.maximum(weight_b.sum(), 1)
  return jnp.where(weight_b > 0, ((x_bd - mean_d) ** 2).sum(1), 0)


def test_a_good_loss_keeps_every_law_but_that_of_scale():
  testing.check_loss(good, also=("rotation", "relabelling"), examples=8)
  with pytest.raises(AssertionError, match="law of scale"):
    testing.scale(good, ROWS)


BROKEN = {
  "finite": lambda x, y, w: good(x, y, w) / (x[:, 0] * 0),
  "permutation": lambda x, y, w: good(x, y, w) * jnp.arange(1, len(y) + 1),
  "padding": lambda x, y, w: ((x - x.mean(0)) ** 2).sum(1),
  "rotation": lambda x, y, w: jnp.where(w > 0, jnp.abs(x).sum(1), 0),
  "relabelling": lambda x, y, w: good(x, y, w) * (1 + y),
  "integer_dtypes": lambda x, y, w: good(x, y, w) * (y + 200).astype(jnp.float32),
  "gradient": lambda x, y, w: good(x, y, w) + jnp.where(w > 0, jnp.round(1e9 * x[:, 0]) / 1e9, 0),
}


@pytest.mark.parametrize("law", BROKEN)
def test_a_law_catches_what_breaks_it(law):
  with pytest.raises(AssertionError, match=f"law of (the )?{law.replace('_', ' ')}"):
    testing.LAWS[law](BROKEN[law], ROWS)
  testing.LAWS[law](good, ROWS)


def test_a_loss_that_jit_changes_is_caught():
  calls = []

  def loss(x_bd, label_b, weight_b):
    calls.append(0)
    return good(x_bd, label_b, weight_b) * (1 + len(calls) % 2)

  with pytest.raises(AssertionError, match="law of jit"):
    testing.jit(loss, ROWS)


def test_device_count_says_what_it_needs():
  testing.device_count(good, ROWS)
  with pytest.raises(ValueError, match="xla_force_host_platform_device_count"):
    testing.device_count(good, testing.Batch(*(part[:5] for part in ROWS)))


def test_unknown_laws_are_named():
  with pytest.raises(ValueError, match="no law 'sclae': takes finite, permutation"):
    testing.check_loss(good, also=("sclae",))


def test_padding_sees_what_a_padded_row_holds():
  with pytest.raises(AssertionError, match="law of padding"):
    testing.padding(lambda x, y, w: w * x.sum(1), ROWS)  # 0 · NaN
  assert np.isfinite(value_and_gradient(good, ROWS)[1]).all()


@pytest.mark.parametrize("mining", ["semi_hard", "hard", "all"])
def test_triplets_keep_the_laws(mining):
  testing.check_loss(
    lambda x_bd, label_b, weight_b: losses.triplet_loss(x_bd, label_b, weight_b, mining=mining),
    also=("relabelling",), leave_out=("permutation", "padding", "jit", "device_count", "gradient"), examples=15,
  )
  # Ties have no order of their own: what is compared row by row stays away from them.
  testing.permutation(lambda x, y, w: losses.triplet_loss(x, y, w, mining=mining), ROWS)
  testing.padding(lambda x, y, w: losses.triplet_loss(x, y, w, mining=mining), ROWS)
  testing.device_count(lambda x, y, w: losses.triplet_loss(x, y, w, mining=mining), ROWS)


@pytest.mark.parametrize(
  "margin", [losses.Softmax(), losses.ArcFace(), losses.CurricularFace()],
  ids=lambda margin: type(margin).__name__,
)
def test_margins_in_their_head_keep_the_laws(margin):
  loss = testing.from_term(heads.Classification(margin=margin))
  testing.check_loss(loss, leave_out=("gradient",), examples=5)
