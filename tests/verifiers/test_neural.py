"""DeepID's neural verifier: against a loop over units, finite differences, the published sizes, and what it learns."""

from functools import cache

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from jaxface.evaluation import auc, roc
from jaxface.formats.errors import DamagedData
from jaxface.verifiers import L2, Neural, PairNetwork, RowPairs, read_verifier
from jaxface.verifiers.neural_network import Layout, pair_loss

seeds = st.integers(0, 2**32 - 1)
SMALL = {"groups": 3, "units": 2, "epochs": 2, "batch_size": 16}


def people(seed=0, identities=30, each=4, size=12):
  random = np.random.default_rng(seed)
  label_n = np.repeat(np.arange(identities), each)
  return random.normal(1, 2, (identities, size))[label_n] + random.normal(0, 0.7, (len(label_n), size)), label_n


@cache
def fitted(**options):
  return Neural.fit(*people(), **SMALL, **options)


def slow_logit(verifier, left_k, right_k):
  """One pair, unit by unit, from the description: group g sees its features of the left image, then of the right one."""
  left_k, right_k = ((one - verifier.mean_k) / verifier.scale_k for one in (left_k, right_k))
  part = len(left_k) // (verifier.groups * (2 if verifier.mirrored else 1))
  local, full, out = (verifier.params[layer] for layer in ("local", "full", "out"))
  first = []
  for group in range(verifier.groups):
    seen = []
    for image_k in (left_k, right_k):
      seen += list(image_k[group * part : (group + 1) * part])
      if verifier.mirrored:
        half = len(image_k) // 2
        seen += list(image_k[half + group * part : half + (group + 1) * part])
    for unit in range(verifier.units):
      total = local["bias"][group, unit] + sum(x * local["kernel"][group, at, unit] for at, x in enumerate(seen))
      first.append(max(total, 0.0))
  second = [max(full["bias"][j] + sum(x * full["kernel"][at, j] for at, x in enumerate(first)), 0.0) for j in range(len(full["bias"]))]
  return out["bias"][0] + sum(x * out["kernel"][at, 0] for at, x in enumerate(second))


@pytest.mark.parametrize("options", [{"both_orders": False}, {"mirrored": True}, {"hidden": 5, "standardise": False}])
def test_scores_equal_a_loop_over_units(options):
  verifier, (row_nd, _) = fitted(**options), people(1)
  found_p = verifier.score(row_nd[:5], row_nd[5:10])
  orders = [(row_nd[:5], row_nd[5:10])] + [(row_nd[5:10], row_nd[:5])] * verifier.both_orders
  slow_p = np.mean([[slow_logit(verifier, a, b) for a, b in zip(*order)] for order in orders], 0)
  np.testing.assert_allclose(found_p, slow_p, rtol=1e-4, atol=1e-5)


_PARTS = {}


def finite_difference_parts(network, build):
  """The compiled loss of all parameters in one vector, and its gradient."""
  if network not in _PARTS:
    loss = lambda flat, x_bgd, same_b: pair_loss(network.apply({"params": build(flat)}, x_bgd), same_b)  # noqa: E731
    _PARTS[network] = jax.jit(loss), jax.jit(jax.grad(loss))
  return _PARTS[network]


@settings(max_examples=4)
@given(seed=seeds)
def test_the_slope_of_the_loss_is_that_of_finite_differences(seed):
  random = np.random.default_rng(seed)
  with jax.enable_x64(True):
    network = PairNetwork(units=2, hidden=3, dtype=np.float64)
    x_bgd, same_b = random.normal(size=(6, 3, 4)), random.random(6) < 0.5
    shapes = jax.eval_shape(network.init, jax.random.key(0), x_bgd)["params"]
    params = jax.tree.map(lambda part: random.normal(size=part.shape), shapes)
    flat, build = ravel_pytree(params)
    loss, slope = finite_difference_parts(network, build)
    differences = [(loss(flat + one, x_bgd, same_b) - loss(flat - one, x_bgd, same_b)) / 2e-6 for one in 1e-6 * np.eye(len(flat))]
    np.testing.assert_allclose(slope(flat, x_bgd, same_b), differences, rtol=1e-4, atol=1e-7)


def test_the_published_network_has_the_published_sizes():
  shapes = jax.eval_shape(PairNetwork().init, jax.random.key(0), jax.ShapeDtypeStruct((1, 60, 640), np.float32))["params"]
  found = {f"{layer} {part}": value.shape for layer, parts in shapes.items() for part, value in parts.items()}
  assert found == {
    "local kernel": (60, 640, 80), "local bias": (60, 80), "full kernel": (4800, 4800), "full bias": (4800,), "out kernel": (4800, 1), "out bias": (1,),
  }
  layout = Layout(60, mirrored=True)
  left_pk, right_pk = np.arange(19_200.0)[None], -np.arange(19_200.0)[None]
  seen = np.asarray(layout.inputs(left_pk, right_pk))[0, 1]  # patch 1: 160 of the image, 160 of its mirror image, of both
  np.testing.assert_array_equal(seen, np.concatenate([np.r_[160:320, 9760:9920], -np.r_[160:320, 9760:9920]]))


def test_dropout_drops_units_of_both_hidden_layers_in_training_only():
  network, x_bgd = PairNetwork(units=4, dropout=0.5), np.ones((2, 3, 4), np.float32)
  params = network.init(jax.random.key(0), x_bgd)
  plain, again = network.apply(params, x_bgd), network.apply(params, x_bgd)
  np.testing.assert_array_equal(plain, again)
  _, state = network.apply(params, x_bgd, train=True, rngs={"dropout": jax.random.key(1)}, capture_intermediates=True)
  dropped = [state["intermediates"][f"Dropout_{layer}"]["__call__"][0] for layer in (0, 1)]
  before = np.maximum(np.asarray(state["intermediates"]["local"]["__call__"][0]).reshape(2, -1), 0)
  kept = np.asarray(dropped[0]) != 0
  assert 0 < kept.sum() < (before > 0).sum()
  np.testing.assert_allclose(np.asarray(dropped[0])[kept], 2 * before[kept], rtol=1e-6)
  assert (np.asarray(dropped[1]) == 0).any()


def mirrored_people(seed, identities=400):
  """Two embeddings of each, the second with the other sign in its last half, and pairs of first and second ones."""
  random = np.random.default_rng(seed)
  center_id = random.normal(size=(identities, 4))
  row_nd = np.stack([center_id, center_id * [1, 1, -1, -1]], 1).reshape(-1, 4) + 0.2 * random.normal(size=(2 * identities, 4))
  left_p, same_p = np.tile(np.arange(identities), 2), np.repeat([True, False], identities)
  right_p = np.where(same_p, left_p, (left_p + random.integers(1, identities, 2 * identities)) % identities)
  return row_nd, RowPairs(2 * left_p, 2 * right_p + 1, same_p)


def test_it_learns_what_a_distance_cannot_and_ends_each_epoch_with_a_line():
  lines = []
  verifier = Neural.fit(*mirrored_people(0), groups=2, units=16, epochs=80, batch_size=64, learning_rate=3e-3, dropout=0.1, say=lines.append)
  assert [line.split(":")[0] for line in lines[:2]] == ["epoch 1/80", "epoch 2/80"] and len(lines) == 80
  first, last = (float(lines[at].rsplit(" ", 1)[1]) for at in (0, -1))
  assert last < 0.6 * first
  row_nd, held = mirrored_people(1)
  left_pd, right_pd = row_nd[held.left_p], row_nd[held.right_p]
  figure = {kind: auc(roc(one.score(left_pd, right_pd), held.same_p)) for kind, one in (("neural", verifier), ("l2", L2.fit(row_nd)))}
  assert figure["neural"] > 0.9 > 0.7 > figure["l2"]


def test_both_orders_give_symmetric_scores_and_one_order_does_not():
  row_nd, _ = people(1)
  both, one = fitted(), fitted(both_orders=False)
  np.testing.assert_array_equal(both.score(row_nd[:9], row_nd[9:18]), both.score(row_nd[9:18], row_nd[:9]))
  assert np.abs(one.score(row_nd[:9], row_nd[9:18]) - one.score(row_nd[9:18], row_nd[:9])).max() > 1e-3


@pytest.mark.parametrize("chunk", [256, 4])
def test_a_matrix_has_the_scores_of_its_pairs(chunk, monkeypatch):
  monkeypatch.setattr("jaxface.verifiers.neural.CHUNK", chunk)
  verifier, (row_nd, _) = fitted(both_orders=False), people(1)
  score_nm = verifier.score_matrix(row_nd[:3], row_nd[3:8])
  for row in range(3):
    np.testing.assert_allclose(score_nm[row], verifier.score(np.tile(row_nd[row], (5, 1)), row_nd[3:8]), rtol=1e-5, atol=1e-6)
  assert verifier.score_matrix(row_nd[:0], row_nd[:3]).shape == (0, 3) and verifier.score_matrix(row_nd[:3], row_nd[:0]).shape == (3, 0)


def test_equal_seeds_give_equal_networks_and_a_file_gives_the_same_scores(through_a_file, tmp_path):
  row_nd, _ = people(1)
  again, other = Neural.fit(*people(), **SMALL), Neural.fit(*people(), **SMALL, seed=1)
  score_p = fitted().score(row_nd[:9], row_nd[9:18])
  np.testing.assert_array_equal(score_p, again.score(row_nd[:9], row_nd[9:18]))
  assert np.abs(score_p - other.score(row_nd[:9], row_nd[9:18])).max() > 1e-3
  through_a_file(fitted(), row_nd[:9], row_nd[9:18])
  with np.load(tmp_path / "a.npz") as archive:
    array = dict(archive)
  np.savez(tmp_path / "bad.npz", **{**array, "full_kernel": array["full_kernel"][:-1]})
  with pytest.raises(DamagedData, match="its layers have the shapes"):
    read_verifier(tmp_path / "bad.npz")


def test_an_epoch_compiles_once():
  compiled, marks = [], []
  listener = lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None  # noqa: E731
  jax.monitoring.register_event_duration_secs_listener(listener)
  try:
    Neural.fit(*people(2), **{**SMALL, "epochs": 4}, say=lambda _: marks.append(len(compiled)))
  finally:
    jax.monitoring.unregister_event_duration_listener(listener)
  assert marks[0] > 0 and marks[1:] == [marks[0]] * 3


def test_what_cannot_be_fitted_is_named():
  row_nd, label_n = people()
  nan_nd = row_nd.copy()
  nan_nd[3, 1] = np.nan
  for embedding_nd, target, options, message in [
    (row_nd, None, {}, "neural learns from pairs: give labels"),
    (nan_nd, label_n, {}, "embedding 3 is not finite"),
    (np.ones_like(row_nd), label_n, {}, "all 120 embeddings are equal"),
    (row_nd, np.arange(120), {}, "0 of them with two rows or more"),
    (row_nd, RowPairs(np.array([0]), np.array([1]), np.array([True])), {}, "1 pairs of one kind"),
    (row_nd, label_n, {"groups": 5}, r"rows of 12 numbers cannot be split into 5 equal parts \(5 groups\)"),
    (row_nd, label_n, {"groups": 4, "mirrored": True}, r"into 8 equal parts \(4 groups, mirrored\)"),
    (row_nd, label_n, {"dropout": 1.0}, r"dropout 1.0, .*: they must be in \[0, 1\)"),
    (row_nd, label_n, {"epochs": 0}, "epochs is 0: it must be at least 1"),
    (row_nd, label_n, {"learning_rate": 1e30, "units": 2}, "the loss of epoch 1 is .*: use a smaller learning rate"),
  ]:
    with pytest.raises(ValueError, match=message):
      Neural.fit(embedding_nd, target, **options)


def test_two_identities_with_two_images_each_suffice():
  row_nd, _ = people(identities=2, each=2)
  assert np.isfinite(Neural.fit(row_nd, ["a", "a", "b", "b"], **SMALL).score(row_nd, row_nd)).all()
