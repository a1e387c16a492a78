"""Number of products in convolutions and matrix products, without those of padding."""

import math
from typing import Any


def pairs(out: int, size: int, taps: int, stride: int, pad: int, dilate: int = 1, kernel_dilate: int = 1) -> int:
  """Along one axis of a convolution, the number of products with a number of the image, over all results and taps.

  Args:
    out: length of the result.
    size: length of the image, before dilation.
    taps: length of the kernel.
    stride: step between results, in pixels of the dilated image.
    pad: padding before the image.
    dilate: step between numbers of the image.
    kernel_dilate: step between taps.
  """
  reach = (size - 1) * dilate + 1
  count = 0
  for tap in range(taps):
    first = tap * kernel_dilate - pad
    if dilate == 1:
      low, high = max(0, -(first // stride)), min(out - 1, (reach - 1 - first) // stride)
      count += max(0, high - low + 1)
    else:
      count += sum(0 <= place < reach and place % dilate == 0 for place in range(first, first + out * stride, stride))
  return count


def equation_flops(eqn: Any) -> float:
  """Operations of an equation of a jaxpr: two for each product of a convolution or matrix product, 0 for any other."""
  out = eqn.outvars[0].aval.shape if eqn.outvars else ()
  if eqn.primitive.name == "dot_general":
    (contracted, _), _ = eqn.params["dimension_numbers"]
    return 2.0 * math.prod(out) * math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
  if eqn.primitive.name != "conv_general_dilated":
    return 0.0
  image, kernel = eqn.invars[0].aval.shape, eqn.invars[1].aval.shape
  given, numbers = eqn.params, eqn.params["dimension_numbers"]
  total = 2.0 * kernel[numbers.rhs_spec[1]] * out[numbers.out_spec[0]] * out[numbers.out_spec[1]]
  for place, (low, _) in enumerate(given["padding"]):
    total *= pairs(
      out[numbers.out_spec[2 + place]], image[numbers.lhs_spec[2 + place]], kernel[numbers.rhs_spec[2 + place]],
      given["window_strides"][place], low, given["lhs_dilation"][place], given["rhs_dilation"][place],
    )
  return total


__all__ = ["equation_flops", "pairs"]
