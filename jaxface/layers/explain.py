"""Describes which implementation computes convolutions in this process."""

import jax

from jaxface.layers import native
from jaxface.layers.formulation import current_formulation


def convolution() -> str:
  """The implementation of convolutions in this process, and why oneDNN is not used where it could be."""
  try:
    name = current_formulation()
  except ValueError as error:
    return str(error)
  if jax.default_backend() != "cpu":
    return f"xla on {jax.default_backend()} ({name} on its host's CPU)"
  if name == "onednn":
    return f"{name} {native.onednn_version()}"
  return name if native.available() else f"{name}: oneDNN would be faster, but {native.why_not()}"


__all__ = ["convolution"]
