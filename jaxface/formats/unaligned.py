"""Whether the images of a folder look like photos that nobody aligned; decided from the sizes in the headers of a few of them."""

from __future__ import annotations

from pathlib import Path

from jaxface.formats.bounded import read_bounded
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import image_size
from jaxface.formats.walk import walk

SAMPLE = 24
# Aligned faces are at most a little larger than a network's input: crops of 160 pixels for 112, say. Photos are far larger.
FAR_LARGER = 1.75


def unaligned_note(folder: str | Path, size: tuple[int, int], *, paths: tuple[str, ...] | None = None) -> str:
  """A line for the user if the images of a folder look unaligned; "" if they do not, or if there is nothing that can be read.

  They look unaligned if their sizes vary, or if they are far larger than the network's input.

  Args:
    folder: folder of images.
    size: (height, width) of the network's input in pixels.
    paths: the images below the folder, if they are known.
  """
  root = Path(folder)
  if not root.is_dir():
    return ""
  found = walk(root).paths if paths is None else paths
  sizes = set()
  for path in found[:: -(-len(found) // SAMPLE) or 1]:
    try:
      sizes.add(image_size(read_bounded(root / path))[:2])
    except DamagedData:
      continue  # reading it reports the fault
  if not sizes:
    return ""
  shown = [f"{height}×{width}" for height, width in (min(sizes), max(sizes))]
  if len(sizes) > 1:
    why = f"their sizes vary, {shown[0]} to {shown[1]} pixels"
  elif all(side > FAR_LARGER * least for side, least in zip(next(iter(sizes)), size)):
    why = f"they have {shown[0]} pixels, the network takes {size[0]}×{size[1]}"
  else:
    return ""
  return f"{folder}: the images look unaligned: {why}. Align the faces first: --align, or `jaxface align {folder} ALIGNED`"


__all__ = ["unaligned_note"]
