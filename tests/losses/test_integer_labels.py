"""Labels of every integer type name the same classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface import losses
from jaxface.heads.classification import Classification
from jaxface.losses.dense import margin_softmax
from jaxface.losses.ranges import class_labels

CLASSES, SIZE = 600, 4
TYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64]


@jax.jit
def values(x, label_b, centers):
  """What every function of labels makes of them."""
  inputs = {"embedding_bd": x, "label_b": label_b, "weight_b": jnp.ones(len(x))}
  term, center = Classification(losses.ArcFace(), center_repulsion=1.0), losses.CenterLoss()
  return {
    "softmax": margin_softmax(x, label_b, centers, margin=losses.ArcFace()),
    "term": term({"center_cd": centers}, inputs, state={}, step=0, key=None),
    "center": losses.center_loss(x, label_b, centers),
    "drawn": center({}, inputs, state={"center_cd": centers}, step=0, key=None),
    "moved": losses.move_centers(centers, x, label_b), "repulsion": losses.center_repulsion(centers, label_b),
    "triplet": losses.triplet_loss(x, label_b), "pairs": losses.pair_weights(label_b),
    "range": losses.range_loss(x, label_b, jnp.ones(len(x))), "marginal": losses.marginal_loss(x, label_b, jnp.ones(len(x))),
  }


@pytest.mark.parametrize("dtype", TYPES)
@given(label=st.lists(st.integers(0, 127), min_size=3, max_size=3), seed=st.integers(0, 9))
def test_no_type_changes_a_loss(dtype, label, seed):
  rng = np.random.default_rng(seed)
  x, centers = rng.normal(size=(3, SIZE)).astype(np.float32), rng.normal(size=(CLASSES, SIZE)).astype(np.float32)
  actual, expected = (values(x, np.asarray(label, each), centers) for each in (dtype, np.int32))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), actual, expected)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
def test_a_negative_label_is_no_class(dtype):
  # −1 of a type that cannot hold 600 must not become one of its classes.
  label, x, centers = jnp.asarray([-1, 3], dtype), jnp.ones((2, SIZE)), jnp.ones((CLASSES, SIZE))
  moved = jax.jit(losses.move_centers)(centers, 5 * x, label)
  assert np.flatnonzero((np.asarray(moved) != 1).any(1)).tolist() == [3]
  inputs = {"embedding_bd": x, "label_b": label, "weight_b": jnp.ones(2)}
  loss_b, _, metrics = Classification()({"center_cd": centers}, inputs, state={}, step=0, key=None)
  assert loss_b[0] == 0 and metrics["bad_labels"].value() == 1


def test_labels_past_the_last_class_are_told_apart_from_classes():
  label = jnp.asarray([255, 7], jnp.uint8)
  inputs = {"embedding_bd": jnp.ones((2, SIZE)), "label_b": label, "weight_b": jnp.ones(2)}
  for classes, bad in ((600, 0), (256, 0), (255, 1), (8, 1), (7, 2)):
    _, _, metrics = Classification()({"center_cd": jnp.ones((classes, SIZE))}, inputs, state={}, step=0, key=None)
    assert metrics["bad_labels"].value() == bad


def test_labels_that_32_bits_do_not_hold_are_refused():
  with pytest.raises(ValueError, match="4294967299"):
    class_labels(np.array([2**32 + 3]))
  assert class_labels(np.array([2**32 - 1], np.uint32))[0] < 0
  with jax.enable_x64(True):
    assert class_labels(np.array([2**32 + 3]))[0] == 2**32 + 3


@pytest.mark.parametrize("loss", [
  lambda x, label: losses.range_loss(x, label, jnp.ones(2)), lambda x, label: losses.marginal_loss(x, label, jnp.ones(2)),
  lambda x, label: losses.center_repulsion(x, label), lambda x, label: losses.center_loss(x, label, x),
  lambda x, label: losses.triplet_loss(x, label), lambda x, label: losses.pair_weights(label),
])
def test_labels_that_are_no_integers_are_refused(loss):
  with pytest.raises(TypeError, match="identities must be integers"):
    loss(jnp.ones((2, 2)), jnp.zeros(2))
