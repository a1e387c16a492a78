"""What an error of a process says to the others, and whether another process may have caused it."""

import re

import jax

from jaxface.interrupted import exit_code
from jaxface.training.host_store import StoreError

_TRANSPORT = re.compile(r"\b(gloo|nccl|rccl|socket closed|connection closed by peer|connection reset by peer)\b", re.IGNORECASE)


def sentence(error: BaseException) -> str:
  """Message of an error for the user."""
  if isinstance(error, KeyboardInterrupt):
    return "interrupted"
  return str(error) if exit_code(error) == 2 else f"{type(error).__name__}: {error}"


def from_elsewhere(error: BaseException | None) -> bool:
  """Whether an error may be caused by the end of another process."""
  while error is not None:
    if isinstance(error, StoreError) or _TRANSPORT.search(str(error)):  # JAX converts some to ValueError
      return True
    if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
      return True
    error = error.__cause__ or error.__context__
  return False


__all__ = ["from_elsewhere", "sentence"]
