"""Calibrated norms compute the same, and a training step computes the same too."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxface.layers.norm import BatchNorm
from jaxface.models.calibration import UncalibratedNorm, calibrate, folded_norms, norm_meta
from jaxface.models.saved import SavedModel

NETS = {
  "iresnet": {"units": (1, 1, 1, 1), "width": 0.125, "embedding_size": 8},
  "mobilefacenet": {"units": (1, 0, 0, 1, 0), "width": 0.125, "embedding_size": 8},
  "smallresnet": {"patch": 2, "widths": (8, 16), "units": (1, 1), "embedding_size": 8},
}


def fold(saved, epsilon_off=True):
  """The model with all norms as an importer leaves folded ones, which is another function."""
  flat = flatten_dict(saved.variables)
  for path in [key for key in flat if key[-1] == "var"]:
    flat[path] = np.full_like(flat[path], 1 - 1e-5 if epsilon_off else 1.0)
    flat[(*path[:-1], "mean")] = np.zeros_like(flat[path])
  return SavedModel(saved.name, saved.options, saved.preprocess, unflatten_dict(flat))


def faces(count, size=32, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def train_mode(saved, variables, image):
  call = jax.jit(
    lambda v, x: saved.module.apply(v, saved.preprocess.apply(x), train=True, mutable=["batch_stats"])[0]
  )
  return np.asarray(call(variables, image))


@pytest.mark.parametrize("name", NETS)
def test_the_function_stays_and_the_training_step_computes_it_too(name, random_model):
  saved = fold(random_model(name, size=32, **NETS[name]))
  image = faces(48)
  before = np.asarray(jax.jit(saved.embed)(saved.variables, image))
  new = calibrate(saved.module, saved.variables, [image], saved.preprocess.apply)
  after = np.asarray(jax.jit(saved.embed)(new, image))
  scale = np.abs(before).max()
  np.testing.assert_allclose(after, before, atol=1e-4 * scale)
  # The statistics are those of this very batch: normalising by it changes nothing any more, and did before.
  np.testing.assert_allclose(train_mode(saved, new, image), before, atol=1e-3 * scale)
  assert np.abs(train_mode(saved, saved.variables, image) - before).max() > 0.1 * scale
  assert folded_norms(new) == [] and len(folded_norms(saved.variables)) > 4


def test_several_batches_make_one_statistic(random_model):
  saved = fold(random_model("smallresnet", size=32, **NETS["smallresnet"]), epsilon_off=False)
  image = faces(48)
  whole = calibrate(saved.module, saved.variables, [image], saved.preprocess.apply)
  parts = calibrate(saved.module, saved.variables, np.split(image, 4), saved.preprocess.apply)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), parts, whole)


def test_norms_that_have_statistics_stay_as_they_are(random_model):
  saved = random_model("smallresnet", size=32, **NETS["smallresnet"])
  assert folded_norms(saved.variables) == [] and norm_meta(saved.variables) == {}
  partly = fold(saved)
  flat = flatten_dict(partly.variables)
  flat["batch_stats", "embedding_norm", "mean"] = flat["batch_stats", "embedding_norm", "mean"] + 0.5
  partly = SavedModel(saved.name, saved.options, saved.preprocess, unflatten_dict(flat))
  assert ("embedding_norm",) not in folded_norms(partly.variables)
  new = calibrate(partly.module, partly.variables, [faces(16)], partly.preprocess.apply)
  jax.tree.map(
    np.testing.assert_array_equal, new["batch_stats"]["embedding_norm"], partly.variables["batch_stats"]["embedding_norm"]
  )
  assert norm_meta(partly.variables) == {"norms": {"folded": len(folded_norms(partly.variables))}}
  assert norm_meta(new, calibrated_on=16) == {"norms": {"calibrated_on_images": 16}}


class Odd(nn.Module):
  """A channel that is always the same, a norm that is called twice, and one that has no scale."""

  scaled: bool = True

  @nn.compact
  def __call__(self, x, train=False):
    x = x * jnp.asarray([1.0, 0.0, 2.0])
    norm = BatchNorm(name="twice")
    x = norm(norm(x, train) + 1, train)
    return x if self.scaled else nn.BatchNorm(use_running_average=True, use_scale=False, name="bare")(x)


def test_a_dead_channel_and_a_norm_that_is_called_twice_stay_finite_and_the_same():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 4, 4, 3)), jnp.float32)
  variables = Odd().init(jax.random.key(0), x)
  new = calibrate(Odd(), variables, [x], lambda batch: batch)
  np.testing.assert_allclose(Odd().apply(new, x), Odd().apply(variables, x), atol=1e-4)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(new))


class FromFlax(nn.Module):
  """A network of the user with Flax's norms, called by keyword, over another axis too."""

  @nn.compact
  def __call__(self, x, train=False):
    x = nn.BatchNorm(use_running_average=not train, name="first")(x=nn.Conv(4, (3, 3))(x))
    x = nn.BatchNorm(axis=1, name="rows", epsilon=1e-3)(use_running_average=not train, x=nn.relu(x))
    return BatchNorm(name="ours")(train=train, x=x.mean((1, 2)))


def test_norms_of_flax_are_calibrated():
  x = jnp.asarray(np.random.default_rng(0).normal(2, 3, size=(16, 5, 6, 3)), jnp.float32)
  variables = jax.jit(FromFlax().init)(jax.random.key(0), x)
  assert sorted(folded_norms(variables)) == [("first",), ("ours",), ("rows",)]
  new = calibrate(FromFlax(), variables, [x[:8], x[8:]], lambda batch: batch)
  infer = jax.jit(FromFlax().apply)
  before = infer(variables, x)
  np.testing.assert_allclose(infer(new, x), before, atol=1e-4)
  trained, _ = jax.jit(lambda v, x: FromFlax().apply(v, x, train=True, mutable=["batch_stats"]))(new, x)
  np.testing.assert_allclose(trained, before, atol=1e-3)
  assert folded_norms(new) == []


def test_a_norm_that_cannot_take_up_the_change_is_named():
  x = jnp.ones((2, 4, 4, 3))
  variables = Odd(scaled=False).init(jax.random.key(0), x)
  with pytest.raises(UncalibratedNorm, match=r"norm bare cannot be calibrated: it has no scale.*--model\.freeze_norm true"):
    calibrate(Odd(scaled=False), variables, [x], lambda batch: batch)
  unused = {**variables, "batch_stats": {**variables["batch_stats"], "gone": variables["batch_stats"]["twice"]}}
  with pytest.raises(UncalibratedNorm, match=r"norm gone .*inference calls no BatchNorm .*--model\.freeze_norm true"):
    calibrate(Odd(scaled=False), unused, [x], lambda batch: batch, [("gone",)])
  with pytest.raises(ValueError, match="at least one batch"):
    calibrate(Odd(), Odd().init(jax.random.key(0), x), [], lambda batch: batch)
