"""How the network is computed in a step: norm groups, recomputation, gradients in bfloat16 and sharded parameters."""

import os
import re
from dataclasses import replace

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import PartitionSpec as P

from jaxface.checkpoint import Checkpoints, shapes_with_shardings
from jaxface.data.augmentation import AugmentConfig
from jaxface.heads.classification import Classification
from jaxface.layers.blocks import ConvNorm
from jaxface.layers.formulation import formulation
from jaxface.layers.norm import BatchNorm
from jaxface.losses.margins import CosFace
from jaxface.models.preprocess import get_preprocess
from jaxface.training import embed as embedding
from jaxface.training import fsdp
from jaxface.training.collectives import collectives
from jaxface.training.config import MeshConfig
from jaxface.training.fsdp import fsdp_axis
from jaxface.training.mesh import batch_sharding, make_mesh
from jaxface.training.parts import Network, Objective
from jaxface.training.resolve import resolve_batches, resolve_optimizer, resolve_plan
from jaxface.training.step import TrainStep, compile_step

# A multiple of what centres are padded to on several devices.
BATCH, SIZE, IDENTITIES = 32, 8, 256
WIDE = (3, 3, 16, 24)  # of the one kernel that FSDP shards here, along its last axis


class Small(nn.Module):
  """Two convolutions with norms, and an embedding of 6 numbers."""

  width: int = 16

  @nn.compact
  def __call__(self, x, train):
    x = ConvNorm(self.width, 3, stride=2, activation="relu")(x, train)
    x = ConvNorm(self.width * 3 // 2, 3, stride=2, activation="relu")(x, train)
    return BatchNorm()(nn.Dense(6)(x.reshape(x.shape[0], -1)), train)


@pytest.fixture(autouse=True)
def one_formulation():
  """Compiles faster; the native formulation has its own tests in `tests/layers`."""
  with formulation("xla"):
    yield


@pytest.fixture
def few(monkeypatch):
  """Shards small arrays too."""
  monkeypatch.setattr(fsdp, "LEAST", 3000)


@pytest.fixture
def prepared(experiment, batch_of):
  """Step, shapes, shardings and batch of a network computed in some way on some devices."""
  batch = batch_of(BATCH, side=SIZE, identities=IDENTITIES)
  still = AugmentConfig(mirror=0.0, shift=0, brightness=0.0, contrast=0.0)
  experiment = replace(experiment, terms=(Classification(CosFace(m=0.1, scale=8.0)),), augment=still, batch_size=BATCH)

  def prepared(devices=8, module=None, listed=None, accumulate=1, **network):
    mesh = make_mesh(MeshConfig(devices=devices), listed)
    part = replace(experiment, accumulate=accumulate)
    step = TrainStep(
      Network(module or Small(), get_preprocess("unit", size=SIZE), **network), Objective(part.terms, IDENTITIES),
      resolve_optimizer(part), resolve_batches(part), resolve_plan(part), mesh,
    )
    shapes = step.shapes
    return step, shapes, step.shardings(shapes), batch

  return prepared


def advance(parts, state=None, steps=2):
  step, _, shardings, batch = parts
  if state is None:
    state = jax.jit(step.init, out_shardings=shardings)(jax.random.key(0))
  go = compile_step(step, shardings, batch_sharding(step.mesh))
  for _ in range(steps):
    state, _ = go(state, jax.device_put(batch, batch_sharding(step.mesh)))
  return state


def kept(state):
  """What must agree, as NumPy arrays."""
  return jax.tree.map(np.asarray, (state.params, state.batch_stats, state.optimizer, state.ema))


def lowered(parts):
  step, shapes, shardings, batch = parts
  return compile_step(step, shardings, batch_sharding(step.mesh)).lower(shapes, batch)


def test_a_step_with_norm_groups_is_the_same_on_any_number_of_devices(prepared):
  expected = kept(advance(prepared(1, norm_groups=8)))
  chex.assert_trees_all_close(kept(advance(prepared(8, norm_groups=8))), expected, rtol=1e-4, atol=1e-5)
  # By the law of total variance: the first norm sees the same in both.
  states = (advance(prepared(1, norm_groups=groups), steps=1) for groups in (8, 1))
  parts, whole = (state.batch_stats["ConvNorm_0"]["norm"]["var"] for state in states)
  assert np.all(parts < whole)


@pytest.mark.parametrize("groups", [1, 4])
def test_gradients_summed_in_bfloat16_differ_by_its_rounding(groups, prepared):
  def gradients(dtype):
    step, _, shardings, batch = prepared(norm_groups=groups, gradient_dtype=dtype)
    state = jax.jit(step.init, out_shardings=shardings)(jax.random.key(0))
    batch = jax.device_put(batch, batch_sharding(step.mesh))
    found = jax.jit(step._gradients)(state, batch)
    return jax.tree.map(np.asarray, (found.loss, found.pulls, found.batch_stats)), jax.tree.map(np.asarray, found.grads["model"])

  same, exact = gradients("float32")
  found, rounded = gradients("bfloat16")
  chex.assert_trees_all_close(found, same, rtol=1e-4, atol=1e-5)
  for (path, right), near in zip(jax.tree_util.tree_leaves_with_path(exact), jax.tree.leaves(rounded)):
    if np.abs(right).max() > 1e-4:  # a bias before a norm has none
      error = np.linalg.norm(near - right) / np.linalg.norm(right)
      # Eight numbers, each rounded by at most one part in 256, and some larger than their sum.
      assert 1e-5 < error < 0.02, jax.tree_util.keystr(path)


@pytest.mark.sweep
def test_accumulated_parts_may_be_summed_in_bfloat16_too(prepared):
  exact = kept(advance(prepared(accumulate=2), steps=1))
  rounded = kept(advance(prepared(accumulate=2, gradient_dtype="bfloat16"), steps=1))
  chex.assert_trees_all_close(rounded, exact, atol=0.02)


def test_the_lowered_program_sums_gradients_in_bfloat16(prepared):
  """Before XLA's CPU compiler, which adds in float32, has it."""
  kernel = "3x3x16x24"
  sums = re.compile(rf"stablehlo\.reduce.*add.*tensor<8x{kernel}xbf16>.*-> tensor<{kernel}xbf16>")
  assert sums.search(lowered(prepared(gradient_dtype="bfloat16")).as_text())
  assert not sums.search(lowered(prepared()).as_text())


def test_sharded_parameters_scatter_gradients_in_bfloat16(few, prepared):
  text = lowered(prepared(fsdp=True, gradient_dtype="bfloat16")).as_text()
  assert re.search(r"stablehlo\.reduce_scatter.*?\(tensor<3x3x16x24xbf16>\) -> tensor<3x3x16x3xbf16>", text, re.DOTALL)
  exact = kept(advance(prepared(), steps=1))
  chex.assert_trees_all_close(kept(advance(prepared(fsdp=True, gradient_dtype="bfloat16"), steps=1)), exact, atol=0.02)


def test_groups_that_cut_a_device_are_refused():
  mesh = make_mesh(MeshConfig(devices=6))
  with pytest.raises(ValueError, match=r"model\.norm_groups is 4 on 6 devices: needs a multiple or a divisor of them"):
    embedding.device_scope(4, mesh)


@pytest.mark.parametrize(
  ("shape", "axis"),
  [((3, 3, 512, 256), 2), ((3, 3, 256, 512), 3), ((3, 3, 512, 512), 2), ((20000,), 0), ((3, 3, 8, 16), None), ((30001, 3), None),
   ((30001, 8), 1), ((), None)],
)
def test_the_longest_axis_that_the_devices_divide_is_sharded(shape, axis):
  assert fsdp_axis(make_mesh(MeshConfig(devices=8)), shape) == axis


def test_fsdp_shards_the_network_its_optimizer_and_average_and_changes_no_value(few, prepared):
  expected = advance(prepared())
  found = advance(prepared(fsdp=True))
  chex.assert_trees_all_close(kept(found), kept(expected), rtol=1e-4, atol=1e-5)
  wide = {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf.sharding.spec
    for path, leaf in jax.tree_util.tree_leaves_with_path(found) if leaf.shape == WIDE
  }
  assert len(wide) == 3 and all(spec == P(None, None, None, ("data",)) for spec in wide.values())
  assert {name.split("/")[0] for name in wide} == {"params", "optimizer", "ema"}
  # Class centres are sharded anyhow.
  rest = [leaf for leaf in jax.tree.leaves(found) if leaf.shape != WIDE and leaf.shape[:1] != (IDENTITIES,)]
  assert all(leaf.sharding.is_fully_replicated for leaf in rest)


def test_fsdp_gathers_a_parameter_and_exchanges_nothing_else_of_its_size(few, prepared):
  parts = prepared(fsdp=True)
  found = collectives(lowered(parts).compile().as_text())
  large = [entry for entry in found if np.prod(entry[2]) >= np.prod(WIDE)]
  gathered = [entry for entry in large if entry[0] == "all-gather"]
  assert gathered and {(dtype, shape) for _, dtype, shape, _ in gathered} == {("f32", WIDE)}
  # Its gradient, added once. (TPU compilers scatter it.)
  assert [(kind, int(np.prod(shape))) for kind, _, shape, _ in large if kind != "all-gather"] == [("all-reduce", int(np.prod(WIDE)))]
  assert not [entry for entry in found if entry[0] not in ("all-reduce", "all-gather", "reduce-scatter")]


@pytest.mark.parametrize(("before", "after"), [((8, True), (1, False)), ((1, False), (8, True))])
def test_a_state_goes_on_with_other_devices_with_and_without_fsdp(before, after, few, prepared, tmp_path):
  straight = kept(advance(prepared(1), steps=3))
  half = advance(prepared(before[0], fsdp=before[1]), steps=1)
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(1, half)
  checkpoints.wait()
  parts = prepared(after[0], fsdp=after[1])
  state = checkpoints.restore(shapes_with_shardings(parts[1], parts[2]))
  checkpoints.close()
  chex.assert_trees_all_equal(kept(state), kept(half))
  chex.assert_trees_all_close(kept(advance(parts, state, steps=2)), straight, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_compiler_for_tpus_scatters_sums_and_sends_bfloat16(prepared):
  pytest.importorskip("libtpu", reason="LIBTPU ABSENT: what TPUs exchange was not tested (pip install libtpu)")
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  listed = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x4").devices
  kernel, part = "3,3,256,384", "3,3,256,48"
  sums = rf"\[{kernel}\].* all-reduce(-start)?\("

  def text(**network):
    return lowered(prepared(module=Small(256), listed=listed, **network)).compile().as_text()

  assert re.search("f32" + sums, text())
  low = text(gradient_dtype="bfloat16")
  assert re.search("bf16" + sums, low) and not re.search(r"f32\[3,3,256,384\][^=]* all-reduce(-start)?\(", low)
  assert re.search(rf"f32\[{part}\].*calls=%all-reduce-scatter", text(fsdp=True))
  assert re.search(rf" bf16\[{part}\]\S* reduce-scatter\(", text(fsdp=True, gradient_dtype="bfloat16"))


def test_dropout_draws_for_each_device(prepared):
  class Dropped(nn.Module):
    @nn.compact
    def __call__(self, x, train):
      return nn.Dropout(0.5, deterministic=not train)(jnp.ones((x.shape[0], 64)) * self.param("w", nn.initializers.ones, (64,)))

  step, *_ = prepared(module=Dropped(), gradient_dtype="bfloat16")
  embed = jax.jit(lambda p, x, key: embedding.embed(step.network, step.mesh, p, {}, x, key)[0])
  y = np.asarray(embed({"w": jnp.ones(64)}, jnp.zeros((BATCH, 4)), jax.random.key(0)))
  assert len({row.tobytes() for row in y}) == BATCH
