"""Center loss against NumPy loops, its laws, padding, absent and repeated classes, and one result on eight devices."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from jaxface.losses.center import CenterLoss, center_loss, move_centers
from jaxface.losses.metrics import values

B, D, C = 16, 5, 8

loss_of = jax.jit(center_loss)
move = jax.jit(move_centers, static_argnames="alpha")


def draw(seed, classes=C):
  rng = np.random.default_rng(seed)
  x_bd = rng.normal(size=(B, D)).astype(np.float32) * rng.choice([1e-3, 1.0, 30.0])
  y_b = rng.integers(0, classes, B).astype(np.int32)
  return x_bd, y_b, rng.normal(size=(C, D)).astype(np.float32)


def slow(x_bd, y_b, center_cd, weight_b, alpha):
  """Loss of each row and the centres after it, as the paper writes them."""
  x_bd, center_cd = x_bd.astype(np.float64), center_cd.astype(np.float64)
  loss_b = [0.5 * sum((x - center_cd[y]) ** 2) for x, y in zip(x_bd, y_b)]
  moved_cd = center_cd.copy()
  for j in range(len(center_cd)):
    delta_d, count = np.zeros(center_cd.shape[1]), 0.0
    for x, y, w in zip(x_bd, y_b, weight_b):
      if y == j:
        delta_d, count = delta_d + w * (center_cd[j] - x), count + w
    moved_cd[j] -= alpha * delta_d / (1.0 + count)
  return np.array(loss_b), moved_cd


@given(seed=st.integers(0, 2**31), classes=st.integers(1, C), alpha=st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=20, deadline=None)
def test_loss_and_centers_equal_the_papers_loops(seed, classes, alpha):
  x_bd, y_b, center_cd = draw(seed, classes)
  weight_b = np.random.default_rng(seed).integers(0, 3, B).astype(np.float32)
  loss_b, moved_cd = slow(x_bd, y_b, center_cd, weight_b, alpha)
  np.testing.assert_allclose(loss_of(x_bd, y_b, center_cd), loss_b, rtol=1e-5, atol=1e-6)
  found_cd = move(center_cd, x_bd, y_b, weight_b, alpha=alpha)
  np.testing.assert_allclose(found_cd, moved_cd, rtol=1e-5, atol=1e-5)
  absent_c = ~np.isin(np.arange(C), y_b)
  np.testing.assert_array_equal(found_cd[absent_c], center_cd[absent_c])


@given(seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_laws(seed):
  x_bd, y_b, center_cd = draw(seed)
  rng = np.random.default_rng(seed)
  loss_b, moved_cd = loss_of(x_bd, y_b, center_cd), move(center_cd, x_bd, y_b)
  size = float(np.abs(x_bd).max()) + 5.0
  assert (loss_b >= 0).all()
  order = rng.permutation(B)
  np.testing.assert_array_equal(loss_of(x_bd[order], y_b[order], center_cd), loss_b[order])
  np.testing.assert_allclose(move(center_cd, x_bd[order], y_b[order]), moved_cd, atol=1e-6 * size)
  names = rng.permutation(C)  # another numbering of the classes
  other_cd = np.empty_like(center_cd)
  other_cd[names] = center_cd
  np.testing.assert_array_equal(loss_of(x_bd, names[y_b], other_cd), loss_b)
  np.testing.assert_allclose(move(other_cd, x_bd, names[y_b])[names], moved_cd, atol=1e-6 * size)
  turn = np.linalg.qr(rng.normal(size=(D, D)))[0].astype(np.float32)
  shift = rng.normal(size=D).astype(np.float32)
  np.testing.assert_allclose(
    loss_of(x_bd @ turn + shift, y_b, center_cd @ turn + shift), loss_b, rtol=1e-4, atol=1e-5 * size**2
  )
  np.testing.assert_allclose(
    move(center_cd @ turn + shift, x_bd @ turn + shift, y_b), moved_cd @ turn + shift, atol=1e-5 * size
  )


def test_by_hand_a_class_met_twice_moves_by_two_thirds_of_alpha():
  center_cd = jnp.array([[0.0, 0.0], [10.0, 0.0]])
  x_bd = jnp.array([[3.0, 0.0], [0.0, 6.0]])
  moved_cd = move(center_cd, x_bd, jnp.array([0, 0]), alpha=0.5)
  np.testing.assert_allclose(moved_cd, [[0.5, 1.0], [10.0, 0.0]], rtol=1e-6)
  np.testing.assert_allclose(loss_of(x_bd, jnp.array([0, 0]), center_cd), [4.5, 18.0])


def test_the_gradient_is_x_minus_the_center_and_the_centers_get_none():
  with jax.enable_x64(True):
    x_bd, y_b, center_cd = (a.astype(np.float64) if a.dtype == np.float32 else a for a in draw(3))
    check_grads(lambda x: center_loss(x, y_b, center_cd), (x_bd,), order=1, modes=("rev",), eps=1e-6)
    to_x, to_center = jax.grad(lambda x, c: center_loss(x, y_b, c).sum(), (0, 1))(x_bd, center_cd)
    np.testing.assert_allclose(to_x, x_bd - center_cd[y_b], rtol=1e-12)
    np.testing.assert_array_equal(to_center, 0.0)
    np.testing.assert_array_equal(
      jax.grad(lambda x: move_centers(center_cd, x, y_b).sum())(jnp.asarray(x_bd)), 0.0
    )


def run(term, state, inputs, shardings=None):
  """Mean, its gradient, loss of each row, state and metrics."""

  def mean(embedding_bd, state, rest):
    loss_b, state, metrics = term({}, {**rest, "embedding_bd": embedding_bd}, state=state, step=0, key=None)
    return loss_b.sum() / jnp.maximum(rest["weight_b"].sum(), 1e-12), (loss_b, state, values(metrics))

  rest = {name: value for name, value in inputs.items() if name != "embedding_bd"}
  function = jax.jit(jax.value_and_grad(mean, has_aux=True), in_shardings=shardings)
  (value, (loss_b, state, metrics)), gradient_bd = function(inputs["embedding_bd"], state, rest)
  return value, gradient_bd, loss_b, state, metrics


def term_inputs(seed=0, weight=None):
  x_bd, y_b, center_cd = draw(seed)
  weight_b = np.ones(B, np.float32) if weight is None else np.asarray(weight, np.float32)
  return {"center_cd": center_cd}, {"embedding_bd": x_bd, "label_b": y_b, "weight_b": weight_b}


def test_padding_equals_its_absence_whatever_it_holds():
  state, inputs = term_inputs(weight=[1, 0] * (B // 2))
  inputs["embedding_bd"][1], inputs["embedding_bd"][3], inputs["label_b"][5] = np.nan, np.inf, -7
  found = run(CenterLoss(), state, inputs)
  expected = run(CenterLoss(), state, {name: value[::2] for name, value in inputs.items()})
  np.testing.assert_array_equal(found[2][1::2], 0.0)
  np.testing.assert_array_equal(found[1][1::2], 0.0)
  chex.assert_trees_all_close(
    (found[0], found[1][::2], found[2][::2], *found[3:]), expected, rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize("bad", [-1, -C, C, 2**31 - 1])
def test_a_label_that_is_no_class_moves_nothing(bad):
  state, inputs = term_inputs()
  inputs["label_b"][:] = bad
  value, gradient_bd, _, moved, metrics = run(CenterLoss(), state, inputs)
  np.testing.assert_array_equal(moved["center_cd"], state["center_cd"])
  np.testing.assert_array_equal(move(state["center_cd"], inputs["embedding_bd"], inputs["label_b"]), state["center_cd"])
  assert value == 0 and not gradient_bd.any() and all(np.isnan(value) for value in metrics.values())


def test_a_batch_of_padding_alone_is_zero():
  state, inputs = term_inputs(weight=np.zeros(B))
  value, gradient_bd, _, moved, metrics = run(CenterLoss(), state, inputs)
  assert value == 0 and not gradient_bd.any() and all(np.isnan(value) for value in metrics.values())
  np.testing.assert_array_equal(moved["center_cd"], state["center_cd"])


def test_half_precision_changes_the_loss_by_rounding_only():
  x_bd, y_b, center_cd = draw(5)
  half_bd = jnp.asarray(x_bd, jnp.bfloat16)
  loss_b = loss_of(half_bd, y_b, center_cd)
  assert loss_b.dtype == jnp.float32
  np.testing.assert_array_equal(loss_b, loss_of(half_bd.astype(jnp.float32), y_b, center_cd))
  assert move(center_cd, half_bd, y_b).dtype == jnp.float32


def test_the_optimizer_sees_no_centers_and_metrics_are_lengths():
  term = CenterLoss(alpha=1.0)
  params, state = term.init(jax.random.key(0), 2, 3)
  assert not jax.tree.leaves(params) and state["center_cd"].shape == (3, 2)
  inputs = {"embedding_bd": jnp.array([[3.0, 4.0]]), "label_b": jnp.array([2]), "weight_b": jnp.array([1.0])}
  _, _, _, state, metrics = run(term, state, inputs)
  np.testing.assert_allclose(state["center_cd"][2], [1.5, 2.0])
  np.testing.assert_allclose([metrics["distance"], metrics["embedding_norm"]], [5.0, 5.0])


@pytest.mark.parametrize("shape", [(8, 1), (2, 4), (1, 8)])
def test_one_loss_and_one_movement_on_every_mesh(shape):
  state, inputs = term_inputs(seed=2, weight=[1] * (B - 3) + [0] * 3)
  mesh = Mesh(np.asarray(jax.devices()[:8]).reshape(shape), ("data", "class"), axis_types=(AxisType.Auto,) * 2)
  rows, classes = NamedSharding(mesh, P(("data", "class"))), NamedSharding(mesh, P("class"))
  found = run(CenterLoss(), state, inputs, (rows, classes, rows))
  chex.assert_trees_all_close(found, run(CenterLoss(), state, inputs), rtol=1e-5, atol=1e-6)


def test_no_device_holds_all_centers():
  mesh = Mesh(np.asarray(jax.devices()[:8]).reshape(2, 4), ("data", "class"), axis_types=(AxisType.Auto,) * 2)
  rows, classes = NamedSharding(mesh, P(("data", "class"))), NamedSharding(mesh, P("class"))
  many = 4_096

  def step(center_cd, x_bd, y_b):
    return center_loss(x_bd, y_b, center_cd), move_centers(center_cd, x_bd, y_b)

  shapes = [((many, D), "float32"), ((B, D), "float32"), ((B,), "int32")]
  text = jax.jit(step, in_shardings=(classes, rows, rows), out_shardings=(rows, classes)).lower(
    *(jax.ShapeDtypeStruct(*shape) for shape in shapes)
  ).compile().as_text()
  assert f"[{many},{D}]" not in text and f"[{many // 4},{D}]" in text


@pytest.mark.parametrize(("field", "value"), [("alpha", -0.1), ("alpha", 1.5), ("weight", -1.0)])
def test_hyper_parameters_out_of_range(field, value):
  with pytest.raises(ValueError, match=rf"CenterLoss\.{field} = {value}"):
    CenterLoss(**{field: value})


def test_float_labels_and_other_sizes_are_refused():
  x_bd, y_b, center_cd = draw(0)
  with pytest.raises(TypeError, match="float32"):
    center_loss(x_bd, y_b.astype(np.float32), center_cd)
  with pytest.raises(AssertionError):
    center_loss(x_bd[:, 1:], y_b, center_cd)
