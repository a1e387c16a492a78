"""A small state of every kind of leaf, and damage to its files."""

import jax
import jax.numpy as jnp
import pytest


@pytest.fixture(scope="session")
def state_of():
  """A state that differs from step to step."""

  def state_of(step, rows=24):
    key = jax.random.fold_in(jax.random.key(0), step)
    return {
      "step": jnp.int32(step), "params": {"kernel": jax.random.normal(key, (40, 16)), "center_cd": jax.random.normal(key, (rows, 8))},
      "half": jnp.full((3, 5), step, jnp.bfloat16), "bad": jnp.zeros(4, bool), "ema": None, "empty": {}, "many": (jnp.ones(2), jnp.zeros(2)),
    }

  return state_of


@pytest.fixture(scope="session")
def flip():
  """Changes one byte of a file; every bit pattern but the old one is as likely."""

  def flip(path, rng):
    content = bytearray(path.read_bytes())
    place = int(rng.integers(len(content)))
    content[place] ^= int(rng.integers(1, 256))
    path.write_bytes(content)
    return f"{path.name}, byte {place}"

  return flip
