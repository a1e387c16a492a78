"""The head over devices, in blocks and drawn: with all classes it is the dense one, and a draw is that of the classes drawn."""

from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from class_head_cases import B, D, drawn_classes, make_case, mesh_of, padded, value_and_bars
from every_margin import MARGINS
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.heads.class_head import ClassHead
from jaxface.losses.dense import dense_head
from jaxface.losses.margins import ArcFace

CLASSES = 23
ROWS = 48  # a multiple of eight devices, and of groups of three on two
LABELS = st.sampled_from(["everywhere", "repeated", "padded"])


def close(found, right):
  def one(a, b):
    scale = np.abs(np.where(np.isfinite(b), b, 0)).max(initial=1.0)
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10 * scale)

  jax.tree.map(one, found, right)


@cache
def compiled(name, devices, block, smoothing=0.1):
  margin = MARGINS[name]
  if devices is None:
    return value_and_bars(lambda *rows, **rest: dense_head(*rows, margin=margin, label_smoothing=smoothing, **rest), margin)
  return value_and_bars(ClassHead(margin, CLASSES, block=block, label_smoothing=smoothing, mesh=mesh_of(devices)), margin)


def check_is_dense(name, devices, block, labels, seed):
  with jax.enable_x64(True):
    case = make_case(MARGINS[name], CLASSES, labels, seed)
    (value, result), (params_bar, x_bar) = compiled(name, None, 0)(*case)
    wide = case._replace(params=padded(case.params, CLASSES, ROWS))
    (found_value, found), (found_bar, found_x_bar) = compiled(name, devices, block)(*wide)
    known = (case.label_b >= 0) & (case.label_b < CLASSES)  # what the loss of another row is, nobody uses
    result, found = (each._replace(loss_b=np.where(known, each.loss_b, 0)) for each in (result, found))
    close((found_value, found, found_x_bar), (value, result, x_bar))
    for leaf in params_bar:
      close(found_bar[leaf][: len(params_bar[leaf])], params_bar[leaf])
      np.testing.assert_array_equal(found_bar[leaf][len(params_bar[leaf]):], 0)


# Devices and blocks. The sweep takes each margin on each of them, and the one that uses most the other way round, too.
EACH = [(1, 2), (2, 0), (4, 5), (8, 0)]
MATRIX = [(name, *how) for name in MARGINS for how in EACH] + [("probe", 2, 2), ("probe", 8, 5), ("probe", 1, 0)]


@pytest.mark.parametrize(("name", "devices", "block"), [(name, *EACH[i % 4]) for i, name in enumerate(MARGINS)])
@settings(max_examples=3)
@given(labels=LABELS, seed=st.integers(0, 10**6))
def test_all_classes_are_the_dense_head_in_value_and_gradients(name, devices, block, labels, seed):
  check_is_dense(name, devices, block, labels, seed)


@pytest.mark.sweep
@pytest.mark.parametrize(("name", "devices", "block"), MATRIX)
@settings(max_examples=10)
@given(labels=LABELS, seed=st.integers(0, 10**6))
def test_every_margin_on_every_number_of_devices_is_the_dense_head(name, devices, block, labels, seed):
  check_is_dense(name, devices, block, labels, seed)


DRAWN = 20  # the last group of three has two classes, that of seven six


@dataclass(frozen=True)
class Only:
  """A margin that drops every other class but some."""

  margin: Any
  kept_c: Any

  @property
  def geometry(self):
    return self.margin.geometry

  def prepare(self, *rows, **given):
    return self.margin.prepare(*rows, **given)

  def target(self, target_b, ctx):
    return self.margin.target(target_b, ctx)

  def others(self, score_bc, ctx):
    return jnp.where(self.kept_c, self.margin.others(score_bc, ctx), -jnp.inf)


def scored_classes(label_b, key, size, rows):
  """Those drawn and those of the batch."""
  return np.union1d(drawn_classes(key, rows, size, DRAWN), label_b[(label_b >= 0) & (label_b < DRAWN)])


@cache
def compiled_draw(name, devices, size, block):
  margin = MARGINS[name]
  if devices is None:
    dense = lambda *rows, kept_c, **rest: dense_head(*rows, margin=Only(margin, kept_c), label_smoothing=0.1, **rest)  # noqa: E731
    return value_and_bars(dense, margin)
  head = ClassHead(margin, DRAWN, size=size, block=block, label_smoothing=0.1, mesh=mesh_of(devices))
  return value_and_bars(head, margin)


@pytest.mark.parametrize(("name", "size", "devices", "block"), [
  ("softmax", 3, 2, 2), ("arcface_subcenters", 3, 4, 0), ("probe", 3, 8, 2), ("adaface", 7, 1, 2),
  pytest.param("softmax", 3, 1, 0, marks=pytest.mark.sweep), pytest.param("filtered", 7, 8, 1, marks=pytest.mark.sweep),
])
@settings(max_examples=4)
@given(labels=LABELS, seed=st.integers(0, 10**6))
def test_a_draw_is_the_dense_head_of_the_classes_drawn_and_those_of_the_batch(name, size, devices, block, labels, seed):
  with jax.enable_x64(True):
    margin, rows, key = MARGINS[name], 8 * size, jax.random.key(seed)
    case = make_case(margin, DRAWN, labels, seed)
    kept_c = np.zeros(DRAWN, bool)
    kept_c[scored_classes(case.label_b, key, size, rows)] = True
    (value, result), (params_bar, x_bar) = compiled_draw(name, None, 1, 0)(*case, kept_c=kept_c)
    wide = case._replace(params=padded(case.params, DRAWN, rows))
    (found_value, found), (found_bar, found_x_bar) = compiled_draw(name, devices, size, block)(*wide, draw_key=key)
    known = (case.label_b >= 0) & (case.label_b < DRAWN)
    # The best score of another class is that of those scored.
    result, found = (
      each._replace(loss_b=np.where(known, each.loss_b, 0), best_other_b=None) for each in (result, found)
    )
    close((found_value, found, found_x_bar), (value, result, x_bar))
    for leaf, right in params_bar.items():
      close(found_bar[leaf][: len(right)], right)
      kept = np.repeat(kept_c, len(right) // DRAWN)
      np.testing.assert_array_equal(found_bar[leaf][: len(right)][~kept], 0)
      np.testing.assert_array_equal(found_bar[leaf][len(right):], 0)


def test_what_cannot_spread_is_refused():
  def run(rows, batch=B, **settings):
    head = ClassHead(ArcFace(), 20, mesh=mesh_of(8), **settings)
    zeros = partial(np.zeros, dtype=np.float32)
    return head({"center_cd": zeros((rows, D))}, zeros((batch, D)), np.zeros(batch, np.int32), zeros(batch), state={})

  with pytest.raises(ValueError, match=r"center_cd has 20 rows: 20 classes .* over 8 device\(s\), need 256"):
    run(20)
  with pytest.raises(ValueError, match=r"center_cd has 16 rows"):
    run(16)
  with pytest.raises(ValueError, match=r"groups of 3 over 8 device\(s\), need 768"):
    run(32, size=3)
  with pytest.raises(ValueError, match="12 rows does not spread over 8 devices"):
    run(24, batch=12)
  with pytest.raises(ValueError, match=r"draws one class of every 3 and got no random key"):
    run(24, size=3)
