"""How many of 256 bits differ between perceptual hashes of changed copies, and of different photos, in aligned LFW.

Command: JAXFACE_DATA=FOLDER python docs/check_image_hash.py
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from jaxface.data.image_hash import near_hashes, perceptual_hash
from jaxface.formats.images import decode_image, encode_jpeg

PHOTOS, COPIES, LIMIT = 6_000, 400, 60
CHANGES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
  "JPEG, quality 40": lambda image: decode_image(encode_jpeg(image, quality=40), where="copy"),
  "resized to 80 pixels": lambda image: np.asarray(Image.fromarray(image).resize((80, 80), Image.Resampling.BICUBIC)),
  "20 % brighter": lambda image: np.clip(image * 1.2, 0, 255).astype(np.uint8),
  "cropped by 4 pixels on each side": lambda image: np.ascontiguousarray(image[4:-4, 4:-4]),
}


def main() -> int:
  """Prints the figures."""
  folder = Path(os.environ.get("JAXFACE_DATA", ""), "lfw_aligned112")
  files = sorted(folder.rglob("*.jpg"))[::2][:PHOTOS]
  if not files:
    print("set JAXFACE_DATA to the folder that holds lfw_aligned112", file=sys.stderr)
    return 2
  images = [decode_image(file.read_bytes(), where=str(file)) for file in files]
  hash_nk = np.array([perceptual_hash(image)[0] for image in images])
  for name, change in CHANGES.items():
    copies = np.array([perceptual_hash(change(image))[0] for image in images[:COPIES]])
    bits = np.bitwise_count(copies ^ hash_nk[:COPIES]).sum(axis=1)
    print(f"{name}: median {np.median(bits):.0f}, largest {bits.max()} bits of {COPIES} images")
  near = [(bits, left, right) for left, right, bits in near_hashes(hash_nk, hash_nk, LIMIT).tolist() if left < right]
  print(f"closest of {len(files) * (len(files) - 1) // 2:,} pairs of photos:")
  for bits, left, right in sorted(near)[:15]:
    print(f"  {bits:3} bits  {files[left].stem}  {files[right].stem}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
