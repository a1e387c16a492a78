"""The one convolution: every network calls it, and it picks the formulation that is fast on the backend."""

import contextlib
import contextvars
import os
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxface.layers.conv_pure import pure_conv

Padding = str | Sequence[tuple[int, int]]

FORMULATIONS = ("pure", "xla")
VARIABLE = "JAXFACE_CPU_CONV"
_forced: contextvars.ContextVar[str | None] = contextvars.ContextVar("formulation", default=None)


def _checked(name: str, origin: str) -> str:
  if name not in FORMULATIONS:
    raise ValueError(f"{origin} is {name!r}: takes {' or '.join(map(repr, FORMULATIONS))}")
  return name


@contextlib.contextmanager
def formulation(name: str) -> Iterator[None]:
  """Make `conv` use one formulation in what is traced inside the `with`.

  What `jit` traced before is not traced again: jit a new function inside.

  Args:
    name: "xla" for one `lax.conv_general_dilated` (for an export, or to compile for another platform than the
      default one), "pure" for matrix products and shifted products.
  """
  token = _forced.set(_checked(name, "formulation"))
  try:
    yield
  finally:
    _forced.reset(token)


def current_formulation() -> str:
  """What `conv` uses if traced now: the `formulation` in force; else, on a CPU, JAXFACE_CPU_CONV or "pure"; else "xla"."""
  if forced := _forced.get():
    return forced
  if jax.default_backend() != "cpu":
    return "xla"
  return _checked(os.environ.get(VARIABLE, "pure"), f"environment variable {VARIABLE}")


def conv(
  x_bhwc: Array,
  kernel_hwio: Array,
  *,
  strides: tuple[int, int] = (1, 1),
  padding: Padding = "SAME",
  groups: int = 1,
  precision: Any = None,
) -> Array:
  """Two-dimensional convolution, NHWC by HWIO.

  On a CPU the pure formulations carry reverse-mode gradients of any order; forward mode (`jax.jvp`) raises a
  TypeError where one has its own gradient rule.

  Args:
    x_bhwc: [B, H, W, C] float.
    kernel_hwio: [kh, kw, C / groups, O] float.
    strides: steps in pixels along height and width.
    padding: "SAME", "VALID", or ((top, bottom), (left, right)) in pixels.
    groups: channel groups; C of them make it depthwise.
    precision: as for `jax.lax.conv_general_dilated`; any but the default goes there.
  Returns:
    [B, H', W', O], of the type of `x_bhwc`.
  """
  strides = (strides[0], strides[1])
  given: Sequence[tuple[int, int]]
  if isinstance(padding, str):
    given = lax.padtype_to_pads(x_bhwc.shape[1:3], kernel_hwio.shape[:2], strides, padding)
  else:
    given = padding
  pads = tuple((int(low), int(high)) for low, high in given)
  if precision is None and x_bhwc.shape[-1] == groups * kernel_hwio.shape[2] and current_formulation() == "pure":
    y = pure_conv(x_bhwc, kernel_hwio, strides, pads, groups)
    if y is not None:
      return y
  return lax.conv_general_dilated(
    x_bhwc, kernel_hwio, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups, precision=precision,
  )


class Conv(nn.Module):
  """`conv` with its parameters: `kernel` [kh, kw, C / groups, features] and, if asked, `bias` [features]."""

  features: int
  kernel_size: tuple[int, int] = (3, 3)
  strides: tuple[int, int] = (1, 1)
  padding: Padding = "SAME"
  groups: int = 1
  use_bias: bool = False
  dtype: Any = jnp.float32
  kernel_init: Any = nn.initializers.variance_scaling(2.0, "fan_out", "normal")

  @nn.compact
  def __call__(self, x_bhwc: Array) -> Array:
    shape = (*self.kernel_size, x_bhwc.shape[-1] // self.groups, self.features)
    kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
    y = conv(
      x_bhwc.astype(self.dtype), kernel.astype(self.dtype),
      strides=self.strides, padding=self.padding, groups=self.groups,
    )
    if self.use_bias:
      y = y + self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(self.dtype)
    return y


__all__ = ["Conv", "Padding", "conv", "current_formulation", "formulation"]
