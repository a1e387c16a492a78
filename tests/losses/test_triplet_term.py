"""The term of triplets: its mean spread over rows, what it says of a batch, listed triplets, refusals."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from triplet_oracle import MARGIN, B, D, by_loops, draw, loops, squared

from jaxface.losses.metrics import values
from jaxface.losses.triplet_term import TripletLoss
from jaxface.losses.triplets import triplet_loss


def term_of(x, label, weight=None, **options):
  weight = np.ones(len(label), np.float32) if weight is None else weight
  inputs = {"embedding_bd": jnp.asarray(x, jnp.float32), "label_b": jnp.asarray(label), "weight_b": jnp.asarray(weight)}
  term = TripletLoss(**options)
  params, state = term.init(jax.random.key(0), D, 3)
  assert params == {} and state == {}
  loss_b, state, metrics = jax.jit(lambda inputs: term(params, inputs, state=state, step=0, key=None))(inputs)
  return loss_b, state, values(metrics)


def test_term_spreads_its_mean_and_describes_the_batch():
  x, label = draw(7)
  weight = np.float32([1, 0, *[1] * (B - 2)])
  x[1] = np.nan
  loss_b, _, metrics = term_of(x, label, weight, mining="semi_hard", margin=MARGIN)
  live = np.flatnonzero(weight)
  d, label = squared(x[live]), label[live]
  expected = by_loops(x[live], label, np.ones(len(live)), "semi_hard", "inside", "margin", "active")
  np.testing.assert_allclose(loss_b.sum() / weight.sum(), expected, rtol=1e-5)
  same = label[:, None] == label[None, :]
  assert metrics["triplets"] == len(loops("semi_hard", d, label, np.ones(len(live)), "inside", MARGIN))
  assert metrics["active_share"] == 1  # inside the margin means active
  np.testing.assert_allclose(metrics["positive_distance"], d[same & ~np.eye(len(live), dtype=bool)].mean(), rtol=1e-5)
  np.testing.assert_allclose(metrics["negative_distance"], d[~same].mean(), rtol=1e-5)
  assert metrics["collapsed"] == 0 and 0 < metrics["collapse"] < 0.9


def test_active_share_counts_violations():
  x, label = draw(8)
  d = squared(x)
  triplets = loops("all", d, label, np.ones(B))
  share = np.mean([d[a, p] - d[a, n] + MARGIN > 0 for a, p, n in triplets])
  for form in ("margin", "softplus"):
    metrics = term_of(x, label, mining="all", form=form, margin=MARGIN)[2]
    assert metrics["triplets"] == len(triplets)
    np.testing.assert_allclose(metrics["active_share"], share, rtol=1e-5)


def test_a_collapsed_net_is_seen():
  x, label = draw(9)
  near = np.ones((1, D)) + 0.02 * x
  loss_b, _, metrics = term_of(near, label, mining="hard", margin=0.2)
  assert metrics["collapsed"] == 1 and metrics["collapse"] > 0.99
  np.testing.assert_allclose(loss_b.mean(), 0.2, atol=0.02)
  assert metrics["negative_distance"] < 0.01
  assert term_of(x, label)[2]["collapsed"] == 0


def test_listed_triplets_are_those_rows():
  x, _ = draw(4)
  label = np.int32([0, 0, 1, 5, 5, 2, 3, 3, 0, 4, 6, 1])  # the last is none: a substitute stands in it
  weight = np.ones(B, np.float32)
  weight[7] = 0
  x[7] = np.inf
  live = squared(x[:6])
  v = [live[0, 1] - live[0, 2] + 3, live[3, 4] - live[3, 5] + 3]
  loss_b, _, metrics = term_of(x, label, weight, mining="listed", margin=3.0)
  np.testing.assert_allclose(loss_b.sum() / weight.sum(), np.mean(v), rtol=1e-5)
  assert metrics["triplets"] == 2 and metrics["active_share"] == 1
  gradient = jax.grad(lambda x: term_of(x, label, weight, mining="listed", margin=3.0)[0].sum())(x.astype(np.float32))
  assert np.isfinite(gradient).all() and np.abs(gradient[:6]).min() > 0 and not np.any(gradient[6:])
  with pytest.raises(ValueError, match="11 rows is not a list of triplets"):
    term_of(x[1:], label[1:], mining="listed")


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"mining": "hardest"}, "TripletLoss.mining = 'hardest' is unknown: choose one of all, semi_hard, hard, easy, listed"),
    ({"form": "hinge"}, "choose one of margin, softplus"),
    ({"average": "mean"}, "choose one of active, all"),
    ({"reach": "near"}, "choose one of inside, beyond, farthest"),
    ({"margin": -0.1}, r"TripletLoss.margin = -0.1 is out of range: it must lie in \[0, 4\)"),
    ({"margin": float("nan")}, "out of range"),
    ({"collapse_at": 0.0}, "out of range"),
    ({"weight": -1.0}, "out of range"),
  ],
)
def test_what_cannot_be_meant_is_refused(options, message):
  with pytest.raises(ValueError, match=message):
    TripletLoss(**options)


def test_functions_refuse_unknown_names_and_float_labels():
  x, label = draw()
  for option in ("mining", "form", "average", "reach"):
    with pytest.raises(ValueError, match=f"{option} = 'x' is unknown: choose one of"):
      jax.eval_shape(partial(triplet_loss, **{option: "x"}), x, label)
  with pytest.raises(TypeError, match="identities must be integers"):
    triplet_loss(x, label.astype(np.float32))
  with pytest.raises(TypeError, match="identities must be integers"):
    term_of(x, label.astype(np.float32), mining="listed")
