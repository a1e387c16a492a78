"""Moving the classes that a step scored: as the optimizer moves them, on any mesh, and nothing else by a bit."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from class_head_cases import DEVICES, QUICKLY, STEP, B, drawn_classes, make_case, mesh_of, padded
from every_margin import MARGINS
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.heads.class_head import ClassHead

CLASSES, SIZE, ROWS = 61, 3, 96
LABELS = st.sampled_from(["everywhere", "repeated", "padded"])
RATE, KEEP, DECAY = 0.5, 0.9, 0.01


def sgd(params, gradients, slots, number_k, scale):
  del number_k
  moving = jax.tree.map(lambda w, g, m: KEEP * m + g + DECAY * w, params, gradients, slots["momentum"])
  new = jax.tree.map(lambda w, m: w - scale * RATE * m, params, moving)
  return new, {"momentum": moving, "count": slots["count"] + 1}


def slots_of(params, seed=0):
  rng = np.random.default_rng(seed)
  momentum = {name: rng.normal(size=leaf.shape).astype(leaf.dtype) for name, leaf in params.items()}
  return {"momentum": momentum, "count": np.arange(ROWS, dtype=np.int32)}


@cache
def stepper(name, devices, size, block, parts):
  margin = MARGINS[name]
  head = ClassHead(margin, CLASSES, size=size, block=block, label_smoothing=0.1, mesh=None if devices is None else mesh_of(devices))

  @partial(jax.jit, compiler_options=QUICKLY)
  def step(params, slots, case, draw_key, go):
    state = margin.init_state()
    split = lambda a_b: a_b.reshape(-1, parts, *a_b.shape[1:]).swapaxes(0, 1)  # noqa: E731

    def part(_, rows):
      x_bd, label_b, weight_b, bar_b = rows

      def total(pull, x_bd):
        result, seen = head.apart(
          params, x_bd, label_b, weight_b, pull=pull, state=state, step=STEP, key=jax.random.key(2),
          draw_key=None if size == 1 else draw_key, batch_label_b=case.label_b,
        )
        return (result.loss_b * bar_b).sum(), seen

      (value, seen), (pull_bar, x_bar) = jax.value_and_grad(total, (0, 1), has_aux=True)(head.no_pull(len(x_bd)), x_bd)
      return None, (value, seen, pull_bar, x_bar)

    rows = jax.tree.map(split, (case.x_bd, case.label_b, case.weight_b, case.bars["loss_b"]))
    _, (value, seen, pull, x_bar) = jax.lax.scan(part, None, rows)
    if seen.pick_g is not None:
      seen = seen._replace(pick_g=seen.pick_g[0])
    params, slots, square = head.update(params, slots, seen, pull, sgd, jnp.float32(1.0), go=go)
    return params, slots, square, value.sum(), x_bar.swapaxes(0, 1).reshape(case.x_bd.shape)

  return lambda *args: jax.device_get(step(*args))


def make(name, labels, seed):
  case = make_case(MARGINS[name], CLASSES, labels, seed, np.float32)
  return case._replace(params=padded(case.params, CLASSES, ROWS))


def touched_classes(case, key, size):
  label_b = case.label_b[(case.label_b >= 0) & (case.label_b < CLASSES)]
  return np.union1d(drawn_classes(key, ROWS, size, CLASSES), label_b)


def row_mask(leaf, classes):
  mask = np.zeros(ROWS, bool)
  mask[classes] = True
  return np.repeat(mask, len(leaf) // ROWS)


@cache
def full_gradient(name, size):
  margin = MARGINS[name]
  head = ClassHead(margin, CLASSES, size=size, label_smoothing=0.1)

  @partial(jax.jit, compiler_options=QUICKLY)
  def gradient(params, case, draw_key):
    loss = lambda params: (head(  # noqa: E731
      params, case.x_bd, case.label_b, case.weight_b, state=margin.init_state(), step=STEP, key=jax.random.key(2), draw_key=draw_key
    ).loss_b * case.bars["loss_b"]).sum()
    return jax.grad(loss)(params)

  return lambda *args: jax.device_get(gradient(*args))


@pytest.mark.parametrize(("name", "size", "devices", "block", "parts"), [
  ("softmax", 3, 8, 2, 1), ("arcface_subcenters", 3, 4, 0, 1), ("arcface", 3, None, 5, 2), ("filtered_raw", 1, 2, 0, 1),
  *(pytest.param(*case, marks=pytest.mark.sweep) for case in (
    ("softmax", 1, 2, 3, 1), ("arcface_subcenters", 1, 8, 0, 1), ("arcface", 3, 1, 5, 2), ("filtered_raw", 3, 2, 0, 1),
  )),
])
@settings(max_examples=4)
@given(labels=LABELS, seed=st.integers(0, 10**6))
def test_what_was_scored_moves_as_by_its_gradient_and_all_else_stays_to_the_bit(name, size, devices, block, parts, labels, seed):
  case, key = make(name, labels, seed), jax.random.key(seed)
  slots = slots_of(case.params, seed)
  params, moved, square, _, _ = stepper(name, devices, size, block, parts)(case.params, slots, case, key, True)
  gradient = full_gradient(name, size)(case.params, case, key)
  right, right_slots = sgd(case.params, gradient, slots, None, 1.0)
  touched = touched_classes(case, key, size)
  assert size == 1 or len(touched) < CLASSES
  for found, expected, before in zip(*map(jax.tree.leaves, ((params, moved), (right, right_slots), (case.params, slots)))):
    mask = row_mask(found, touched)
    np.testing.assert_allclose(found[mask], expected[mask], rtol=2e-4, atol=2e-5)
    np.testing.assert_array_equal(found[~mask], before[~mask])
  np.testing.assert_allclose(square, sum(float((g * g).sum()) for g in gradient.values()), rtol=1e-4)


@pytest.mark.parametrize("name", [pytest.param("softmax", marks=pytest.mark.sweep), "arcface_subcenters"])
@settings(max_examples=3)
@given(labels=LABELS, seed=st.integers(0, 10**6))
def test_the_same_classes_move_to_the_same_place_on_every_mesh(name, labels, seed):
  case, key = make(name, labels, seed), jax.random.key(seed)
  slots = slots_of(case.params, seed)
  runs = [stepper(name, devices, SIZE, 0, 1)(case.params, slots, case, key, True) for devices in DEVICES]
  for run in runs[1:]:
    moved = [new != old for new, old in zip(jax.tree.leaves(run[1]["count"]), [slots["count"]])]
    right = [new != old for new, old in zip(jax.tree.leaves(runs[0][1]["count"]), [slots["count"]])]
    np.testing.assert_array_equal(moved, right)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), run, runs[0])


def test_a_step_that_must_not_count_leaves_every_bit():
  case, key = make("softmax", "repeated", 1), jax.random.key(1)
  slots = slots_of(case.params)
  new = stepper("softmax", 8, SIZE, 2, 1)(case.params, slots, case, key, False)[:2]
  jax.tree.map(np.testing.assert_array_equal, new, (case.params, slots))


def test_a_class_whose_gradient_is_no_number_stays():
  case, key = make("softmax", "everywhere", 1), jax.random.key(1)
  slots = slots_of(case.params)
  broken = case._replace(bars={**case.bars, "loss_b": np.full(B, np.nan, np.float32)})
  params, _, square, _, _ = stepper("softmax", 8, SIZE, 2, 1)(case.params, slots, broken, key, True)
  assert not np.isfinite(square)
  jax.tree.map(np.testing.assert_array_equal, params, case.params)
