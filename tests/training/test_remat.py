"""What a backward pass recomputes: the same gradients, from fewer bytes kept.

XLA's CPU compiler removes the barriers that prevent it from merging what is recomputed with the original, so its temporaries say
nothing; JAX itself tells what it keeps, and the compiler for TPUs what that saves.
"""

import os

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.ad_checkpoint import saved_residuals
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from native_oracle import BUILT

from jaxface.layers.formulation import formulation
from jaxface.models.config import ModelConfig, make_model
from jaxface.training.embed import embed
from jaxface.training.parts import Network

NETWORKS = {
  "smallresnet": ({"widths": (8, 16), "units": (1, 1)}, 16),
  "vit": ({"channels": 16, "depth": 2, "heads": 2, "patch": 4}, 16),
}


def loss_of(name, remat, **more):
  options, size = NETWORKS[name]
  config = ModelConfig(name, remat=remat, size=size, embedding_size=8, options={**options, **more})
  module, _, preprocess = make_model(config)
  network = Network(module, preprocess, remat=config.remat)

  def loss(params, stats, image_bhwc):
    embedding_bd, _ = embed(network, None, params, stats, image_bhwc, jax.random.key(0))
    return (embedding_bd**2 * jnp.arange(8)).sum()

  shape = (4, *preprocess.size, 3)
  variables = module.init(jax.random.key(0), jnp.zeros((1, *shape[1:])), train=False)
  return loss, variables["params"], variables.get("batch_stats", {}), jax.random.normal(jax.random.key(1), shape)


def kept_bytes(loss, *arrays):
  """Of what the forward pass computes and keeps; parameters and images are there anyway."""
  return sum(
    aval.size * aval.dtype.itemsize for aval, where in saved_residuals(loss, *arrays) if "from the argument" not in where
  )


@pytest.mark.parametrize("name", NETWORKS)
def test_less_is_kept(name):
  with formulation("xla"):
    none, products, blocks = (kept_bytes(*loss_of(name, remat)) for remat in ("none", "products", "blocks"))
  assert max(products, blocks) < 0.75 * none


@pytest.mark.parametrize("remat", ["products", "blocks"])
def test_gradients_are_the_same(remat):
  with formulation("xla"):
    given = [loss_of("smallresnet", name, widths=(8,), units=(1,)) for name in ("none", remat)]
    expected, found = (jax.jit(jax.value_and_grad(loss))(*arrays) for loss, *arrays in given)
  chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)


@BUILT
def test_native_convolutions_are_kept_and_norms_are_not():
  with formulation("onednn"):
    none, products = (kept_bytes(*loss_of("smallresnet", remat)) for remat in ("none", "products"))
  assert products < 0.75 * none


def test_products_are_those_of_convolutions_and_dense_layers():
  with formulation("xla"):
    loss, *arrays = loss_of("smallresnet", "products")
    kept = [where for _, where in saved_residuals(loss, *arrays) if "from the argument" not in where]
  assert kept and all("convolution" in where or "dot_general" in where or "output of" in where for where in kept), kept


@pytest.mark.parametrize(("given", "name"), [(True, "blocks"), (False, "none"), ("products", "products")])
def test_truth_values_still_name_a_policy(given, name):
  assert ModelConfig(remat=given).remat == name


def test_unknown_policies_are_refused_with_the_valid_ones():
  with pytest.raises(ValueError, match=r"model\.remat is 'all', should be one of none, blocks, products"):
    ModelConfig(remat="all")


@pytest.mark.slow
@pytest.mark.sweep
def test_the_compiler_for_tpus_needs_less_memory():
  pytest.importorskip("libtpu", reason="LIBTPU ABSENT: what recomputation saves on a TPU was not tested (pip install libtpu)")
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  device = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices[0]
  mesh = Mesh(np.asarray([device]), ("data",), axis_types=(AxisType.Auto,))
  temporary = {}
  for remat in ("none", "blocks"):
    loss, *arrays = loss_of("smallresnet", remat, widths=(64, 128), units=(2, 2))
    arrays[2] = jax.ShapeDtypeStruct((16384, *arrays[2].shape[1:]), jnp.float32)
    place = NamedSharding(mesh, P())
    compiled = jax.jit(jax.grad(loss), in_shardings=(place,) * 3).lower(*arrays).compile()
    temporary[remat] = compiled.memory_analysis().temp_size_in_bytes
  # "products" saves nothing here: XLA recomputes norms on a TPU by itself.
  assert temporary["blocks"] < 0.75 * temporary["none"]
