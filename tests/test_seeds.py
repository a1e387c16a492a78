"""No two purposes draw from one key, in any step."""

import itertools
from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.data import augmentation
from jaxface.data.config import DataConfig, SyntheticConfig, open_source
from jaxface.data.permutation import keyed
from jaxface.evaluation.config import VerificationConfig
from jaxface.heads.per_member import PerMember
from jaxface.models.preprocess import get_preprocess
from jaxface.seeds import Purpose, device_key
from jaxface.training.config import Experiment
from jaxface.training.optimizer import OptimizerConfig
from jaxface.training.parts import Batches, Network, Objective, Optimizer, Plan
from jaxface.training.schedule import ScheduleConfig
from jaxface.training.step import TrainStep

STEPS, TERMS, PARTS, MEMBERS, SIZE = 40, 3, 2, 2, 8
SEEN = []


def note(key, embedding=()):
  jax.debug.callback(lambda data: SEEN.append(tuple(data.tolist())), jax.random.key_data(key))
  return embedding


class Small(nn.Module):
  """Notes the keys of its first values and of its dropout."""

  @nn.compact
  def __call__(self, x, train):
    if train:
      note(self.scope.rngs["dropout"].rng)
    elif self.is_initializing():
      note(self.scope.rngs["params"].rng)
    return nn.Dense(4)(x.reshape(x.shape[0], -1))


class Noting:
  """A term that notes its keys."""

  scope, weight = "row", 1.0

  def init(self, key, embedding_size, num_classes):
    note(key)
    return {}, {}

  def __call__(self, params, inputs, *, state, step, key):
    note(key)
    return inputs["embedding_bd"].sum(1), state, {}


def batch(step):
  position_b = np.arange(step * SIZE, (step + 1) * SIZE)
  return {
    "image": jnp.full((SIZE, 8, 8, 3), 100, jnp.uint8), "label": jnp.zeros(SIZE, jnp.int32), "weight": jnp.ones(SIZE),
    "position": jnp.asarray(position_b, jnp.uint32),
  }


def test_a_run_gives_every_purpose_its_own_keys_in_every_step(monkeypatch):
  SEEN.clear()
  real = augmentation._keys

  def noted(seed, position_b):
    key_b = real(seed, position_b)
    jax.vmap(note)(key_b)
    return key_b

  monkeypatch.setattr(augmentation, "_keys", noted)
  step = TrainStep(
    Network(Small(), get_preprocess("unit", size=8)), Objective((Noting(),) * TERMS, 5),
    Optimizer.make(OptimizerConfig(), ScheduleConfig(), steps=STEPS), Batches(SIZE, PARTS, seed=3), Plan(steps=STEPS),
  )
  state = jax.jit(step.init)(jax.random.key(3))
  jax.effects_barrier()
  first = set(SEEN)
  assert len(first) == 1 + TERMS
  advance = jax.jit(step)
  for number in range(STEPS):
    state, _ = advance(state, batch(number))
  jax.effects_barrier()
  expected = 1 + TERMS + STEPS * (SIZE + PARTS * (1 + TERMS))
  assert len(set(SEEN)) == expected
  root = tuple(jax.random.key_data(jax.random.key(3)).tolist())
  assert root not in SEEN


def test_members_of_an_ensemble_and_operations_of_augmentation_share_no_key():
  root = jax.random.key(0)
  keys = []
  for step, term in itertools.product(range(50), range(2)):
    keys.append(PerMember(members=4)._keys(device_key(root, Purpose.TERM, step, 0, term)))
  keys += [PerMember(members=4)._keys(device_key(root, Purpose.TERM_INIT, term)) for term in range(2)]
  key_b = augmentation._keys(0, jnp.arange(200, dtype=jnp.uint32))
  keys += [jax.vmap(jax.random.fold_in, (0, None))(key_b, stream) for stream in range(len(augmentation.STREAMS))]
  rows = np.concatenate([np.asarray(jax.random.key_data(key)) for key in keys])
  assert len(np.unique(rows, axis=0)) == len(rows) == 50 * 2 * 4 + 2 * 4 + 200 * len(augmentation.STREAMS)


def test_purposes_on_the_host_share_no_key():
  words = [keyed(seed, purpose, np.arange(1000)) for seed in (0, 1) for purpose in Purpose]
  words += [keyed(seed, purpose) for seed in (0, 1) for purpose in Purpose]
  assert len(np.unique(np.concatenate(words))) == 2 * len(Purpose) * 1001


def test_the_exam_does_not_follow_the_seed_of_the_training():
  faces = SyntheticConfig(identities=20, images_per_identity=2, size=16)
  experiment = Experiment(data=DataConfig(synthetic=faces, holdout=0.3), evaluation=(VerificationConfig(),))
  other = replace(experiment, seed=1)
  held = [open_source(one.data)[1].names() for one in (experiment, other)]
  assert held[0] == held[1] and experiment.evaluation == other.evaluation
  moved = replace(experiment.data, seed=1)
  assert open_source(moved)[1].names() != held[0]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_a_key_cannot_hold_is_refused(seed):
  with pytest.raises(ValueError, match=r"Experiment\.seed = .* must lie in \[0, 2147483647\]"):
    Experiment(seed=seed)
