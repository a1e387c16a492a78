"""The order of devices in a mesh: devices that share fast connections, such as the slice of a TPU pod, follow each other, so that
most of what devices exchange stays within a slice."""

from collections import Counter
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils


def arrange(devices: Sequence[jax.Device], slices: int = 0) -> np.ndarray:
  """The devices in the order of the mesh, [devices].

  Args:
    devices: all devices of the mesh.
    slices: number of slices; 0 uses what the devices report, and one slice if they report nothing.
  Raises:
    ValueError: slices of unequal size, or another number than the devices report.
  """
  sizes = Counter(getattr(device, "slice_index", 0) for device in devices)
  if slices > 1 and len(sizes) > 1 and slices != len(sizes):
    raise ValueError(f"mesh.slices is {slices}, but the devices report {len(sizes)} slices: set it to 0")
  count = slices or len(sizes)
  if len(devices) % count and count != len(sizes):
    raise ValueError(f"mesh.slices is {count}: needs a divisor of the {len(devices)} devices")
  if count == len(sizes) and len(set(sizes.values())) > 1:
    raise ValueError(f"the {len(devices)} devices are in slices of {', '.join(map(str, sizes.values()))}: needs equal ones")
  if count == len(sizes) > 1:
    return mesh_utils.create_hybrid_device_mesh((len(devices) // count,), (count,), devices)
  # Devices are listed by process, so those of a slice follow each other.
  return np.asarray(devices)


__all__ = ["arrange"]
