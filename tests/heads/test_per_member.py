"""A term for every member of an ensemble is the term of each one alone."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.heads.classification import Classification
from jaxface.heads.per_member import PerMember
from jaxface.layers.members import members_of
from jaxface.losses.center import CenterLoss
from jaxface.losses.margins import Softmax
from jaxface.losses.margins_adaptive import AdaFace
from jaxface.losses.metrics import values
from jaxface.losses.pair_forms import Hinge
from jaxface.losses.pair_loss import PairLoss
from jaxface.losses.term import scope

MEMBERS, SIZE, CLASSES, ROWS = 3, 4, 5, 8


def batch(seed=0):
  rng = np.random.default_rng(seed)
  return {
    "embedding_bd": jnp.asarray(rng.normal(size=(ROWS, MEMBERS * SIZE)), jnp.float32),
    "label_b": jnp.asarray(rng.integers(0, CLASSES, ROWS), jnp.int32),
    "weight_b": jnp.asarray([1.0] * (ROWS - 2) + [0.5, 0.0], jnp.float32),
  }


@pytest.mark.parametrize(
  "term", [Classification(Softmax()), Classification(AdaFace(scale=8.0)), CenterLoss(), PairLoss(Hinge())],
  ids=["softmax", "adaface", "center", "pairs"],
)
def test_every_member_is_the_term_alone(term):
  ensemble = PerMember(term, members=MEMBERS)
  key, step_key, inputs = jax.random.key(1), jax.random.key(2), batch()
  params, state = ensemble.init(key, MEMBERS * SIZE, CLASSES)

  def total(call, params, embedding_bd, state, own_key):
    loss_b, new, metrics = call(params, {**inputs, "embedding_bd": embedding_bd}, state=state, step=3, key=own_key)
    return loss_b.sum(), (loss_b, new, metrics)

  grad = jax.jit(jax.value_and_grad(total, argnums=(1, 2), has_aux=True), static_argnums=0)
  (_, (loss_b, new, metrics)), (grads, embedding_grad) = grad(ensemble, params, inputs["embedding_bd"], state, step_key)
  summed, losses = 0.0, []
  name = f"members_0_{MEMBERS}"
  for member in range(MEMBERS):
    mine = term.init(jax.random.fold_in(key, member), SIZE, CLASSES)
    own = slice(member * SIZE, (member + 1) * SIZE)
    (value, (alone_b, alone_new, _)), (alone_grads, alone_embedding_grad) = grad(
      term, mine[0], inputs["embedding_bd"][:, own], mine[1], jax.random.fold_in(step_key, member)
    )
    summed, losses = summed + alone_b, [*losses, value / inputs["weight_b"].sum()]
    pairs = [(params, mine[0]), (state, mine[1]), (grads, alone_grads), (new, alone_new)]
    for together, alone in pairs:
      own_part = jax.tree.map(lambda leaf: leaf[member], together[name])  # noqa: B023
      chex.assert_trees_all_close(own_part, alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(embedding_grad[:, own], alone_embedding_grad, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(loss_b, summed, rtol=1e-5, atol=1e-6)
  metrics = values(metrics)
  assert all(np.ndim(value) == 0 for value in metrics.values())
  for end, expected in (("", np.mean(losses)), ("_min", min(losses)), ("_max", max(losses))):
    np.testing.assert_allclose(metrics[f"member_loss{end}"], expected, rtol=1e-5)


def test_metrics_name_the_worst_member():
  ensemble, inputs = PerMember(Classification(Softmax()), members=2), batch()
  params, state = ensemble.init(jax.random.key(0), 2 * CLASSES, CLASSES)
  # The first member knows every label, the second one knows them wrong.
  right_bd = 50 * jax.nn.one_hot(inputs["label_b"], CLASSES)
  params["members_0_2"]["center_cd"] = jnp.broadcast_to(jnp.eye(CLASSES), (2, CLASSES, CLASSES))
  inputs["embedding_bd"] = jnp.concatenate([right_bd, -right_bd], axis=1)
  metrics = ensemble(params, inputs, state=state, step=0, key=None)[2]
  metrics = values(metrics)
  assert [float(metrics[f"accuracy{end}"]) for end in ("", "_min", "_max")] == [0.5, 0.0, 1.0]
  assert metrics["member_loss_max"] > 40 > 1 > metrics["member_loss_min"]


def test_weight_and_scope_are_the_terms_own():
  assert PerMember(CenterLoss(weight=0.25)).weight == 0.25
  assert [scope(PerMember(term)) for term in (Classification(Softmax()), PairLoss(Hinge()))] == ["row", "pairs"]


def test_a_wrong_number_of_members_is_named():
  with pytest.raises(ValueError, match=r"PerMember\.members is 3, which does not divide the embedding of 10"):
    PerMember(members=3).init(jax.random.key(0), 10, 5)
  with pytest.raises(ValueError, match=r"PerMember\.members = 0 is out of range"):
    PerMember(members=0)


def test_the_name_tells_the_members():
  def path(*names):
    return tuple(jax.tree_util.DictKey(name) for name in names)

  assert members_of(path("model", "39x31x3_members_15_30", "conv1", "kernel")) == range(15, 30)
  assert members_of(path("members_0_2", "center_cd")) == range(2)
  assert members_of(path("model", "members", "members_1", "members_1_2_norm")) is None


def test_centres_at_mean_embeddings_are_refused_by_name():
  with pytest.raises(ValueError, match=r"PerMember\.term\.center_init = 'mean_embedding' is not supported for ensembles"):
    PerMember(Classification(Softmax(), center_init="mean_embedding"), members=MEMBERS)
