"""The compiled step of a tiny run on forced devices of this process: memory against what is really held, collectives, and the estimate."""

import jax
import numpy as np
import pytest

from jaxface.planning.abstract_step import abstract_step
from jaxface.planning.costs import program_costs
from jaxface.planning.estimate import estimate, exchanged, traced
from jaxface.planning.hlo import read_program
from jaxface.training.memory_table import group_bytes

IDENTITIES, BATCH, PIXELS, HIDDEN, SIZE = 480, 16, 48, 16, 8
WEIGHTS = 4 * (PIXELS * HIDDEN + HIDDEN * SIZE)
COUNTS = (2, 8)


@pytest.fixture(scope="module")
def steps(experiment):
  return {count: traced(lambda count=count: abstract_step(experiment, IDENTITIES, count)) for count in COUNTS}


def golden(count):
  """Arrays of a step that are more than a number: gathered embeddings and labels, sums over the classes, gradients of the weights."""
  rows = [("all-gather", (BATCH,)), ("all-gather", (SIZE, BATCH)), ("all-gather", (2, BATCH))]
  head = [("all-reduce", (BATCH,)), ("all-reduce", (2, BATCH)), ("all-reduce", (3, BATCH)), ("reduce-scatter", tuple(sorted((BATCH // count, SIZE))))]
  return sorted([*rows, *head, ("all-reduce", (SIZE, HIDDEN)), ("all-reduce", (HIDDEN, PIXELS))])


def wide(arrays):
  """Kinds and shapes of arrays with more than one number; the order of axes is the compiler's choice."""
  return sorted((kind, tuple(sorted(shape))) for kind, shape in arrays if np.prod(shape) > 1)


@pytest.mark.parametrize("count", COUNTS)
def test_golden_collectives_of_the_compiled_step(count, compiled):
  works = program_costs(read_program(compiled[count]["text"])).work
  sent = [one for work in works for one in work.exchanged for _ in range(work.times)]
  assert wide((one.kind, one.shape) for one in sent) == golden(count)
  assert {one.members for one in sent} == {count}


@pytest.mark.parametrize("count", COUNTS)
def test_the_estimate_exchanges_the_same_arrays(count, steps):
  sent = wide((one.kind, one.array.shape) for one in estimate(*steps[count]).sent for _ in range(one.times))
  # Labels and weights are gathered by several parts of the step, which the compiler does once.
  again = ("all-gather", (BATCH,))
  assert [one for one in sent if one != again] == [one for one in golden(count) if one != again] and again in sent
  assert exchanged(estimate(*steps[count]).sent)["all-reduce"] == pytest.approx(WEIGHTS + 4 * 6 * BATCH, rel=0.05)


@pytest.mark.parametrize("count", COUNTS)
def test_arguments_are_what_devices_hold(count, experiment, compiled):
  devices = jax.devices("cpu")[:count]
  step = abstract_step(experiment, IDENTITIES, devices)
  state, batch = jax.tree.map(lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding), (step.state, step.batch))
  held = sum(
    shard.data.nbytes for leaf in jax.tree.leaves((state, batch)) for shard in leaf.addressable_shards if shard.device == devices[-1]
  )
  parts = group_bytes(step.state, step.batch)
  # Without augmentation no step needs the position of a row.
  assert sum(parts.values()) == held == compiled[count]["arguments"] + 4 * BATCH // count
  assert parts["network"] == WEIGHTS == parts["network, optimizer"]
  assert parts["class centres"] == 4 * SIZE * 512 // count  # padded to a multiple of 256


@pytest.mark.parametrize("count", COUNTS)
def test_products_of_the_step_by_hand(count, steps, compiled):
  """Forward and two gradients of each layer, but none of the pixels; of scores, embeddings and centres; of the own class's score."""
  own, classes = BATCH // count, 512 // count
  layers = 2 * own * (2 * PIXELS * HIDDEN + 3 * HIDDEN * SIZE)
  head, target = 3 * 2 * BATCH * SIZE * classes, 3 * 2 * BATCH * SIZE
  step, jaxpr = steps[count]
  assert estimate(step, jaxpr).flops == layers + head + target
  # The last is no product of matrices in the compiled program.
  assert program_costs(read_program(compiled[count]["text"])).flops == layers + head


def test_memory_falls_with_devices(steps):
  found = [estimate(*steps[count]) for count in COUNTS]
  for name in ("arguments", "temporaries", "memory", "flops"):
    values = [getattr(one, name) for one in found]
    assert values == sorted(values, reverse=True), name
