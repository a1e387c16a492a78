"""Selects how a layer is computed on a CPU: by oneDNN and native code, by pure JAX written for CPUs, or by XLA's operations.

All other platforms use XLA's operations. The traced program contains both, and the choice is made at lowering (`by_platform`),
because a program may be lowered for a platform other than that of its process.
"""

import contextlib
import contextvars
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax import Array, lax

from jaxface.layers import native

FORMULATIONS = ("onednn", "pure", "xla")
VARIABLE = "JAXFACE_CPU_CONV"
_forced: contextvars.ContextVar[str | None] = contextvars.ContextVar("formulation", default=None)


def _checked(name: str, origin: str) -> str:
  if name not in FORMULATIONS:
    raise ValueError(f"{origin} is {name!r}: takes {', '.join(map(repr, FORMULATIONS))}")
  if name == "onednn" and not native.available():
    raise ValueError(f"{origin} is 'onednn', but {native.why_not()}")
  return name


@contextlib.contextmanager
def formulation(name: str) -> Iterator[None]:
  """Makes layers that are traced inside the `with` use one formulation on a CPU.

  A function that `jit` has already traced is not traced again: jit a new function inside.

  Args:
    name: "onednn" for native code, "pure" for matrix products and shifted products, "xla" for XLA's operations only,
      such as one `lax.conv_general_dilated` for a convolution (for an export: the traced program then contains no choice).
  """
  token = _forced.set(_checked(name, "formulation"))
  try:
    yield
  finally:
    _forced.reset(token)


def current_formulation() -> str:
  """The formulation that layers use on a CPU if traced now.

  The active `formulation`; else JAXFACE_CPU_CONV; else "onednn" if it was built, else "pure". It does not depend on the default
  backend of the process.
  """
  if forced := _forced.get():
    return forced
  if name := os.environ.get(VARIABLE):
    return _checked(name, f"environment variable {VARIABLE}")
  return "onednn" if native.available() else "pure"


def by_platform(*arrays: Array, cpu: Callable, other: Callable, of: tuple = ()) -> Any:
  """`cpu(*of, *arrays)` where the program is lowered for a CPU, `other(*of, *arrays)` for any other platform.

  Both are traced and must return the same shapes and dtypes; one is lowered, inline. Outside of `jit`, equal `cpu`, `other`
  and `of` are compiled once for each shape.

  Args:
    arrays: arguments of both functions.
    cpu: the implementation for CPUs.
    other: the same in XLA's operations; formulation "xla" is active while it is traced.
    of: hashable arguments that precede the arrays in both.
  """
  return _chosen(cpu, other, of)(*arrays)


@functools.lru_cache(maxsize=4096)
def _chosen(cpu: Callable, other: Callable, of: tuple) -> Callable:
  def plain(*arrays: Array) -> Any:
    with formulation("xla"):
      return other(*of, *arrays)

  def choose(*arrays: Array) -> Any:
    return lax.platform_dependent(*arrays, cpu=functools.partial(cpu, *of), default=plain)

  return jax.jit(choose, inline=True)


__all__ = ["FORMULATIONS", "VARIABLE", "by_platform", "current_formulation", "formulation"]
