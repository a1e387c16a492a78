"""The device, its versions, and the speed of a matrix product on it."""

import contextlib
import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

from benchmarks.accelerator.peaks import peak_of
from benchmarks.accelerator.sides import our_jax, steps_for

PACKAGES = ("jax", "jaxlib", "flax", "optax", "chex", "numpy", "torch", "triton", "libtpu")
TABLE = "Matrix product"


def describe(product: int, round_seconds: float) -> tuple[Callable[[], None], dict[str, Any]]:
  """Facts about the device.

  Args:
    product: length of the square matrices whose product is timed.
    round_seconds: how long it is timed at least.
  """
  jax = our_jax()
  import jax.numpy as jnp

  device = jax.devices()[0]
  memory = device.memory_stats() or {}
  peak = peak_of(device.device_kind)
  # Not of equal numbers, which a device multiplies with less power.
  a = jax.random.normal(jax.random.key(0), (product, product), jnp.bfloat16)
  multiply = jax.jit(lambda a, b: a @ b).lower(a, a).compile()

  def run(count: int) -> None:
    b = a
    for _ in range(count):
      b = multiply(a, a)
    jax.block_until_ready(b)

  steps = steps_for(run, round_seconds)
  fastest = float("inf")
  for _ in range(3):
    start = time.perf_counter()
    run(steps)
    fastest = min(fastest, (time.perf_counter() - start) / steps)
  return (lambda: None), {
    "steps": 1, "platform": device.platform, "kind": device.device_kind, "devices": jax.device_count(),
    "memory bytes": memory.get("bytes_limit"), "platform version": device.client.platform_version.splitlines()[0], "driver": _driver(),
    "peak": None if peak is None else peak.flops, "peak source": "" if peak is None else peak.source,
    "measured": 2 * product**3 / fastest, "versions": versions(), "flags": {name: os.environ[name] for name in FLAGS if os.environ.get(name)},
  }


FLAGS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "JAX_PLATFORMS", "XLA_PYTHON_CLIENT_MEM_FRACTION", "CUDA_VISIBLE_DEVICES")


def versions() -> dict[str, str]:
  """Versions of Python and of the packages that are installed."""
  found = {"python": platform.python_version()}
  for package in PACKAGES:
    with contextlib.suppress(metadata.PackageNotFoundError):
      found[package] = metadata.version(package)
  return found


def _driver() -> str:
  """NVIDIA's driver and power limit; "" where there is none."""
  query = ["nvidia-smi", "--query-gpu=driver_version,power.limit,clocks.max.sm", "--format=csv,noheader"]
  with contextlib.suppress(OSError, subprocess.SubprocessError):
    return subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()[0]
  return ""


def row(facts: dict[str, Any], product: int) -> dict[str, Any]:
  """The row of `TABLE`."""
  peak = facts["peak"]
  return {
    "device": facts["kind"], "type": "bfloat16", "matrices": f"{product} × {product}", "TFLOP/s": facts["measured"] / 1e12,
    "published TFLOP/s": peak / 1e12 if peak else "unknown",
    "share of peak": f"{100 * facts['measured'] / peak:.1f} %" if peak else "", "published in": facts["peak source"],
  }


__all__ = ["TABLE", "describe", "row", "versions"]
