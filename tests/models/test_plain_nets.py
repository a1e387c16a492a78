"""Laws of the networks without batch statistics: gradients, recomputed stages, precision, dropout, wrong images."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.models.registry import create

SIZE = 16
NETS = {
  "vggface_b": {"width": 1 / 32},
  "lightcnn29v2": {"width": 1 / 24},
  "lightcnn9": {"width": 1 / 24},
  "sphereface20": {"width": 1 / 16},
}


@pytest.fixture(scope="module", params=NETS)
def tiny(request, random_model):
  """A small net with its variables and four images."""
  convention = create(request.param).convention
  saved = random_model(
    request.param, **NETS[request.param], embedding_size=8, dropout=0.0, preprocess=convention.name, size=SIZE
  )
  image_bhwc = np.random.default_rng(1).normal(size=(4, SIZE, SIZE, convention.channels))
  return saved, np.clip(image_bhwc, *convention.range).astype(np.float32)


def embed(saved, image_bhwc, **options):
  module = create(saved.name, **{**saved.options, **options})
  return jax.jit(partial(module.apply, train=False))(saved.variables, image_bhwc)


def test_gradients_are_finite_reach_every_leaf_and_remat_keeps_them(tiny):
  saved, image_bhwc = tiny
  target_bd = jax.random.normal(jax.random.key(2), (4, 8))

  def value_and_gradient(remat):
    module = create(saved.name, **saved.options, remat=remat)

    def loss(params):
      return (module.apply({"params": params}, image_bhwc, train=True) * target_bd).mean()

    assert ("remat" in str(jax.make_jaxpr(jax.grad(loss))(saved.variables["params"]))) == remat
    return jax.jit(jax.value_and_grad(loss))(saved.variables["params"])

  plain, again = value_and_gradient(False), value_and_gradient(True)
  chex.assert_trees_all_close(plain, again, rtol=1e-3, atol=1e-5)
  for path, leaf in jax.tree_util.tree_leaves_with_path(plain[1]):
    assert np.isfinite(leaf).all() and np.asarray(leaf).any(), jax.tree_util.keystr(path)


def test_permuting_the_batch_permutes_the_embeddings_which_differ(tiny):
  saved, image_bhwc = tiny
  order = np.array([2, 0, 3, 1])
  embedding_bd = embed(saved, image_bhwc)
  chex.assert_shape(embedding_bd, (4, 8))
  chex.assert_trees_all_close(embed(saved, image_bhwc[order]), embedding_bd[order], rtol=1e-4, atol=1e-5)
  assert float(jnp.abs(embedding_bd - embedding_bd[0]).max(-1)[1:].min()) > 1e-2


def test_bfloat16_stays_close_and_keeps_parameters_and_embedding_in_float32(tiny):
  saved, image_bhwc = tiny
  full_bd, low_bd = embed(saved, image_bhwc), embed(saved, image_bhwc, dtype="bfloat16")
  assert full_bd.dtype == low_bd.dtype == jnp.float32
  cosine_b = (full_bd * low_bd).sum(-1) / jnp.linalg.norm(full_bd, axis=-1) / jnp.linalg.norm(low_bd, axis=-1)
  assert float(cosine_b.min()) > 0.998 and float(jnp.abs(full_bd - low_bd).max()) > 0
  module = create(saved.name, **saved.options, dtype="bfloat16")
  shapes = jax.eval_shape(partial(module.init, train=False), jax.random.key(0), image_bhwc)
  assert {str(leaf.dtype) for leaf in jax.tree.leaves(shapes)} == {"float32"}


def test_dropout_acts_in_training_only(tiny):
  saved, image_bhwc = tiny
  module = create(saved.name, **{**saved.options, "dropout": 0.5})

  @jax.jit
  def both(key):
    train = module.apply(saved.variables, image_bhwc, train=True, rngs={"dropout": key})
    return train, module.apply(saved.variables, image_bhwc, train=False)

  (one, still), (other, _) = both(jax.random.key(1)), both(jax.random.key(2))
  assert float(jnp.abs(one - other).max()) > 1e-3
  chex.assert_trees_all_close(still, embed(saved, image_bhwc), rtol=1e-5, atol=1e-6)


def test_images_of_another_convention_are_refused_and_the_convention_is_named(tiny):
  saved, image_bhwc = tiny
  name = f"'{saved.preprocess.name}'"
  apply = partial(saved.module.apply, saved.variables, train=False)
  low, high = saved.preprocess.range
  for wrong, words in (
    (image_bhwc.astype(np.uint8), "uint8"),
    (np.concatenate([image_bhwc] * 2, -1), "shape"),
    (image_bhwc[0], "shape"),
    (np.full_like(image_bhwc, high + 3 * (high - low)), "numbers in"),
    (np.tile(image_bhwc, (1, 4, 4, 1)), f"{4 * SIZE}x{4 * SIZE} pixels"),
  ):
    with pytest.raises(ValueError, match=words) as error:
      apply(wrong)
    assert name in str(error.value) and type(saved.module).__name__ in str(error.value)
