"""What computes convolutions in this process, in words."""

import jax

from jaxface.layers import native
from jaxface.layers.formulation import current_formulation


def convolution() -> str:
  """What computes convolutions here, and why it is not oneDNN where it could be."""
  try:
    name = current_formulation()
  except ValueError as error:
    return str(error)
  if name == "onednn":
    return f"{name} {native.onednn_version()}"
  could = jax.default_backend() == "cpu" and not native.available()
  return f"{name}: oneDNN would be faster, but {native.why_not()}" if could else name


__all__ = ["convolution"]
