"""Bytes that the estimate of a traced function counts, by hand."""

import jax
import jax.numpy as jnp
import pytest

from jaxface.planning.estimate import tasks_of
from jaxface.planning.graph import graph_of

BATCH, SIZE = 64, 32


def products(function, *shapes):
  """Bytes of each product of a function on one device, and how often it runs."""
  place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  leaves = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=place) for shape in shapes]
  tasks = tasks_of(graph_of(jax.jit(function).trace(*leaves).jaxpr, leaves, 1))
  return [(one.nbytes, one.times) for one in tasks if one.name == "dot_general"]


@pytest.mark.parametrize(("classes", "block"), [(1024, 256), (4096, 256), (4096, 1024)])
def test_a_loop_over_blocks_reads_a_block_each_time_not_all_classes(classes, block):
  def head(x_bd, center_cd):
    def add(total_b, number):
      center_kd = jax.lax.dynamic_slice_in_dim(center_cd, number * block, block)
      return total_b + jnp.exp(x_bd @ center_kd.T).sum(1), None

    return jax.lax.scan(add, jnp.zeros(BATCH), jnp.arange(classes // block))[0]

  embeddings, centers, scores, number = BATCH * SIZE, block * SIZE, BATCH * block, 1
  assert products(head, (BATCH, SIZE), (classes, SIZE)) == [(4 * (embeddings + centers + scores + number), classes // block)]


def test_slices_of_an_array_count_once_each_and_never_more_than_the_array():
  def thirds(x_bd, all_bd):
    a_bd, b_bd, c_bd = (all_bd[:, at : at + SIZE] for at in (0, SIZE, 2 * SIZE))
    return x_bd @ (a_bd * a_bd + b_bd).T, x_bd @ (a_bd + b_bd + c_bd + all_bd[:, :SIZE]).T

  expected = [(4 * (BATCH * SIZE * parts + BATCH * BATCH), 1) for parts in (1 + 2, 1 + 3)]
  assert products(thirds, (BATCH, SIZE), (BATCH, 3 * SIZE)) == expected
