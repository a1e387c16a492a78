"""The machine's peak for matrix products, measured in turns with what is compared with it."""

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.worker import cores

PRODUCT = "matrix product"
NOTE = (
  "Share of the matrix product: floating-point operations per second, two for each multiply-add, backward twice those of the forward pass,"
  " divided by those of a matrix product of 2,048 × 2,048 in the same round and number format."
)
_SIZE = 2048
# A call takes at least this long.
_SECONDS = 0.3


def product_side(dtype: str) -> tuple[Callable[[], None], dict[str, Any]]:
  """A side that multiplies matrices, by PyTorch's oneDNN or MKL where it is installed, else by ours; its fact is "flops".

  Args:
    dtype: "float32" or "bfloat16".
  """
  once = _torch_product(dtype) if importlib.util.find_spec("torch") else _our_product(dtype)
  once()
  start = time.perf_counter()
  once()
  calls = max(1, round(_SECONDS / (time.perf_counter() - start)))

  def run() -> None:
    for _ in range(calls):
      once()

  return run, {"flops": calls * 2 * _SIZE**3}


def _torch_product(dtype: str) -> Callable[[], Any]:
  import torch

  torch.set_num_threads(cores())
  a = torch.randn(_SIZE, _SIZE, dtype=getattr(torch, dtype))
  return lambda: torch.mm(a, a)


def _our_product(dtype: str) -> Callable[[], Any]:
  """A convolution of 1 × 1 pixels, which oneDNN computes as a matrix product."""
  import jax

  jax.config.update("jax_platforms", "cpu")
  import jax.numpy as jnp

  from jaxface.layers.convolution import conv

  x, kernel = jnp.ones((32, 8, 8, _SIZE), dtype), jnp.ones((1, 1, _SIZE, _SIZE), dtype)
  compiled = jax.jit(conv).lower(x, kernel).compile()
  return lambda: compiled(x, kernel).block_until_ready()


def share(flops: float, seconds: Sequence[float], product_flops: float, product_seconds: Sequence[float]) -> float:
  """Median over the rounds of the rate of some work divided by that of the product.

  Args:
    flops, seconds: operations of a call of the work, and the time of each.
    product_flops, product_seconds: the same of the product, in the same rounds.
  """
  return median(flops / own / (product_flops / other) for own, other in zip(seconds, product_seconds, strict=True))


def share_cells(flops: float, wall: Mapping[str, Sequence[float]], product_flops: float, sides: Sequence[str]) -> dict[str, str]:
  """Cells of a row: share of each side, by the title of its column.

  Args:
    flops: operations of a call of each side.
    wall: times of all sides and of `PRODUCT`.
    product_flops: operations of a call of the product.
    sides: names of the sides.
  """
  return {
    f"{side} share of {PRODUCT}": f"{100 * share(flops, wall[side], product_flops, wall[PRODUCT]):.0f} %" for side in sides
  }


__all__ = ["NOTE", "PRODUCT", "product_side", "share", "share_cells"]
