"""Equal networks are traced once; what differs in anything is traced again."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxface.models.watch import abstract_variables

traced = []


class Counted(nn.Module):
  features: int
  extra: Any = None

  @nn.compact
  def __call__(self, image_bhwc, train):
    traced.append(self.features)
    return nn.Dense(self.features)(image_bhwc.reshape(image_bhwc.shape[0], -1))


class Other(Counted):
  pass


def times(module, shape):
  before = len(traced)
  result = abstract_variables(module, shape)
  return len(traced) - before, result


def test_equal_networks_are_traced_once():
  count, first = times(Counted(3), (1, 4, 4, 3))
  assert count == 1 and first["params"]["Dense_0"]["kernel"] == jax.ShapeDtypeStruct((48, 3), jnp.float32)
  first["params"].pop("Dense_0")  # the next one gets its own
  count, second = times(Counted(3), (1, 4, 4, 3))
  assert count == 0 and second["params"]["Dense_0"]["bias"].shape == (3,)


def test_another_class_option_or_image_is_another_network():
  abstract_variables(Counted(5), (1, 4, 4, 3))
  for module, shape in ((Other(5), (1, 4, 4, 3)), (Counted(6), (1, 4, 4, 3)), (Counted(5), (1, 2, 4, 3))):
    count, found = times(module, shape)
    assert count == 1 and found["params"]["Dense_0"]["kernel"].shape == (shape[1] * 12, module.features)


def test_a_network_that_cannot_be_hashed_is_traced_each_time():
  for _ in range(2):
    count, found = times(Counted(7, extra=jnp.zeros(2)), (1, 2, 2, 3))
    assert count == 1 and found["params"]["Dense_0"]["kernel"].shape == (12, 7)
