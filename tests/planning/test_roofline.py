"""Time of a step by hand, and its laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.planning.estimate import Task
from jaxface.planning.roofline import HOP, collective_seconds, exchanges, step_time
from jaxface.planning.topology import Chip, parse_topology

CHIP = Chip("x", 1e9, 100.0, {"float32": 1000.0}, 10.0)


def test_each_operation_takes_the_slower_of_products_and_bytes():
  tasks = [Task("a", 1000.0, 10.0, 2), Task("b", 10.0, 100.0, 1)]
  found = step_time(tasks, (), CHIP, "float32")
  assert found.products == pytest.approx(2.01) and found.memory == pytest.approx(1.2)
  assert found.operations == found.step == pytest.approx(3.0) and found.bound == "products"
  assert step_time(tasks, (), CHIP, "bfloat16") is None


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(1, 5)), max_size=5))
def test_operations_take_no_less_than_either_and_no_more_than_both(given):
  found = step_time([Task("", *one) for one in given], (), CHIP, "float32")
  slack = 1e-9 + 1e-9 * found.operations
  assert max(found.products, found.memory) <= found.operations + slack
  assert found.operations <= found.products + found.memory + slack


def test_collectives_by_hand():
  # Of a ring of 4: 3/4 of the array twice, once, and 3 times the part.
  assert collective_seconds("all-reduce", 400, 4, 10.0, 0) == 60
  assert collective_seconds("all-gather", 400, 4, 10.0, 0) == 30
  assert collective_seconds("reduce-scatter", 100, 4, 10.0, 0) == 30
  assert collective_seconds("collective-permute", 100, 4, 10.0, 0) == 10
  assert collective_seconds("all-reduce", 0, 4, 10.0, 8) == pytest.approx(8 * HOP)
  assert collective_seconds("all-reduce", 400, 1, 10.0, 8) == 0


def test_collectives_are_summed_by_kind_and_group():
  sent = [("all-reduce", 100, 64, 2), ("all-reduce", 50, 0, 1), ("all-gather", 1000, 8, 1), ("all-reduce", 9, 1, 1)]
  found = exchanges(sent, parse_topology("v5e:8x8"))
  assert [(one.kind, one.axis, one.members, one.times, one.nbytes) for one in found] == [
    ("all-gather", "part of data", 8, 1, 1000), ("all-reduce", "data", 64, 3, 250)
  ]
  assert all(one.seconds > 0 for one in found)
  assert all(one.seconds == 0 for one in exchanges(sent, parse_topology("cpu:64")))
