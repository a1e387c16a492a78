"""Training an ensemble is training each of its networks alone, on any number of devices."""

from dataclasses import replace

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.geometry.patches import Patch, boxes, crop
from jaxface.geometry.templates import template
from jaxface.heads.classification import Classification
from jaxface.heads.per_member import PerMember
from jaxface.losses.margins import Softmax
from jaxface.models.config import ModelConfig
from jaxface.models.deepid import DeepIDNet, patch_convention
from jaxface.models.preprocess import LUMA, get_preprocess
from jaxface.models.registry import create
from jaxface.training.config import MeshConfig
from jaxface.training.mesh import batch_sharding, make_mesh, state_sharding
from jaxface.training.optimizer import OptimizerConfig
from jaxface.training.step import compile_step

NET = {"embedding_size": 5, "width": 0.2}
PATCHES = {"regions": ("face", "nose"), "scales": (0.8, 1.0)}
MEMBERS, IDENTITIES, SIDE, STEPS = 8, 8, 56, 3


class Alone(nn.Module):
  """One network on its patch, without any stack."""

  patch: Patch

  @nn.compact
  def __call__(self, image_bhwc, train):
    box_n4 = boxes([self.patch], template("arcface112"), image_bhwc.shape[1:3])
    if self.patch.colour == "grey":
      image_bhwc = jnp.tensordot(image_bhwc, jnp.asarray(LUMA), 1)[..., None]
    net = DeepIDNet(patch_convention(*self.patch.input_size, self.patch.colour), **NET, name="net")
    return net(crop(image_bhwc, box_n4, self.patch.input_size)[0], train)


def batches(batch_of):
  return [batch_of(16, seed=seed, side=SIDE, identities=IDENTITIES) for seed in range(STEPS)]


@pytest.fixture(scope="module")
def trained(experiment, batch_of, step_of):
  """The run, the ensemble's first state, and the state after some steps."""
  run = replace(
    experiment, ema=0.0, model=ModelConfig("deepid_ensemble", size=SIDE, options={**NET, **PATCHES}),
    terms=(PerMember(Classification(Softmax()), members=MEMBERS),),
    # Far below the length of any gradient, so that every step is clipped.
    optimizer=OptimizerConfig(learning_rate=0.5, weight_decay=1e-2, clip_norm=0.05),
  )
  step = step_of(run, create("deepid_ensemble", **NET, **PATCHES), get_preprocess("unit", size=SIDE), IDENTITIES)
  first = jax.jit(step.init)(jax.random.key(0))
  advance, state = jax.jit(step), first
  for batch in batches(batch_of):
    state, metrics = advance(state, batch)
  return run, first, state, metrics


def of_member(tree, member):
  """Parameters of one network and of its classifier."""
  stacks = {int(name.split("_")[-2]): name for name in tree["model"]}
  first = max(start for start in stacks if start <= member)
  net = jax.tree.map(lambda leaf: leaf[member - first], tree["model"][stacks[first]])
  head = jax.tree.map(lambda leaf: leaf[member], tree["terms"][0][f"members_0_{MEMBERS}"])
  return {"model": {"net": net}, "terms": (head,)}


@pytest.mark.parametrize("member", [0, 3, 5, 6])
def test_every_network_learns_as_if_it_were_alone(trained, batch_of, step_of, member):
  run, first, last, _ = trained
  patch = create("deepid_ensemble", **NET, **PATCHES).patches[member]
  alone = replace(run, terms=(Classification(Softmax()),))
  step = step_of(alone, Alone(patch), get_preprocess("unit", size=SIDE), IDENTITIES)
  params = of_member(first.params, member)
  state = step.init(jax.random.key(1))._replace(params=params)
  state = state._replace(optimizer=step.optimizer.transform.init(params))
  advance = jax.jit(step)
  for batch in batches(batch_of):
    state, _ = advance(state, batch)
  expected = of_member(last.params, member)
  chex.assert_trees_all_close(state.params, expected, rtol=1e-4, atol=1e-5)
  assert max(np.abs(a - b).max() for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(expected))) > 1e-2


def test_eight_devices_train_the_same_ensemble(trained, batch_of, step_of):
  run, first, last, metrics = trained
  mesh = make_mesh(MeshConfig(devices=8))
  step = step_of(run, create("deepid_ensemble", **NET, **PATCHES), get_preprocess("unit", size=SIDE), IDENTITIES)
  shardings = state_sharding(mesh, jax.eval_shape(lambda: first))
  state = jax.device_put(jax.tree.map(jnp.copy, first), shardings)
  centers = state.params["terms"][0][f"members_0_{MEMBERS}"]["center_cd"]
  assert {shard.data.shape for shard in centers.addressable_shards} == {(MEMBERS, IDENTITIES // 8, 5)}
  advance = compile_step(step, shardings, batch_sharding(mesh))
  for batch in batches(batch_of):
    state, spread = advance(state, jax.device_put(batch, batch_sharding(mesh)))
  chex.assert_trees_all_close(jax.device_get(state.params), jax.device_get(last.params), rtol=1e-3, atol=1e-4)
  for name in ("loss", "accuracy_min", "member_loss_max"):
    assert float(spread[name]) == pytest.approx(float(metrics[name]), rel=1e-3)


def test_the_log_shows_the_mean_and_the_ends(trained):
  metrics = trained[3]
  assert metrics["member_loss_min"] <= metrics["member_loss"] <= metrics["member_loss_max"]
  assert float(metrics["loss"]) == pytest.approx(MEMBERS * float(metrics["member_loss"]), rel=1e-5)


def test_terms_for_another_number_of_networks_are_refused(trained, step_of):
  run = replace(trained[0], terms=(PerMember(members=4),))
  with pytest.raises(ValueError, match=r"terms\.0\.members is 4, but deepid_ensemble has 8"):
    step_of(run, create("deepid_ensemble", **NET, **PATCHES), get_preprocess("unit", size=SIDE), IDENTITIES)
