"""Which way of computing a layer is taken on a CPU: oneDNN and native passes, pure JAX made for CPUs, or XLA's own operations.

Every other platform takes XLA's own operations. What is traced holds both, and the choice is made when it is lowered
(`by_platform`): a program may be lowered in one process for the platform of another.
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
  """Make layers use one formulation on a CPU in what is traced inside the `with`.

  What `jit` traced before is not traced again: jit a new function inside.

  Args:
    name: "onednn" for native code, "pure" for matrix products and shifted products, "xla" for XLA's own operations alone,
      such as one `lax.conv_general_dilated` for a convolution (for an export: no choice is left in what is traced).
  """
  token = _forced.set(_checked(name, "formulation"))
  try:
    yield
  finally:
    _forced.reset(token)


def current_formulation() -> str:
  """What layers use on a CPU if traced now.

  The `formulation` in force; else JAXFACE_CPU_CONV; else "onednn" where it was built and "pure" where not. It is the same in a
  process whose default backend is no CPU.
  """
  if forced := _forced.get():
    return forced
  if name := os.environ.get(VARIABLE):
    return _checked(name, f"environment variable {VARIABLE}")
  return "onednn" if native.available() else "pure"


def by_platform(*arrays: Array, cpu: Callable, other: Callable, of: tuple = ()) -> Any:
  """`cpu(*of, *arrays)` where the program is lowered for a CPU, `other(*of, *arrays)` where it is for anything else.

  Both are traced and must agree in the shapes and types of their results; one is lowered, in the place of the call. Outside of
  `jit` equal `cpu`, `other` and `of` are compiled once for each shape.

  Args:
    arrays: given to the functions.
    cpu: a function made for CPUs.
    other: the same in XLA's own operations; formulation "xla" is in force while it is traced.
    of: hashable values given to both before the arrays.
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
