"""Activations by name.

Each function is jitted under its own name, so that a jaxpr keeps the name, such as `prelu`. The export translates that name
into one node instead of three.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax


@jax.jit
def prelu(x: Array, alpha_c: Array) -> Array:
  """x where positive, else alpha·x, with one slope per channel (last axis of `x`)."""
  return jnp.where(x >= 0, x, alpha_c * x)


relu = jax.nn.relu


@jax.jit
def relu6(x: Array) -> Array:
  """x clipped to 0..6."""
  return lax.clamp(jnp.zeros((), x.dtype), x, jnp.full((), 6, x.dtype))


ACTIVATIONS = ("prelu", "relu", "relu6")


def check_activation(name: str) -> str:
  """Returns `name`, or raises a ValueError that lists the valid names."""
  if name not in ACTIVATIONS:
    raise ValueError(f"unknown activation {name!r}: takes {', '.join(ACTIVATIONS)}")
  return name


def activate(kind: str | None, x: Array, alpha_c: Array | None = None) -> Array:
  """Applies an activation.

  Args:
    kind: one of `ACTIVATIONS`; None returns `x` unchanged.
    x: [..., C].
    alpha_c: [C] slopes of "prelu".
  Returns:
    [..., C].
  """
  if kind is None:
    return x
  if check_activation(kind) == "prelu":
    assert alpha_c is not None
    return prelu(x, alpha_c.astype(x.dtype))
  return relu(x) if kind == "relu" else relu6(x)


class Activation(nn.Module):
  """One of `ACTIVATIONS`; "prelu" has a parameter `alpha` [features], initialised to 0.25; the others have none.

  Source: He et al., "Delving Deep into Rectifiers", 2015, for the learned slope.
  """

  kind: str
  features: int

  def setup(self) -> None:
    alpha = check_activation(self.kind) == "prelu"
    self.alpha = self.param("alpha", nn.initializers.constant(0.25), (self.features,), jnp.float32) if alpha else None

  def __call__(self, x: Array) -> Array:
    return activate(self.kind, x, self.alpha)


__all__ = ["ACTIVATIONS", "Activation", "activate", "check_activation", "prelu", "relu", "relu6"]
