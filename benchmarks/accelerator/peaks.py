"""Published peaks of accelerators for matrix products in bfloat16, without sparsity."""

import re
from typing import NamedTuple

NVIDIA, CLOUD = "NVIDIA, {} data sheet", "Google Cloud, TPU {} documentation"


class Peak(NamedTuple):
  """Peak of a device.

  Attributes:
    pattern: regular expression that finds JAX's `device_kind`.
    flops: floating-point operations per second in bfloat16 with float32 sums, dense; for TPUs of one device of JAX, which is a chip
      from v4 on and one of a chip's two cores before.
    source: where it is published.
  """

  pattern: str
  flops: float
  source: str


# The first that matches counts. Data sheets of Ampere and later print some figures with sparsity: those are halved here.
PEAKS = (
  Peak(r"\bGB200\b", 2500e12, NVIDIA.format("GB200 NVL72")),
  Peak(r"\bB200\b", 2250e12, NVIDIA.format("DGX B200")),
  Peak(r"\bGH200\b", 989.5e12, NVIDIA.format("GH200")),
  Peak(r"\bH200\b", 989.5e12, NVIDIA.format("H200, SXM")),
  Peak(r"\bH100 NVL\b", 835.5e12, NVIDIA.format("H100, NVL")),
  Peak(r"\bH100 PCIe\b", 756e12, NVIDIA.format("H100, PCIe")),
  Peak(r"\bH100\b", 989.5e12, NVIDIA.format("H100, SXM")),
  Peak(r"\bA100\b", 312e12, NVIDIA.format("A100")),
  Peak(r"\bA10G?\b", 125e12, NVIDIA.format("A10")),
  Peak(r"\bL40S\b", 362e12, NVIDIA.format("L40S")),
  Peak(r"\bL4\b", 121e12, NVIDIA.format("L4")),
  Peak(r"\bRTX 4090\b", 165.2e12, "NVIDIA, Ada GPU architecture white paper, appendix A"),
  Peak(r"\bRTX 3090\b", 71e12, "NVIDIA, GA102 GPU architecture white paper, appendix A"),
  Peak(r"\bTPU7x\b|\bTPU v7", 2307e12, CLOUD.format("7x")),
  Peak(r"\bTPU v6", 918e12, CLOUD.format("v6e")),
  Peak(r"\bTPU v5 ?(lite|e)", 197e12, CLOUD.format("v5e")),
  Peak(r"\bTPU v5", 459e12, CLOUD.format("v5p")),
  Peak(r"\bTPU v4", 275e12, CLOUD.format("v4")),
  Peak(r"\bTPU v3\b", 61.5e12, CLOUD.format("v3") + ": 123e12 for the two cores of a chip"),
  Peak(r"\bTPU v2\b", 23e12, CLOUD.format("v2") + ": 46e12 for the two cores of a chip"),
)


def peak_of(kind: str) -> Peak | None:
  """The peak of a device by JAX's `device_kind`; None if it is not in the table."""
  return next((peak for peak in PEAKS if re.search(peak.pattern, kind)), None)


__all__ = ["PEAKS", "Peak", "peak_of"]
