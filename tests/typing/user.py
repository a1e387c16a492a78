"""A user's file, which `make lint` type-checks: public names have types, and a wrong use is found."""

from dataclasses import dataclass
from typing import Any, ClassVar, assert_type

import jax
import jax.numpy as jnp
import numpy as np

import jaxface
from jaxface import data, evaluation, heads, inference, losses, models, testing, training

model = jaxface.load("runs/mine")
assert_type(model, inference.Model)
assert_type(model.embed("MY_FACES"), np.ndarray)
assert_type(model.input_size, tuple[int, int])
result = jaxface.verify(model.embed_named("MY_FACES"), "pairs.txt")
assert_type(result, evaluation.Verification)
assert_type(result.accuracy, float)

margin: losses.Margin = losses.ArcFace(m=0.3)
term: losses.Term = losses.TripletLoss()
experiment = training.Experiment(steps=10, terms=(term,))
assert_type(models.list_models(), list[str])
loss = testing.from_term(term)
plan = training.Plan(steps=10)
assert_type(plan.most_bad_lately, int)
optimizer = training.Optimizer.make(training.OptimizerConfig(), training.ScheduleConfig(), steps=plan.steps)
objective = training.Objective((term,), num_classes=5)


@dataclass(frozen=True)
class Half:
  """A margin."""

  scale: float = 30.0

  @property
  def geometry(self) -> losses.Geometry:
    return losses.Geometry(unit_x=True, unit_w=True)

  def init_state(self) -> dict[str, jax.Array]:
    return {}

  def prepare(
    self, target_b: jax.Array, norm_b: jax.Array, weight_b: jax.Array, *, state: Any, step: jax.Array | int,
    key: jax.Array | None, reduce: Any,
  ) -> losses.Prep:
    return losses.Prep(ctx=(), state=state, penalty_b=jnp.zeros_like(target_b))

  def target(self, target_b: jax.Array, ctx: Any) -> jax.Array:
    return self.scale * target_b / 2

  def others(self, score_bk: jax.Array, ctx: Any) -> jax.Array:
    return self.scale * score_bk


@dataclass(frozen=True)
class Own:
  """A head."""

  weight: float = 1.0
  scope: ClassVar[str] = "row"

  def init(self, key: jax.Array, embedding_size: int, num_classes: int) -> tuple[dict[str, Any], Any]:
    return heads.init_centers(key, num_classes, embedding_size, Half().geometry), {}

  def __call__(
    self, params: dict[str, jax.Array], inputs: dict[str, jax.Array], *, state: Any, step: jax.Array | int, key: jax.Array | None,
  ) -> tuple[jax.Array, Any, dict[str, jax.Array]]:
    return inputs["weight_b"] * (inputs["embedding_bd"] @ params["center_cd"].T).max(axis=1), state, {}


@dataclass(frozen=True)
class Dark:
  """An augmentation."""

  share: float = 0.5

  def __call__(self, image_hwc: jax.Array, key: jax.Array) -> jax.Array:
    return self.share * image_hwc


own_margin: losses.Margin = Half()
own_term: losses.Term = Own()
own_head: heads.Head = Own()
own_augmentation: data.Augmentation = Dark()
losses.check_margin(own_margin)
losses.check_term(own_term)
heads.check_head(own_head)
data.check_augmentation(own_augmentation)
training.Experiment(
  terms=(own_head, heads.Classification(margin=own_margin)), augment=data.AugmentConfig(own=(own_augmentation,))
)

not_an_augmentation: data.Augmentation = Half()  # type: ignore[assignment]
not_a_head: heads.Head = Dark()  # type: ignore[assignment]
jaxface.load(3)  # type: ignore[arg-type]
losses.ArcFace(margin=0.3)  # type: ignore[call-arg]
jaxface.nothing_such  # type: ignore[attr-defined]  # noqa: B018
