"""Devices in groups with slow connections between them."""

from dataclasses import dataclass

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxface.training.arrange import arrange
from jaxface.training.config import MeshConfig
from jaxface.training.mesh import batch_sharding, make_mesh


@dataclass(frozen=True)
class Fake:
  """A device of a slice."""

  id: int
  slice_index: int
  process_index: int = 0
  platform: str = "cpu"
  device_kind: str = "fake"


def interleaved(slices, each):
  """Devices listed in turn from every slice."""
  return [Fake(100 * index + number, index) for number in range(each) for index in range(slices)]


@pytest.mark.parametrize("asked", [0, 2])
def test_devices_of_a_slice_follow_each_other(asked):
  found = arrange(interleaved(2, 4), asked)
  assert found.shape == (8,) and [device.slice_index for device in found] == [0] * 4 + [1] * 4


def test_devices_that_report_nothing_are_in_their_order():
  mesh = make_mesh(MeshConfig(slices=2))
  assert mesh.devices.tolist() == jax.devices()[:8]
  batch = jax.device_put(np.arange(16), batch_sharding(mesh))
  assert batch.sharding.spec == P(("data",)) and {s.data.shape for s in batch.addressable_shards} == {(2,)}


@pytest.mark.parametrize(
  ("devices", "slices", "message"),
  [
    (interleaved(2, 4), 4, "mesh.slices is 4, but the devices report 2 slices: set it to 0"),
    (interleaved(2, 4)[:-1], 0, "are in slices of 4, 3: needs equal ones"),
    (interleaved(1, 8), 3, "mesh.slices is 3: needs a divisor of the 8 devices"),
  ],
)
def test_slices_that_cannot_be_are_refused(devices, slices, message):
  with pytest.raises(ValueError, match=message):
    arrange(devices, slices)


def test_one_slice_may_be_asked_for_although_there_are_two():
  devices = interleaved(2, 4)
  assert arrange(devices, 1).tolist() == devices
