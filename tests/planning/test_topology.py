"""Names of topologies, and what is known of their devices."""

import pytest

from jaxface.planning.topology import GPUS, TPUS, parse_topology


@pytest.mark.parametrize(
  ("name", "count", "platform", "memory"),
  [("v5e:16x16", 256, "tpu", 15.75 * 2**30), ("v5p:4x4x4", 64, "tpu", 95.73 * 2**30), ("v4:2x2x1", 4, "tpu", 30.75 * 2**30),
   ("v6e:8x8", 64, "tpu", 31.24 * 2**30), ("cpu:8", 8, "cpu", 0), ("gpu:h100x8", 8, "gpu", 80e9), ("gpu:h200x64", 64, "gpu", 141e9)],
)
def test_devices_of_a_name(name, count, platform, memory):
  found = parse_topology(name)
  assert (found.name, found.count, found.platform, found.chip.memory) == (name, count, platform, memory)


@pytest.mark.parametrize("name", ["v5e:", "v7x:4x4", "cpu:0", "cpu", "tpu:8", "gpu:rtx9x8", "", "gpu:h100"])
def test_an_unknown_name_lists_those_that_are_known(name):
  with pytest.raises(ValueError, match="unknown topology") as found:
    parse_topology(name)
  for known in (*TPUS, *GPUS, "cpu:N", "v5e:16x16"):
    assert known in str(found.value)


@pytest.mark.parametrize(("name", "says"), [("v5e:4x4x4", "v5e needs 2 lengths such as v5e:4x4"), ("v5p:8x8", "3 lengths"), ("v5e:0x4", "2 lengths"), ("v5e:999999x999999", "2 lengths"), ("gpu:h100x12", "multiple of 8")])
def test_wrong_lengths_say_what_is_right(name, says):
  with pytest.raises(ValueError, match=says):
    parse_topology(name)


def test_rings_are_twice_as_fast_as_lines():
  line, ring = parse_topology("v5e:8x8"), parse_topology("v5e:16x16")
  assert ring.exchange == 2 * line.exchange == 4 * 45e9
  assert parse_topology("v5p:4x4x4").exchange == 6 * 90e9
  assert parse_topology("gpu:h100x8").exchange == 9 * parse_topology("gpu:h100x16").exchange
