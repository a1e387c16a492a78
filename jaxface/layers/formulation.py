"""Which way of computing a layer is taken: oneDNN and native passes, pure JAX made for CPUs, or XLA's own operations."""

import contextlib
import contextvars
import os
from collections.abc import Iterator

import jax

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
  """What `conv` uses if traced now.

  The `formulation` in force; else, on a CPU, JAXFACE_CPU_CONV, or "onednn" where it was built and "pure" where not; else
  "xla".
  """
  if forced := _forced.get():
    return forced
  if jax.default_backend() != "cpu":
    return "xla"
  if name := os.environ.get(VARIABLE):
    return _checked(name, f"environment variable {VARIABLE}")
  return "onednn" if native.available() else "pure"


__all__ = ["FORMULATIONS", "VARIABLE", "current_formulation", "formulation"]
