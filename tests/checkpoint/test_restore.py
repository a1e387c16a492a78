"""Arrays come back bit for bit, on any devices, and beside them stand only a few blocks."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxface.checkpoint.arrays as arrays_module
from jaxface.checkpoint import Checkpoints, WrongCheckpoint, load_tree, save_tree, shapes_with_shardings
from jaxface.checkpoint.arrays import block_bytes


def mesh_of(count):
  return Mesh(np.asarray(jax.devices()[:count]), ("all",), axis_types=(AxisType.Auto,))


def laid_out(tree, count, axes):
  """A tree on so many devices, each leaf sharded over an axis or none."""
  mesh = mesh_of(count)
  return jax.tree.map(lambda leaf, axis: jax.device_put(leaf, NamedSharding(mesh, P(*axis))), tree, axes)


AXES = {"center_gwd": ("all",), "momentum_gwd": (None, None, "all"), "kernel": (), "step": ()}


@pytest.fixture(scope="module")
def tree():
  rng = np.random.default_rng(0)
  return {
    "center_gwd": rng.normal(size=(48, 3, 16)).astype(np.float32), "momentum_gwd": rng.normal(size=(48, 3, 16)).astype(jnp.bfloat16),
    "kernel": rng.normal(size=(7, 5)).astype(np.float32), "step": np.int32(3),
  }


@pytest.fixture
def tiny_blocks(monkeypatch):
  """Every array of more than a few rows takes several blocks."""
  for name, value in (("BLOCK", 1 << 10), ("IN_FLIGHT", 1 << 11), ("_LEAST", 1)):
    monkeypatch.setattr(arrays_module, name, value)


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 8), (8, 1), (8, 4), (2, 8)])
def test_values_are_equal_on_any_mesh(first, second, tree, tiny_blocks, tmp_path):
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(1, laid_out(tree, first, AXES))
  mesh = mesh_of(second)
  # Restored with another axis sharded, too.
  turned = {**AXES, "center_gwd": (None, None, "all"), "momentum_gwd": ("all",)}
  for axes in (AXES, turned):
    into = shapes_with_shardings(jax.eval_shape(lambda: tree), jax.tree.map(lambda _, a: NamedSharding(mesh, P(*a)), tree, axes))
    found = checkpoints.restore(into)
    chex.assert_trees_all_equal(jax.device_get(found), tree)
    assert all(leaf.sharding == want.sharding for leaf, want in zip(jax.tree.leaves(found), jax.tree.leaves(into)))
  checkpoints.close()


@pytest.mark.parametrize(("rows", "in_parts"), [(40, False), (2**18, True)])
def test_copies_of_a_small_array_are_written_whole_without_a_program(rows, in_parts, tmp_path):
  """Of a large one each device sends a part, which a program cuts out."""
  tree = laid_out({"kernel": np.arange(rows * 40, dtype=np.float32).reshape(rows, 40)}, 8, {"kernel": ()})
  compiled = []

  def listen(event, seconds, **_):
    if event.endswith("backend_compile_duration"):
      compiled.append(seconds)

  checkpoints = Checkpoints(tmp_path)
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    checkpoints.save(1, tree)
    checkpoints.wait()
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
  assert (len(compiled) > 0) == in_parts
  chex.assert_trees_all_equal(jax.device_get(checkpoints.restore(tree)), jax.device_get(tree))
  checkpoints.close()


def test_what_is_restored_may_be_donated(tree, tmp_path):
  save_tree(tmp_path / "tree", laid_out(tree, 1, AXES))
  found = load_tree(tmp_path / "tree", laid_out(tree, 2, AXES))
  moved = jax.jit(lambda t: jax.tree.map(lambda leaf: leaf + 1, t), donate_argnums=0)(found)
  chex.assert_trees_all_equal(jax.device_get(moved), jax.tree.map(lambda leaf: np.asarray(leaf + jnp.ones((), leaf.dtype)), tree))
  assert found["center_gwd"].is_deleted()


def test_a_large_array_is_written_in_blocks_that_divide_it():
  def of(*shape):
    return block_bytes(jax.ShapeDtypeStruct(shape, jnp.float32))

  assert of(1000, 512) is None  # small
  assert of(1 << 20, 512) == arrays_module.BLOCK
  assert of(1_000_003, 512) is None  # a prime number of rows has no blocks but single ones
  assert of(8 * 1_000_003, 64) is None
  assert of(512, 1 << 20) is None


def test_padding_alone_may_differ_and_is_zero(tmp_path):
  checkpoints = Checkpoints(tmp_path)
  padded = np.arange(1, 25, dtype=np.float32).reshape(12, 2)
  padded[10:] = 0
  checkpoints.save(1, {"center_cd": jnp.asarray(padded), "kernel": jnp.ones((4, 2))})

  def like(rows, kernel=4):
    return {"center_cd": jnp.ones((rows, 2)), "kernel": jnp.ones((kernel, 2))}

  least = {"center_cd": (10, 2)}
  for rows in (10, 12, 16):
    found = np.asarray(checkpoints.restore(like(rows), least=least)["center_cd"])
    assert found.shape == (rows, 2) and not found[10:].any()
    np.testing.assert_array_equal(found[:10], padded[:10])
  for given, names in ((like(10), {}), (like(12, 5), least), (like(16), {"center_cd": (13, 2)})):
    with pytest.raises(WrongCheckpoint, match="saved from another model"):
      checkpoints.restore(given, least=names)
  # Twelve identities are no ten and padding, whatever shape is asked for.
  checkpoints.save(2, {"center_cd": jnp.asarray(padded + 1), "kernel": jnp.ones((4, 2))})
  for rows in (10, 12, 16):
    with pytest.raises(WrongCheckpoint, match=r"'center_cd' is \[12, 2\].*\[10, 2\] are expected.*more identities"):
      checkpoints.restore(like(rows), least=least)
  checkpoints.close()


def test_states_of_an_earlier_release_are_refused_by_name(tmp_path):
  (tmp_path / "last" / "40" / "default").mkdir(parents=True)
  with pytest.raises(WrongCheckpoint, match=r"last/40 was written by an earlier release"):
    Checkpoints(tmp_path)
