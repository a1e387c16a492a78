"""The table of class centres, read and changed in blocks, wherever the centres are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxface.training import center_table
from jaxface.training.center_table import CenterTable
from jaxface.training.config import MeshConfig
from jaxface.training.mesh import make_mesh

CLASSES, ROWS, K, D = 21, 32, 3, 2


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
  monkeypatch.setattr(center_table, "BLOCK", 4)
  center_table._reader.cache_clear()
  center_table._writer.cache_clear()
  yield
  center_table._reader.cache_clear()
  center_table._writer.cache_clear()


@pytest.mark.parametrize(("devices", "sharded", "dtype"), [(1, False, "float32"), (8, True, "bfloat16"), (8, False, "float32")])
def test_rows_are_read_and_replaced_by_class(devices, sharded, dtype):
  mesh = make_mesh(MeshConfig(devices=devices))
  rng = np.random.default_rng(0)
  center = rng.integers(-8, 8, (ROWS * K, D)).astype(np.float32)  # exact in bfloat16
  bias = rng.integers(-8, 8, ROWS).astype(np.float32)
  place = NamedSharding(mesh, P(("data",)) if sharded else P())
  leaves = {
    "center_cd": jax.device_put(jnp.asarray(center, dtype), place), "bias_c": jax.device_put(jnp.asarray(bias), place)
  }
  table = CenterTable(leaves, CLASSES, K, mesh)
  expected = np.concatenate([center.reshape(ROWS, -1), bias[:, None]], axis=1)
  assert table.size == K * D + 1
  assert [len(block) for block in table.blocks()] == [4] * 5 + [1]
  np.testing.assert_array_equal(table.rows(), expected[:CLASSES])

  number_n = rng.permutation(CLASSES)[:9]
  expected[number_n] = rng.integers(-8, 8, (9, K * D + 1))
  table.put(number_n, expected[number_n])
  np.testing.assert_array_equal(table.rows(), expected[:CLASSES])
  np.testing.assert_array_equal(np.asarray(table.leaves["bias_c"]), expected[:, -1])
  assert table.leaves["center_cd"].dtype == jnp.dtype(dtype) and table.leaves["center_cd"].sharding == place
