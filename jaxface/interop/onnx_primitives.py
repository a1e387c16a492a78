"""JAX primitives in ONNX: one table, name of the primitive to a function that emits its nodes."""

from jaxface.interop import onnx_elementwise, onnx_movement, onnx_products
from jaxface.interop.onnx_values import Rule

RULES: dict[str, Rule] = {**onnx_elementwise.RULES, **onnx_movement.RULES, **onnx_products.RULES}

__all__ = ["RULES"]
