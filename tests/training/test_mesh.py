"""Sharding of the arrays of a run, and meshes that are refused."""


import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from jaxface.training.config import MeshConfig
from jaxface.training.mesh import batch_sharding, make_mesh, state_sharding


def test_the_batch_is_sharded_over_all_devices():
  mesh = make_mesh(MeshConfig())
  assert dict(mesh.shape) == {"data": 8}
  batch = jax.device_put(jnp.arange(16), batch_sharding(mesh))
  assert {shard.data.shape for shard in batch.addressable_shards} == {(2,)}


def test_only_classes_and_the_optimizers_state_for_them_are_sharded():
  mesh = make_mesh(MeshConfig(devices=4))
  shape = jax.ShapeDtypeStruct((8, 3), jnp.float32)
  bias = jax.ShapeDtypeStruct((8,), jnp.float32)
  state = {
    "params": {"model": {"stem": shape}, "terms": ({"center_cd": shape, "bias_c": bias},)},
    "optimizer": ({"trace": {"terms": ({"center_cd": shape},)}},), "class_counts": {"0": bias}, "window": {"center": bias},
  }
  found = state_sharding(mesh, state)
  assert found["params"]["terms"][0]["center_cd"].spec == P(("data",))
  assert found["params"]["terms"][0]["bias_c"].spec == P(("data",))
  assert found["optimizer"][0]["trace"]["terms"][0]["center_cd"].spec == P(("data",))
  assert found["class_counts"]["0"].spec == P(("data",))
  assert found["params"]["model"]["stem"].spec == P() and found["window"]["center"].spec == P()


def test_a_layer_that_is_called_like_class_centres_is_none():
  mesh = make_mesh(MeshConfig(devices=4))
  layer = {"center_crop": {"kernel": jax.ShapeDtypeStruct((7, 3), jnp.float32)}, "bias_c": jax.ShapeDtypeStruct((7,), jnp.float32)}
  inner = ({"model": {"center_cd": jax.ShapeDtypeStruct((8, 3), jnp.float32)}},)
  state = {
    "params": {"model": layer, "terms": inner}, "batch_stats": layer, "ema": {"params": layer},
    "optimizer": ({"trace": {"model": layer, "terms": inner}},),
  }
  found = state_sharding(mesh, state)
  specs = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.spec for path, leaf in jax.tree_util.tree_leaves_with_path(found)}
  assert {name for name, spec in specs.items() if spec != P()} == {
    "params/terms/0/model/center_cd", "optimizer/0/trace/terms/0/model/center_cd",
  }
  assert len(specs) == 10


@pytest.mark.parametrize(
  ("config", "message"),
  [
    (MeshConfig(devices=9), "mesh.devices is 9, but there are 8"),
  ],
)
def test_an_impossible_mesh_is_refused(config, message):
  with pytest.raises(ValueError, match=message):
    make_mesh(config)


def test_centres_without_padding_are_named():
  mesh = make_mesh(MeshConfig(devices=4))
  with pytest.raises(ValueError, match=r"the 10 class centres of center_cd are not a multiple of the 4 devices"):
    state_sharding(mesh, {"center_cd": jax.ShapeDtypeStruct((10, 3), jnp.float32)})


def test_centres_of_an_ensemble_are_sharded_over_their_second_axis():
  mesh = make_mesh(MeshConfig(devices=4))
  centers = {"members_0_5": {"center_cd": jax.ShapeDtypeStruct((5, 8, 3), jnp.float32),
                             "bias_c": jax.ShapeDtypeStruct((5, 8), jnp.float32)}}
  found = state_sharding(mesh, {"terms": (centers,), "optimizer": ({"trace": centers},)})
  for part in (found["terms"][0], found["optimizer"][0]["trace"]):
    assert part["members_0_5"]["center_cd"].spec == part["members_0_5"]["bias_c"].spec == P(None, ("data",))
  with pytest.raises(ValueError, match="the 6 class centres of members_0_8/center_cd"):
    state_sharding(mesh, {"members_0_8": {"center_cd": jax.ShapeDtypeStruct((8, 6, 3), jnp.float32)}})
